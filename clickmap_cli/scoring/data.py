"""Read the data sets that models are scored on, and hash their contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.config.benchmark import DATASET_ENTRY, BenchmarkConfig, ModelSpec, Spec
from clickmap_cli.config.fields import read_settings
from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.datasets.base import DATASETS, DataSet, Problem, Stimulus
from clickmap_cli.datasets.formats.participant_files import Pattern
from clickmap_cli.datasets.gathering import as_path, find_split
from clickmap_cli.models.building import model_settings
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError, printable
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.runtime.registry import load_plugin
from clickmap_cli.scoring.results import Failure
from clickmap_cli.storage.text_files import read_ids


@dataclass(frozen=True)
class Unreadable:
    """Reasons why an image or its ground truth cannot be read.

    Attributes:
        image: why the image cannot be read, or empty; some models do not need the image.
        truth: why the map cannot be read, or empty; nothing is scored without the map.
    """

    image: str = ""
    truth: str = ""


@dataclass(frozen=True)
class LoadedSet:
    """A data set of the config, after reading.

    Attributes:
        label: the data set's name in tables and files.
        stimuli: images to score, sorted by id.
        problems: images that cannot be used.
        digest: a hash of every image, point and map.
        marks: id -> fingerprint of the image and its files when they were read.
        unreadable: id -> why the image or its truth cannot be read.
    """

    label: str
    stimuli: Sequence[Stimulus]
    problems: Sequence[Problem]
    digest: str
    marks: Mapping[str, str]
    unreadable: Mapping[str, Unreadable]


def load_sets(
    specs: Sequence[Spec],
    progress: Progress,
    *,
    max_lost: float,
    limit: int | None = None,
    needs_truth: bool = True,
) -> list[LoadedSet]:
    """Read data sets.

    Args:
        specs: names and settings of the data sets.
        progress: receives progress and notices.
        max_lost: share of a set's images that may be lost, 0 to 1.
        limit: number of images to keep of each set; None = all.
        needs_truth: False to accept sets without ground truth.

    Raises:
        ConfigError: a data set or a setting is unknown.
        DataError: a data set cannot be read, or is empty.
    """
    checks, sets = Checks(progress), []
    for spec in specs:
        with checks.part(f"data set {spec.label}"):
            sets.append(_load(spec, progress, max_lost, limit, needs_truth))
    if not sets:
        checks.require_all()
    return sets


def _load(
    spec: Spec, progress: Progress, max_lost: float, limit: int | None, needs_truth: bool
) -> LoadedSet:
    progress.stage(f"Reading {spec.label}")
    data = read_set(spec.name, spec.settings, f"data set {spec.label}")
    of_truth = data.scoring_notices if needs_truth else ()
    for text in (*data.notices, *of_truth):
        progress.notice(f"{spec.label}: {text}")
    check_losses(data.losses, max_lost, progress, f"data set {spec.label}")
    stimuli = list(data.stimuli)[:limit]
    if not stimuli and not data.problems:
        raise DataError(f"data set {spec.label}: it is empty; there is nothing to score.")
    if needs_truth:
        require_truth(spec.label, data)
    progress.stage(f"Checking {spec.label}", len(stimuli))
    marks, unreadable = {}, {}
    for stimulus in stimuli:
        marks[stimulus.image_id], faults = _mark(stimulus)
        if faults != Unreadable():
            unreadable[stimulus.image_id] = faults
        progress.advance()
    digest = hashlib.sha256("".join(marks.values()).encode()).hexdigest()
    return LoadedSet(spec.label, stimuli, data.problems, digest, marks, unreadable)


def require_usable(loaded: LoadedSet) -> None:
    """Raise DataError unless the set has an image that can be used."""
    if loaded.problems and not loaded.stimuli:
        first = loaded.problems[0]
        raise DataError(
            f"data set {loaded.label}: none of its {len(loaded.problems):,} images can be used, "
            f"{first.image_id} for one: {first.reason}"
        )


def require_truth(label: str, data: DataSet) -> None:
    """Raise DataError unless the set has an image that can be scored against people.

    Args:
        label: the set's name, for the message.
        data: the set; this check accepts a set without usable images.

    Raises:
        DataError: no image has fixations or a map.
    """
    if not data.stimuli or any(stimulus.has_truth for stimulus in data.stimuli):
        return
    sought = f" (looked for: {data.sought})" if data.sought else ""
    raise DataError(
        f"data set {label}: none of its {len(data.stimuli):,} images has fixations or a "
        f"ground-truth map, so there is nothing to score against{sought}; add them (a benchmark "
        "can also predict without scores: predict_only=true)."
    )


def _mark(stimulus: Stimulus) -> tuple[str, Unreadable]:
    """Return the fingerprint of an image and its files now, and why they cannot be read."""
    words = [stimulus.image_id, stimulus.size, stimulus.category]
    faults = ["", ""]
    for at, part in enumerate((stimulus.image_digest, stimulus.truth_digest)):
        try:
            words.append(part())
        except DataError as error:
            faults[at] = str(error)
            words.append(faults[at])  # repeated for each image when that image is used
    return json.dumps(words), Unreadable(*faults)


def require_unchanged(sets: Sequence[LoadedSet], failures: Sequence[Failure]) -> None:
    """Raise unless the images that could not be used are unchanged since the run began.

    If an image disappeared during the run, the run must not count as finished: `--resume` would
    then keep the gap.

    Args:
        sets: all data sets that are scored.
        failures: images of these sets, and why they could not be used.

    Raises:
        RunError: an image or its map has changed or is gone.
    """
    by_label = {loaded.label: loaded for loaded in sets}
    for row in failures:
        loaded = by_label[row.dataset]
        stimulus = next((s for s in loaded.stimuli if s.image_id == row.image_id), None)
        if stimulus is not None and _mark(stimulus)[0] != loaded.marks[row.image_id]:
            raise changed_input(row)


def changed_input(row: Failure) -> RunError:
    """Return the error for an input that has changed since the run began."""
    return RunError(
        f"{row.dataset}, {row.image_id}: {row.reason.rstrip('.')}; it was there when the run "
        "began. Bring it back and run again with --resume."
    )


def set_settings(name: str, given: Mapping[str, Any], what: str) -> tuple[Any, dict[str, Any], Any]:
    """Return a data set's reader, all its settings, and its `ids`, without reading it.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    reader = DATASETS.get(name)
    settings = read_settings(reader, given, what, DATASET_ENTRY)
    del settings["label"]
    return reader, settings, settings.pop("ids")


def check_names(
    config: BenchmarkConfig | SaliencyConfig, models: Sequence[ModelSpec], progress: Progress
) -> list[str]:
    """Check that everything a config names exists and takes its settings; read no image.

    Args:
        config: names plugins and data sets.
        models: its models.
        progress: see `Checks`.

    Returns:
        Notices about the data sets' `split`.

    Raises:
        ConfigError: a data set, a model or a setting is unknown.
        DataError: a plugin's file does not exist, or a list of ids is missing, unreadable or empty.
    """
    checks = Checks(progress)
    for path in config.plugins:
        with checks.part():
            load_plugin(Path(path))
    checks.require_all()
    notices = []
    for spec in config.datasets:
        with checks.part(f"data set {spec.label}"):
            _, settings, ids = set_settings(spec.name, spec.settings, f"data set {spec.label}")
            if ids is not None:
                _wanted_ids(ids, f"data set {spec.label}")
            if spec.name in ("folder", "csv_indexed") and settings["participants"] is not None:
                Pattern.from_setting(settings["participants"])
            texts = find_split(spec.name, settings).notices("all images are")
            notices += [f"{spec.label}: {text}" for text in texts]
    for model in models:
        with checks.part(f"model {model.label}"):
            model_settings(model.label, model.name, model.settings, config.device)
    return notices


def read_set(name: str, given: Mapping[str, Any], what: str) -> DataSet:
    """Read a registered data set; its images are sorted by id.

    Args:
        name: the name it is registered under.
        given: its settings; `ids` is a list of the image ids to use, or a file with such a list.
        what: how messages refer to the data set.

    Raises:
        ConfigError: the name or a setting is unknown, or the set has no image of `ids`.
        DataError: it cannot be read.
    """
    reader, settings, ids = set_settings(name, given, what)
    wanted = None if ids is None else _wanted_ids(ids, what)
    data = reader(**settings)
    if not isinstance(data, DataSet):
        raise ConfigError(f"{what}: {name} returns no DataSet.")
    stimuli = sorted(data.stimuli, key=lambda stimulus: stimulus.image_id)
    if wanted is None:
        return replace(data, stimuli=stimuli)
    chosen = [stimulus for stimulus in stimuli if stimulus.image_id in wanted]
    problems = [problem for problem in data.problems if problem.image_id in wanted]
    listed = "its list ids" if isinstance(ids, list) else ids
    lost = sorted(wanted - {s.image_id for s in chosen} - {p.image_id for p in problems})
    if not chosen and not problems:
        ours = f", and the set has '{printable(stimuli[0].image_id)}'" if stimuli else ""
        raise ConfigError(
            f"{what}: none of the {len(wanted)} ids in {listed} is in it; "
            f"'{printable(lost[0])}' is one of them{ours}."
        )
    example = f"'{printable(lost[0])}' is one of them." if lost else ""
    unmatched = Loss(len(lost), len(wanted), f"ids of {listed} are not in it", example)
    return replace(data, stimuli=chosen, problems=problems, losses=[*data.losses, unmatched])


def _wanted_ids(ids: Any, what: str) -> frozenset[str]:
    """Return the ids of an entry, which is a list, or a file with one id per line.

    Raises:
        ConfigError: the list is empty, or the value is not a path.
        DataError: the file does not exist or cannot be used.
    """
    if not isinstance(ids, list):
        return frozenset(read_ids(as_path(ids, "ids")))
    if not ids:
        raise ConfigError(f"{what}: ids is an empty list; name images, or leave ids out.")
    return frozenset(map(str, ids))
