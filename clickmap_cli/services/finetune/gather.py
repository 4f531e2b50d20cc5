"""Join folds that were trained in separate folders into one cross-validation."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.scoring.results import Failure
from clickmap_cli.services.finetune.tables import (
    CENTER,
    FINETUNED,
    HELD_OUT,
    HOLDOUT,
    OWN,
    PRETRAINED,
    READ_AGAIN,
    CvSummary,
    FoldScores,
    read_failures,
    read_scores,
    summarise,
    write_tables,
)
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import (
    MANIFEST,
    Manifest,
    damaged_outputs,
    load_manifest,
)
from clickmap_cli.storage.text_files import read_ids
from clickmap_cli.training.checkpoints import BEST

COMMAND = "finetune --gather"
_FOLD = re.compile(rf"fold_(\d+)/{re.escape(BEST)}")


@dataclass(frozen=True)
class _Part:
    """A finished run of some folds.

    Attributes:
        folder: its output folder.
        manifest: its manifest.
        folds: numbers of its folds, in order.
    """

    folder: Path
    manifest: Manifest
    folds: tuple[int, ...]

    @property
    def cv(self) -> Mapping[str, Any]:
        """The settings of the cross-validation."""
        found: Mapping[str, Any] = self.manifest.config["cv"]
        return found

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order of columns."""
        return list(self.manifest.config["metrics"])

    def files_of(self, number: int) -> dict[str, Any]:
        """Return a fold's files with the SHA-256 that the manifest states."""
        start = f"{_name(number)}/"
        outputs = self.manifest.outputs
        return {name: outputs[name]["sha256"] for name in outputs if name.startswith(start)}


def run(
    folders: Sequence[Path],
    output: Path,
    progress: Progress,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[CvSummary | None]:
    """Join the folds of one study into the tables that one run of all folds writes.

    Args:
        folders: `output_dir`s of finished runs of `finetune`, each with some of the folds.
        output: folder for the tables and a manifest; checkpoints are not copied.
        progress: receives notices, such as about folds that exist twice.
        when: what to do with existing outputs.
        dry_run: check everything; write nothing, and return no summary.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs.
        DataError: a folder holds no finished fine-tuning, is damaged, or belongs to a different
            study; a fold is missing, or exists twice with different bytes.
        RunError: a manifest is damaged, or another run has locked the folder.
    """
    places = [folder.resolve() for folder in folders]
    for at, place in enumerate(places):
        if place in places[:at]:
            raise ConfigError(f"--gather: {folders[at]} is named twice; name each folder once.")
    if output.resolve() in places:
        raise ConfigError(
            f"--gather: {output} is one of the folders to gather; choose another --output."
        )
    return run_job(_GatherJob(folders, output), when, dry_run=dry_run, progress=progress)


class _GatherJob(Job[dict[int, _Part], CvSummary | None]):
    command = COMMAND
    owns = OWN

    def __init__(self, folders: Sequence[Path], output: Path) -> None:
        self.folders = folders
        self.folder = output
        self.parts: list[_Part] = []

    def load(self, progress: Progress, *, dry_run: bool) -> dict[int, _Part]:
        """Read the folders, and return the one that each fold is taken from."""
        self.parts = [_load(folder) for folder in self.folders]
        for part in self.parts[1:]:
            _require_one_study(self.parts[0], part)
        for text in _tolerated_differences(self.parts):
            progress.notice(text)
        return _find_folds(self.parts, progress)

    def identity(self, inputs: dict[int, _Part]) -> Identity:
        """Return what the tables depend on."""
        first = self.parts[0].manifest
        words = [first.config_hash, first.config["experiment"]]
        for part in inputs.values():
            words += [part.manifest.outputs[name]["sha256"] for name in READ_AGAIN]
        manifests = [part.folder / MANIFEST for part in self.parts]
        return Identity(
            hashlib.sha256(json.dumps(words).encode()).hexdigest(),
            {**first.inputs, **{str(path): {"sha256": sha256_of(path)} for path in manifests}},
        )

    def preview(self, inputs: dict[int, _Part]) -> None:
        """Return nothing, because nothing is joined."""

    def stored(self, inputs: dict[int, _Part], manifest: Manifest) -> CvSummary:
        """Return the summary of a finished run."""
        return CvSummary.load(self.folder)

    def failures(self, summary: CvSummary | None) -> Sequence[str]:
        """Return why each image that was left out could not be used."""
        return [] if summary is None else [str(failure) for failure in summary.failures]

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the configuration of one run of all folds."""
        first = self.parts[0]
        cv = {**first.cv, "only_folds": None}
        return {**first.manifest.config, "output_dir": str(self.folder), "cv": cv}

    def recorded_seed(self) -> int:
        """Return the seed of the folds."""
        return self.parts[0].manifest.seed

    def work(self, inputs: dict[int, _Part], run: Run) -> CvSummary:
        """Write the tables that one run of all folds would write."""
        scores, summary = _join(self.parts, inputs)
        run.add(write_tables(run.path, scores, summary))
        run.counts |= self.parts[0].manifest.counts
        run.counts |= {"folds": len(inputs), "failures": len(summary.failures)}
        return summary


def _name(number: int) -> str:
    return f"fold_{number:02d}"


def _load(folder: Path) -> _Part:
    """Read a folder's manifest and folds, and check its tables.

    Raises:
        DataError: the folder is missing, damaged, unfinished, or not a fine-tuning with folds.
    """
    if not folder.is_dir():
        raise DataError(f"--gather: no folder at {folder} (looked from {Path.cwd()}).")
    manifest = load_manifest(folder)
    if manifest is None:
        if (folder / ".clickmap").is_dir():
            raise DataError(
                f"--gather: the run in {folder} is not finished; finish it with --resume first."
            )
        raise DataError(
            f"--gather: {folder} holds no finished fine-tuning (no {MANIFEST}); name the "
            "output_dir of a run of `clickmap finetune`."
        )
    if manifest.command == COMMAND:
        raise DataError(f"--gather: {folder} was gathered itself; name the folders it was made of.")
    if manifest.command != "finetune" or manifest.config.get("task") != "saliency":
        what = manifest.config.get("task") or manifest.command
        raise DataError(
            f"--gather: {folder} is of {what}, which has no folds; name runs of `clickmap "
            "finetune` with task saliency."
        )
    found = [_FOLD.fullmatch(name) for name in manifest.outputs]
    numbers = tuple(sorted(int(match[1]) for match in found if match))
    needed = {*READ_AGAIN, *(f"{_name(number)}/test.txt" for number in numbers)}
    stated = {
        name: about
        for name, about in manifest.outputs.items()
        if name in needed or (folder / name).is_file()  # checkpoints may be kept elsewhere
    }
    damaged = damaged_outputs(folder, stated)
    if damaged:
        raise DataError(
            f"--gather: {folder / damaged[0]} is missing or has other bytes than {MANIFEST} "
            "states; copy the folder again, or run it with --resume."
        )
    return _Part(folder, manifest, numbers)


def _require_one_study(first: _Part, other: _Part) -> None:
    """Raise DataError unless two folders hold folds of one study."""
    one, two = first.manifest, other.manifest
    if one.config_hash == two.config_hash:
        return
    start = f"--gather: {first.folder} and {other.folder} are not folds of one study: "
    known = keys_of(SaliencyConfig)
    for name, a, b in _differences(one.config, two.config):
        top = name.partition(".")[0]
        if top in known and known[top].scope == "scores" and name != "cv.only_folds":
            raise DataError(
                f"{start}{name} is {a!r} in {first.folder} and {b!r} in {other.folder}."
            )
    for name in one.inputs:
        if one.inputs[name] != two.inputs.get(name):
            raise DataError(f"{start}{name} is not the same in both.")
    raise DataError(
        f"{start}keys, data set and model agree, so the folds' images or the maps of gt_cache_dir "
        "differ, or an earlier clickmap made one of them."
    )


def _differences(
    one: Mapping[str, Any], two: Mapping[str, Any], start: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the full names of keys whose values differ, with both values."""
    for name in [*one, *(name for name in two if name not in one)]:
        a, b = one.get(name), two.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{start}{name}.")
        elif a != b:
            yield f"{start}{name}", a, b


def _tolerated_differences(parts: Sequence[_Part]) -> Iterator[str]:
    """Yield a notice for each tolerated difference: the experiment's name, and package versions."""
    first = parts[0]
    for part in parts[1:]:
        for what, one, two in (
            ("experiment", first.manifest.config["experiment"], part.manifest.config["experiment"]),
            *(
                (f"the version of {name}", one, part.manifest.versions.get(name))
                for name, one in first.manifest.versions.items()
            ),
        ):
            if one != two:
                used = "; the first is used" if what == "experiment" else ""
                yield f"{what} is {one} in {first.folder} and {two} in {part.folder}{used}."


def _find_folds(parts: Sequence[_Part], progress: Progress) -> dict[int, _Part]:
    """Return the folder that each fold is taken from, in the order of folds.

    Raises:
        DataError: a fold is missing, or two folders hold it with different bytes.
    """
    owners: dict[int, _Part] = {}
    for part in parts:
        for number in part.folds:
            there = owners.setdefault(number, part)
            if there is part:
                continue
            both = f"{_name(number)} is in {there.folder} and in {part.folder}"
            if there.files_of(number) != part.files_of(number) or _read_rows(
                there, number
            ) != _read_rows(part, number):
                raise DataError(
                    f"--gather: {both} with different bytes; leave one of the folders out."
                )
            progress.notice(f"{both} with the same bytes; the first is used.")
    folds = int(parts[0].cv["folds"])
    missing = [number for number in range(1, folds + 1) if number not in owners]
    if missing:
        names = ", ".join(str(number) for number in missing)
        which = (
            f"fold {names} of {folds} is" if len(missing) == 1 else f"folds {names} of {folds} are"
        )
        raise DataError(
            f"--gather: {which} missing; train with cv.only_folds=[{names}]. Nothing was written."
        )
    return dict(sorted(owners.items()))


def _read_rows(part: _Part, number: int) -> str:
    """Return a fold's scores as text, so that NaN compares equal to NaN."""
    scores = read_scores(part.folder, part.metrics)
    return repr({place: rows for place, rows in scores.items() if place[1] == _name(number)})


def _join(
    parts: Sequence[_Part], owners: Mapping[int, _Part]
) -> tuple[list[FoldScores], CvSummary]:
    """Return what one run of all folds would have, with folds and failures in order."""
    manifest = parts[0].manifest
    splits = [HELD_OUT]
    if manifest.counts["holdout"] and len(owners) > 1:
        splits.append(HOLDOUT)
    read = {id(part): read_scores(part.folder, part.metrics) for part in parts}
    scores = [
        FoldScores(
            split, _name(number), model, read[id(part)].get((split, _name(number), model), ())
        )
        for number, part in owners.items()
        for model in (FINETUNED, PRETRAINED, CENTER)
        for split in splits
    ]
    failed = {id(part): _failures(part, read[id(part)], splits) for part in parts}
    everywhere = [row for row in read_failures(parts[0].folder) if not row.model]
    failures = [row for number, part in owners.items() for row in failed[id(part)][number]]
    config = manifest.config
    spec = config["model"]
    label = spec if isinstance(spec, str) else spec["name"]
    summary = summarise(
        config["experiment"], label, parts[0].metrics, scores, [*everywhere, *failures],
        manifest.seed,
    )  # fmt: skip
    return scores, summary


def _failures(
    part: _Part, scores: Mapping[tuple[str, str, str], Sequence[Any]], splits: Sequence[str]
) -> dict[int, list[Failure]]:
    """Return the failures of each fold.

    A run writes failures fold by fold, and each image either fails or has a score, so the missing
    scores of a fold tell how many rows of `failures.csv` belong to it.

    Raises:
        DataError: `failures.csv` and `held_out.csv` do not agree.
    """
    left = [row for row in read_failures(part.folder) if row.model]
    found = {}
    for number in part.folds:
        n = 0
        for split in splits:
            expected = (
                len(read_ids(part.folder / _name(number) / "test.txt"))
                if split == HELD_OUT
                else int(part.manifest.counts["holdout"])
            )
            n += sum(
                expected - len(scores.get((split, _name(number), model), ()))
                for model in (FINETUNED, PRETRAINED, CENTER)
            )
        found[number], left = left[:n], left[n:]
    if left:
        raise DataError(
            f"--gather: {part.folder / 'failures.csv'} and held_out.csv beside it do not agree on "
            "which images failed; copy the folder again."
        )
    return found
