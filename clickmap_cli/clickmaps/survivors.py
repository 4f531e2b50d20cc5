"""The path from a file of trials to the trials that count, shared by all commands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clickmap_cli.clickmaps.filters import (
    Funnel,
    FunnelRow,
    Quality,
    filter_before_quality,
    filter_trials,
)
from clickmap_cli.clickmaps.geometry import ImageShapes, Size
from clickmap_cli.clickmaps.keys import match_keys, require_flat_names, some_names
from clickmap_cli.clickmaps.losses import (
    FRACTIONS,
    Coordinates,
    Loss,
    are_fractions,
    check_losses,
    likeliest_cause,
    sample_coordinates,
    suspicions,
)
from clickmap_cli.clickmaps.reading.raw_table import Reject
from clickmap_cli.clickmaps.reading.side_tables import read_categories, read_sizes
from clickmap_cli.clickmaps.reading.trials_file import read_trials
from clickmap_cli.clickmaps.settings import MapSettings, blur_notices
from clickmap_cli.clickmaps.trials import TRIALS_FILE, Trials, load_trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import experiment_from_values
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.storage.manifest import Manifest, load_manifest


@dataclass(frozen=True)
class Survivors:
    """Trials that passed the filters.

    Attributes:
        trials: the trials, compact.
        funnel: one row per filter with what it kept.
        rows: number of rows in the file.
        rejected: number of rows that could not be read.
    """

    trials: Trials
    funnel: tuple[FunnelRow, ...]
    rows: int
    rejected: int


def input_files(config: ExperimentConfig, progress: Progress) -> list[Path]:
    """Return every file that the trials that count depend on.

    Args:
        config: names the files.
        progress: see `Checks`.

    Raises:
        ConfigError: no file of trials is named.
        DataError: a named file does not exist, or a small one cannot be read.
    """
    if config.clickme_data is None:
        raise ConfigError(
            "clickme_data is not set; name the file of raw trials (clickme_data=trials.csv), or a "
            "configuration that does (--config my.yaml)."
        )
    data = Path(config.clickme_data)
    if data.is_dir():
        if not (data / TRIALS_FILE).is_file():
            raise DataError(f"clickme_data: {data} holds no {TRIALS_FILE}; run prepare first.")
        return [data / TRIALS_FILE]
    checks, paths = Checks(progress), []
    for name in ("clickme_data", "metadata_file", "class_filter_file", "participant_filter"):
        value = getattr(config, name)
        with checks.part():
            if value is not None and not Path(value).is_file():
                raise DataError(f"{name}: no file at {value} (looked from {Path.cwd()}).")
        paths += [] if value is None else [Path(value)]
    masks = config.mask_dir
    with checks.part():
        if masks is not None and not Path(masks).is_dir():
            raise DataError(f"mask_dir: no folder at {masks} (looked from {Path.cwd()}).")
    checks.require_all()
    paths += [] if masks is None else mask_files(Path(masks))
    _side_tables(config)  # errors in them are raised before any work starts
    return paths


def mask_files(folder: Path) -> list[Path]:
    """List all files below a folder of masks, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_survivors(
    config: ExperimentConfig,
    progress: Progress,
    *,
    quality: Quality | None = None,
    reject: Reject | None = None,
) -> Survivors:
    """Read and filter raw trials, or take those that `prepare` kept.

    Args:
        config: its `clickme_data` names a file of raw trials, or a folder written by `prepare`,
            whose trials have already passed the filters.
        progress: receives the progress of reading and filtering.
        quality: function for `participant_filter`; required if that is set and raw trials are read.
        reject: function that is called for every row that cannot be read; None ignores them.

    Raises:
        ConfigError: `image_shape` differs from that of the folder written by `prepare`.
        DataError: the input cannot be used.
    """
    data = Path(str(config.clickme_data))
    if data.is_dir():
        found = _prepared(data, config, progress)
    else:
        funnel, categories = _read(config, data, progress, reject)
        progress.stage("Filtering")
        filter_trials(funnel, config, categories, progress, quality)
        for text in funnel.notices:
            progress.notice(text)
        rows, readable = funnel.rows[0].trials, funnel.rows[1].trials
        found = Survivors(funnel.trials, tuple(funnel.rows), rows, rows - readable)
    for text in blur_notices(MapSettings.from_config(config), found.trials.shape):
        progress.notice(text)
    return found


def load_prepare(folder: Path) -> tuple[Manifest, ExperimentConfig]:
    """Return the manifest of a finished run of `prepare`, and its configuration.

    Raises:
        ConfigError: the configuration in the manifest is invalid.
        DataError: the folder does not hold such a run.
        RunError: the manifest is damaged.
    """
    manifest = load_manifest(folder)
    if manifest is None or manifest.command != "prepare":
        raise DataError(f"{folder} holds no finished run of prepare; run `clickmap prepare` first.")
    return manifest, experiment_from_values(manifest.config)


def read_prepared(folder: Path, made: ExperimentConfig, progress: Progress) -> Trials:
    """Return the trials that a finished run of `prepare` kept.

    Args:
        folder: folder written by `prepare`.
        made: configuration of that folder.
        progress: receives the progress of reading.
    """
    own = replace(made, clickme_data=str(folder))
    return read_survivors(own, progress).trials


def read_trials_to_judge(config: ExperimentConfig, progress: Progress) -> Trials:
    """Read raw trials and apply every filter that comes before `participant_filter`.

    Raises:
        DataError: the input cannot be used, or is a folder that `prepare` has filtered.
    """
    data = Path(str(config.clickme_data))
    if data.is_dir():
        raise DataError(
            f"clickme_data: {data} was filtered when it was prepared; name the raw trials."
        )
    funnel, categories = _read(config, data, progress)
    progress.stage("Filtering")
    filter_before_quality(funnel, config, categories)
    return funnel.trials


def _read(
    config: ExperimentConfig, data: Path, progress: Progress, reject: Reject | None = None
) -> tuple[Funnel, frozenset[str] | None]:
    """Read raw trials into a funnel, and read the categories to keep."""
    height, width = config.image_shape
    sizes, categories = _side_tables(config)
    shapes = ImageShapes((height, width), sizes)
    first_rejected = ""

    def note_first(row: int, column: str, value: str, reason: str) -> None:
        nonlocal first_rejected
        where = f"row {row}, {column or 'as a whole'}, '{value}': {reason}"
        first_rejected = first_rejected or f"The first: {where}. "
        if reject is not None:
            reject(row, column, value, reason)

    trials, n_rows = read_trials(
        data, shapes, note_first, progress,
        remove_string=config.remove_string, category_column=config.category_column,
    )  # fmt: skip
    for text in unmatched_names(trials, config, sizes, categories):
        progress.notice(text)
    keys = trials.images.tolist()
    unknown = shapes.unknown(keys)
    without_size = Loss(
        len(unknown), len(keys), "images have no size in metadata_file",
        f"image_shape counts there; '{next(iter(unknown), '')}' is one of them.",
    )  # fmt: skip
    check_losses([without_size], config.max_lost, progress)
    points = sample_coordinates(trials)
    rejected = Loss(
        n_rows - len(trials), n_rows, "rows cannot be read",
        f"{first_rejected}rejected.csv of `clickmap prepare` says why for each.",
    )  # fmt: skip
    # the funnel shows smaller losses
    check_losses([rejected, *_lost_clicks(trials, points)], config.max_lost, progress, least=0.1)
    for text in suspicions(points):
        progress.notice(text, again=True)
    return Funnel(trials, n_rows), categories


def _lost_clicks(trials: Trials, points: Coordinates) -> Iterator[Loss]:
    """Yield the losses of clicks between the file and the filters."""
    n_clicks = len(trials.x)
    if are_fractions(points):
        what = "clicks lie in the first two pixels of their image"
        yield Loss(n_clicks, n_clicks, what, FRACTIONS)
    inside = sum(int(np.count_nonzero(trials.inside(*block))) for block in trials.blocks())
    cause = likeliest_cause(points) if n_clicks > inside else ""
    what = "clicks lie outside their image and are dropped"
    yield Loss(n_clicks - inside, n_clicks, what, cause)


def require_images(found: Survivors) -> None:
    """Raise DataError unless trials are left and every image has a unique file name.

    Raises:
        DataError: no trial is left (the message names the filter that took the last image), or two
            keys give the same name.
    """
    require_flat_names(found.trials.images.tolist())
    if len(found.trials):
        return
    if not found.rows:
        raise DataError("The file of trials has a header and no rows.")
    at = next(i for i, row in enumerate(found.funnel) if i and not row.images)
    last, before = found.funnel[at], found.funnel[at - 1]
    raise DataError(
        f"No image is left: {before.images} images with {before.trials} trials came to {last.step} "
        f"({last.setting}), and none passed.{_most_lost(found.funnel, at)} Loosen it, or look at "
        "funnel.csv of `clickmap prepare`."
    )


def _most_lost(funnel: tuple[FunnelRow, ...], end: int) -> str:
    """Name the earlier filter that took most clicks, if it took more than half of them."""
    lost = {i: funnel[i - 1].clicks - funnel[i].clicks for i in range(1, end)}
    at = max(lost, key=lambda i: lost[i], default=0)
    if not at or lost[at] <= funnel[at - 1].clicks / 2:
        return ""
    step, share = funnel[at], 100 * lost[at] / funnel[at - 1].clicks
    return f" Before it, {step.step} ({step.setting}) took {share:.0f}% of the clicks."


def _side_tables(config: ExperimentConfig) -> tuple[dict[str, Size] | None, frozenset[str] | None]:
    """Read image sizes and the categories to keep; None for a table that is not configured."""
    sizes, categories = config.metadata_file, config.class_filter_file
    return (
        None if sizes is None else read_sizes(Path(sizes)),
        None if categories is None else read_categories(Path(categories)),
    )


def _prepared(folder: Path, config: ExperimentConfig, progress: Progress) -> Survivors:
    """Read the trials of a folder written by `prepare`, which have already passed its filters."""
    _, made = load_prepare(folder)
    if made.image_shape != config.image_shape:
        raise ConfigError(
            f"image_shape is {config.image_shape}, but {folder} was prepared with "
            f"{made.image_shape}, in which its clicks are measured; set the same."
        )
    other = [name for name in READ_AND_FILTER if getattr(made, name) != getattr(config, name)]
    if other:
        progress.notice(
            f"{folder} was filtered when it was prepared; set otherwise here and without effect: "
            f"{', '.join(other)}."
        )
    trials = load_trials(folder / TRIALS_FILE)
    row = FunnelRow("prepared trials", TRIALS_FILE, len(trials), len(trials.images), len(trials.x))
    return Survivors(trials, (row,), len(trials), 0)


READ_AND_FILTER = (
    "remove_string", "category_column", "metadata_file", "class_filter_file", "mask_dir",
    "filter_mobile", "catch_threshold", "filter_duplicates", "file_inclusion_filter",
    "file_exclusion_filter", "participant_filter", "min_clicks", "max_clicks", "process_max",
    "min_pixels", "duplicate_maps", "max_subjects", "min_subjects", "mask_threshold",
)  # fmt: skip


_MOST = 20


def unmatched_names(
    trials: Trials,
    config: ExperimentConfig,
    sizes: Mapping[str, Size] | None,
    categories: Collection[str] | None,
) -> Iterator[str]:
    """Yield notices about names that match no image.

    Args:
        trials: the trials as read, before any filter.
        config: the filters' settings.
        sizes: content of `metadata_file`, or None.
        categories: content of `class_filter_file`, or None.

    Yields:
        One sentence for each filter or table that holds such names.
    """
    keys = trials.images.tolist()
    if not keys:
        return  # nothing can match, and the run says so
    if sizes:
        lost = sorted(set(sizes) - set(match_keys(list(sizes), keys)))
        if lost:
            yield (
                f"metadata_file: {len(lost)} of {len(sizes)} entries name no image of the trials, "
                f"or more than one: {some_names(lost)}."
            )
    for name in ("file_inclusion_filter", "file_exclusion_filter"):
        words = getattr(config, name)
        lost = [word for word in words if not any(word in key for key in keys)]
        if lost:
            yield (
                f"{name}: no image's key contains {some_names(lost, _MOST)} (one of the "
                f"keys is {keys[0]!r})."
            )
    if categories is not None:
        known = sorted(set(trials.categories.tolist()))
        lost = sorted(set(categories) - set(known))
        if lost:
            yield (
                f"class_filter_file: {len(lost)} of {len(categories)} categories match no image: "
                f"{some_names(lost, _MOST)} (the images' categories are {some_names(known)})."
            )
