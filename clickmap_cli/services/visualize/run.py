"""Draws a prepared experiment: images with their maps, and distributions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.prepare.examples import example_keys
from clickmap_cli.services.visualize.agreement import Agreement, find_agreement
from clickmap_cli.services.visualize.drawing import (
    DrawingJob,
    Files,
    PictureRow,
    VisualizeFigures,
    draw_images,
    draw_numbers,
    row_of,
)
from clickmap_cli.services.visualize.experiment import PreparedExperiment, open_experiment
from clickmap_cli.services.visualize.numbers import Distributions, distributions
from clickmap_cli.services.visualize.options import VisualizeOptions, check_options
from clickmap_cli.services.visualize.pictures import CONVERTED, MISSING, UNREADABLE, file_of
from clickmap_cli.storage.atomic import write_rows
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files

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
    figures: VisualizeFigures,
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
