"""The data sets of a benchmark, read and identified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.config.benchmark import BenchmarkConfig, Spec, dataset_specs
from clickmap_cli.datasets.base import DATASETS, DataSet, Problem, Stimulus
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.registry import settings_of
from clickmap_cli.storage.id_lists import read_ids


@dataclass(frozen=True)
class LoadedSet:
    """A data set as the config names it.

    Attributes:
        label: what tables and files call it.
        stimuli: images to score, sorted by id.
        problems: images that cannot be used.
        digest: a hash of every image, point and map.
    """

    label: str
    stimuli: Sequence[Stimulus]
    problems: Sequence[Problem]
    digest: str


def load_sets(config: BenchmarkConfig, progress: Progress) -> list[LoadedSet]:
    """Read every data set of a config.

    Raises:
        ConfigError: a data set or a setting is unknown, or a set is empty.
        DataError: a data set cannot be read.
    """
    return [_load(spec, config, progress) for spec in dataset_specs(config)]


def _load(spec: Spec, config: BenchmarkConfig, progress: Progress) -> LoadedSet:
    progress.stage(f"Reading {spec.label}")
    data = read_set(spec.name, spec.settings, f"data set {spec.label}")
    for text in data.notices:
        progress.notice(f"{spec.label}: {text}")
    stimuli = list(data.stimuli)[: config.limit_images]
    if not stimuli and not data.problems:
        raise ConfigError(f"data set {spec.label}: it is empty; there is nothing to score.")
    progress.stage(f"Checking {spec.label}", len(stimuli))
    digest = hashlib.sha256()
    for stimulus in stimuli:
        words = [stimulus.image_id, stimulus.size, stimulus.category]
        for part in (stimulus.image_digest, stimulus.truth_digest):
            try:
                words.append(part())
            except DataError as error:
                words.append(str(error))  # said again, by image, where it is needed
        digest.update(json.dumps(words).encode())
        progress.advance()
    return LoadedSet(spec.label, stimuli, data.problems, digest.hexdigest())


def set_settings(name: str, given: Mapping[str, Any], what: str) -> tuple[Any, dict[str, Any], Any]:
    """What a data set is read with, before it is read: its reader, all settings, and its `ids`.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    reader = DATASETS.get(name)
    rest = dict(given)
    ids = rest.pop("ids", None)
    return reader, settings_of(reader, rest, what), ids


def read_set(name: str, given: Mapping[str, Any], what: str) -> DataSet:
    """Read a registered data set; its images are sorted by id.

    Args:
        name: what it is registered as.
        given: its settings; `ids` names a list of the only image ids that count.
        what: who it is, for messages.

    Raises:
        ConfigError: the name or a setting is unknown, or no image of `ids` is there.
        DataError: it cannot be read.
    """
    reader, settings, ids = set_settings(name, given, what)
    data = reader(**settings)
    if not isinstance(data, DataSet):
        raise ConfigError(f"{what}: {name} returns no DataSet.")
    stimuli = sorted(data.stimuli, key=lambda stimulus: stimulus.image_id)
    problems = list(data.problems)
    if ids is not None:
        wanted = frozenset(read_ids(Path(ids)))
        stimuli = [stimulus for stimulus in stimuli if stimulus.image_id in wanted]
        problems = [problem for problem in problems if problem.image_id in wanted]
        if not stimuli and not problems:
            raise ConfigError(f"{what}: none of the {len(wanted)} ids in {ids} is in it.")
        lost = len(wanted) - len(stimuli) - len(problems)
        notices = [*data.notices, *([f"{lost} ids of {ids} are not in it."] if lost else [])]
        return DataSet(stimuli, problems, notices)
    return DataSet(stimuli, problems, data.notices)
