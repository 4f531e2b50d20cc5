"""Draws a prepared experiment: images with their maps, and distributions."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.prepare.examples import example_keys
from clickmap_cli.services.visualize.agreement import Agreement, find_agreement
from clickmap_cli.services.visualize.experiment import (
    CONVERTED,
    MISSING,
    UNREADABLE,
    Picture,
    PreparedExperiment,
    click_tracks,
    cumulative_maps,
    densest,
    file_of,
    open_experiment,
    participant_maps,
    picture_of,
)
from clickmap_cli.services.visualize.numbers import Distributions, distributions
from clickmap_cli.services.visualize.options import VisualizeOptions, check_options
from clickmap_cli.storage.atomic import replacing, write_rows
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files

DEFAULT_BINS = 8
SHEET_IMAGES = 20
"""Images on one contact sheet."""

_SECONDS = 0.125  # time in which one core draws an image

Figures = Mapping[str, Callable[..., None]]
"""Kind of figure, or path of a distribution such as `distributions/funnel` -> function that draws.

Each function gets the figure's content, then `look` and `paths` (format -> file). The content is
`overlay`: a `Picture`; `participants`: a `Picture`, names and maps; `clicks`: a `Picture` and its
tracks; `bins`: a `Picture`, cumulative maps and their labels; `sheet`: several `Picture`s; and of a
distribution `Distributions`.
"""

Files = dict[str, dict[str, Any]]
"""Path inside the folder -> size and SHA-256."""


@dataclass(frozen=True)
class PictureRow:
    """One image that was drawn: a line of `images.csv`.

    `image` is `shown`, `converted`, `missing` or `unreadable`; `note` gives the conversion or the
    reason.
    """

    image_path: str
    category: str
    n_participants: int
    n_clicks: int
    agreement: float
    image: str
    note: str


@dataclass(frozen=True)
class DrawingJob:
    """All that is needed to draw the figures."""

    experiment: PreparedExperiment
    config: ExperimentConfig
    options: VisualizeOptions
    figures: Figures
    agreement: Agreement | None
    codes: list[int]
    numbers: Distributions | None

    def picture(self, code: int) -> Picture:
        """Return an image with its map and its score."""
        if self.agreement is None:
            return picture_of(self.experiment, code)
        score = float(self.agreement.values[code])
        return picture_of(self.experiment, code, score, self.agreement.metric)


def draw_images(
    job: DrawingJob, run_folder: RunFolder, progress: Progress
) -> tuple[list[PictureRow], Files]:
    """Draw every image's figures and the contact sheets, and keep those of an earlier run.

    Returns:
        A row for each image, and the files.
    """
    most = max((int(job.experiment.people[code]) for code in job.codes), default=1)
    top = 1.0
    if job.options.look.normalize == "sum":
        top = max((densest(job.experiment.mean_map(code)) for code in job.codes), default=1.0)
    rows: list[PictureRow] = []
    outputs: Files = {}
    progress.stage("Drawing images", len(job.codes))
    for page, first in enumerate(range(0, len(job.codes), SHEET_IMAGES), 1):
        pictures = {
            code: replace(
                job.picture(code), people_share=int(job.experiment.people[code]) / most, densest=top
            )
            for code in job.codes[first : first + SHEET_IMAGES]
        }
        outputs |= _draw_page(job, run_folder, pictures, progress)
        if "sheet" in job.options.kinds:
            outputs |= _draw_sheet(job, run_folder, page, list(pictures.values()))
        rows += [row_of(found) for found in pictures.values()]
    return rows, outputs


def _draw_page(
    job: DrawingJob, run_folder: RunFolder, pictures: Mapping[int, Picture], progress: Progress
) -> Files:
    """Draw the figures of the images on one contact sheet, except those already drawn."""
    outputs: Files = {}
    todo = []
    for code in pictures:
        done = run_folder.recorded(f"image_{code:07d}")
        if done is None:
            todo.append(code)
        else:
            outputs |= done
            progress.advance()
    contents = (
        (job.experiment.picture_name(code), _contents(job, code, pictures[code])) for code in todo
    )
    draw = partial(_draw_one, job.figures, job.options, run_folder.path)
    workers = worker_count(job.config.n_jobs, _SECONDS * len(job.codes))
    for code, files in zip(todo, ordered_map(draw, contents, workers, "loky"), strict=True):
        run_folder.record(f"image_{code:07d}", files)
        outputs |= files
        progress.advance()
    return outputs


def _contents(job: DrawingJob, code: int, found: Picture) -> dict[str, tuple[Any, ...]]:
    """Return the contents of one image's figures by kind; see `Figures`."""
    kinds, experiment = job.options.kinds, job.experiment
    contents: dict[str, tuple[Any, ...]] = {}
    if "overlay" in kinds:
        contents["overlay"] = (found,)
    if "participants" in kinds:
        contents["participants"] = (found, *participant_maps(experiment, code))
    if "clicks" in kinds:
        contents["clicks"] = (found, click_tracks(experiment, code))
    if "bins" in kinds:
        bins = job.options.bins or job.config.click_bins or DEFAULT_BINS
        by_time = job.config.time_based_bins
        contents["bins"] = (found, *cumulative_maps(experiment, code, bins, by_time))
    return contents


def _draw_one(
    figures: Figures,
    options: VisualizeOptions,
    folder: Path,
    image: tuple[str, dict[str, tuple[Any, ...]]],
) -> Files:
    """Draw one image's figures from its name and contents; runs in any process."""
    name, contents = image
    files: Files = {}
    for kind, content in contents.items():
        files |= _draw(figures[kind], content, options, folder, f"{kind}/{name}")
    return files


def _draw(
    draw: Callable[..., None],
    content: tuple[Any, ...],
    options: VisualizeOptions,
    folder: Path,
    name: str,
) -> Files:
    """Draw one figure into its files, `<name>.<format>`; no incomplete file is left behind."""
    paths = {kind: folder / f"{name}.{kind}" for kind in options.formats}
    with contextlib.ExitStack() as whole:
        partial_paths = {kind: whole.enter_context(replacing(path)) for kind, path in paths.items()}
        draw(*content, look=options.look, paths=partial_paths)
    return describe_files(folder, list(paths.values()))


def _draw_sheet(
    job: DrawingJob, run_folder: RunFolder, page: int, pictures: list[Picture]
) -> Files:
    name = f"sheet_{page:05d}"
    done = run_folder.recorded(name)
    if done is not None:
        return done
    sheet = job.figures["sheet"]
    files = _draw(sheet, (pictures,), job.options, run_folder.path, f"sheet/{name}")
    run_folder.record(name, files)
    return files


def draw_numbers(job: DrawingJob, folder: Path, progress: Progress) -> Files:
    """Draw the distributions; those of agreement only if it is known."""
    if job.numbers is None:
        return {}
    files: Files = {}
    names = [name for name in job.figures if name.startswith("distributions/")]
    progress.stage("Drawing distributions", len(names))
    for name in names:
        if job.numbers.agreed or "/agreement" not in name:
            files |= _draw(job.figures[name], (job.numbers,), job.options, folder, name)
        progress.advance()
    return files


def row_of(found: Picture) -> PictureRow:
    """Return the line of `images.csv` for an image."""
    return PictureRow(
        found.key, found.category, found.n_participants, found.n_clicks, found.agreement,
        found.image.state, found.image.note,
    )  # fmt: skip


FOLDER = "figures"
_OWN = ("overlay", "participants", "clicks", "bins", "sheet", "distributions", "images.csv")


@dataclass(frozen=True)
class VisualizeRun:
    """Results of `visualize`.

    Attributes:
        folder: folder of the figures.
        images: images that were drawn (with `dry_run`, that would be drawn), in order.
        numbers: numbers behind the distributions, or None if they were not requested.
        outputs: paths of the written files inside the folder.
        seconds: duration in seconds.
        reused: True if an equal finished run was found and nothing was drawn; `images` is then
            empty.
        written: False for a dry run, which writes nothing.
    """

    folder: Path
    images: tuple[PictureRow, ...]
    numbers: Distributions | None
    outputs: tuple[str, ...]
    seconds: float
    reused: bool = False
    written: bool = True


def run(
    config: ExperimentConfig,
    options: VisualizeOptions,
    progress: Progress,
    figures: Figures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> VisualizeRun:
    """Draw a prepared experiment into `<folder>/figures/`.

    Args:
        config: the checked configuration; `display_image_keys` chooses images unless `options` do.
        options: choice of images and figures, and their look.
        progress: receives the current stage, and notices about missing or converted images.
        figures: draw into the paths they are given.
        when: what to do with existing figures.
        dry_run: choose images only; write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs.
        DataError: the folder holds no finished run of `prepare`, or a damaged one.
        RunError: another run holds the folder, or it cannot be written.
    """
    started = Stopwatch()
    check_options(options)
    folder = config.folder / FOLDER
    run_folder = RunFolder(folder, "visualize", _OWN)
    if not dry_run:
        when = run_folder.require_startable(when)
    experiment = open_experiment(config, progress)
    needed = options.by in ("agreement", "disagreement")
    wished = needed or "distributions" in options.kinds
    agreement = find_agreement(experiment, config, needed, progress, compute=wished)
    codes = chosen_images(experiment, config, options, agreement, progress)
    numbers = None
    if "distributions" in options.kinds:
        numbers = distributions(experiment, agreement, options.classes)
    job = DrawingJob(experiment, config, options, figures, agreement, codes, numbers)
    if dry_run:
        rows = [row_of(job.picture(code)) for code in codes]
        return _result(folder, rows, numbers, {}, started, written=False)
    inputs, identity = _inputs(job)
    with run_folder.held():
        done = run_folder.reuse_or_begin(identity, when)
        if done is not None:
            return replace(_result(folder, [], numbers, done.outputs, started), reused=True)
        rows, outputs = draw_images(job, run_folder, progress)
        outputs |= draw_numbers(job, folder, progress)
        outputs |= _write_rows(folder, rows)
        _say_of_images(rows, progress)
        result = _result(folder, rows, numbers, outputs, started)
        run_folder.finish(_manifest(job, inputs, identity, outputs, rows, started, progress.kept))
    return result


def chosen_images(
    experiment: PreparedExperiment,
    config: ExperimentConfig,
    options: VisualizeOptions,
    agreement: Agreement | None,
    progress: Progress,
) -> list[int]:
    """Return the codes of the images to draw.

    `--top` sorts images by participants, agreement or disagreement; ties keep the images' order,
    and images without agreement are left out when sorting by it. `--random` draws images with the
    seed and keeps their order. Otherwise `display_image_keys` names them.
    """
    n = len(experiment.keys)
    if options.random is not None:
        rng = generator(config.seed, "visualize", "random")
        drawn = rng.choice(n, min(options.random, n), replace=False)
        return sorted(int(code) for code in drawn)
    if options.top is not None:
        order = np.argsort(-experiment.people, kind="stable")
        if agreement is not None and options.by == "agreement":
            order = agreement.most_first()
        elif agreement is not None and options.by == "disagreement":
            order = agreement.least_first()
        return [int(code) for code in order[: options.top]]
    code_of = {key: code for code, key in enumerate(experiment.keys)}
    return [code_of[key] for key in example_keys(experiment.trials, config, progress)]


def _write_rows(folder: Path, rows: Sequence[PictureRow]) -> Files:
    write_rows(folder / "images.csv", PictureRow, rows)
    return describe_files(folder, [folder / "images.csv"])


def _say_of_images(rows: Sequence[PictureRow], progress: Progress) -> None:
    """Give notices about missing, unreadable and converted images, with counts and an example."""
    for state, what in (
        (MISSING, "missing, shown as empty fields"),
        (UNREADABLE, "not readable, shown as empty fields"),
        (CONVERTED, "converted to be shown"),
    ):
        mine = [row for row in rows if row.image == state]
        if mine:
            first = f"{mine[0].image_path} ({mine[0].note})"
            if state == UNREADABLE:
                first = mine[0].note.rstrip(".")  # it names the file
            progress.notice(
                f"{len(mine)} of {len(rows)} images {what}, such as {first}; images.csv names them."
            )


def _inputs(job: DrawingJob) -> tuple[Files, str]:
    """Return the input files of the figures, and a hash of everything the figures depend on."""
    experiment = job.experiment
    files = [experiment.folder / TRIALS_FILE]
    if job.agreement is not None and job.agreement.table is not None:
        files.append(job.agreement.table)
    files += [path for code in job.codes if (path := file_of(experiment, code)) is not None]
    if job.options.classes is not None:
        files.append(job.options.classes)
    described = describe_files(None, files)
    options = asdict(job.options) | {"classes": None}
    scores = None if job.agreement is None else job.agreement.values.tolist()
    words = [
        options,
        [experiment.keys[code] for code in job.codes],
        job.config.click_bins,
        job.config.time_based_bins,
        experiment.manifest.config_hash,
        experiment.manifest.outputs,
        [entry["sha256"] for entry in described.values()],
        scores,
    ]
    return described, _digest(words)


def _digest(words: Any) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True, default=str).encode()).hexdigest()


def _manifest(
    job: DrawingJob, inputs: Files, identity: str, outputs: Files, rows: Sequence[PictureRow],
    started: Stopwatch, notices: Sequence[str],
) -> Manifest:  # fmt: skip
    states = [row.image for row in rows]
    options = asdict(job.options)
    options["classes"] = None if job.options.classes is None else str(job.options.classes)
    return Manifest.made(
        command="visualize",
        config=as_dict(job.config) | {"visualize": options},
        config_hash=identity,
        inputs=inputs,
        outputs=outputs,
        counts={"images": len(rows)}
        | {state: states.count(state) for state in sorted(set(states))},
        started=started,
        seed=job.config.seed,
        notices=notices,
    )


def _result(
    folder: Path,
    rows: Sequence[PictureRow],
    numbers: Distributions | None,
    outputs: Mapping[str, Any],
    started: Stopwatch,
    written: bool = True,
) -> VisualizeRun:
    seconds = started.seconds
    return VisualizeRun(
        folder, tuple(rows), numbers, tuple(sorted(outputs)), seconds, written=written
    )
