"""Draws a prepared experiment: images with their maps, and distributions."""

from __future__ import annotations

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
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.job import FileFacts, Identity, Job, Outcome, Run, run_job
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
    load_picture,
    open_experiment,
    participant_maps,
)
from clickmap_cli.services.visualize.numbers import Distributions, distributions
from clickmap_cli.services.visualize.options import VisualizeOptions
from clickmap_cli.storage.atomic import write_rows
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files

DEFAULT_BINS = 8
SHEET_IMAGES = 20
"""Images on one contact sheet."""

_SECONDS = 0.125  # time in which one core draws an image

Figures = Mapping[str, Callable[..., None]]
"""Kind of figure, or path of a distribution such as `distributions/funnel` -> function that draws.

Each function gets the figure's content, then `look` and `paths` (format -> file), and writes each
file whole or not at all. The content is
`overlay`: a `Picture`; `participants`: a `Picture`, names and maps; `clicks`: a `Picture` and its
tracks; `bins`: a `Picture`, cumulative maps and their labels; `sheet`: several `Picture`s; and of a
distribution `Distributions`.
"""

_Contents = dict[str, tuple[Any, ...]]
"""Kind of figure -> its content."""


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
class FiguresSummary:
    """The results of `visualize`.

    Attributes:
        images: images that were drawn (after a dry run, that would be drawn), in order; empty if an
            equal finished run was found.
        numbers: numbers behind the distributions, or None if they were not requested.
    """

    images: tuple[PictureRow, ...]
    numbers: Distributions | None


def run(
    config: ExperimentConfig,
    options: VisualizeOptions,
    progress: Progress,
    figures: Figures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[FiguresSummary]:
    """Draw a prepared experiment into `<folder>/figures/`.

    Args:
        config: the checked configuration; `display_image_keys` chooses images unless `options` do.
        options: choice of images and figures, and their look.
        progress: receives the current stage, and notices about missing or converted images.
        figures: functions that draw into the paths they are given.
        when: what to do with existing figures.
        dry_run: choose images only; write nothing.

    Raises:
        ConfigError: the call contradicts the existing outputs.
        DataError: the folder holds no finished run of `prepare`, or a damaged one.
        RunError: another run holds the folder, or it cannot be written.
    """
    return run_job(_FiguresJob(config, options, figures), when, dry_run=dry_run, progress=progress)


@dataclass(frozen=True)
class _Inputs:
    """An experiment, the codes of the chosen images, and the numbers of the distributions."""

    experiment: PreparedExperiment
    agreement: Agreement | None
    codes: list[int]
    numbers: Distributions | None

    def picture(self, code: int) -> Picture:
        """Return an image with its map and its score."""
        if self.agreement is None:
            return load_picture(self.experiment, code)
        score = float(self.agreement.values[code])
        return load_picture(self.experiment, code, score, self.agreement.metric)


class _FiguresJob(Job[_Inputs, FiguresSummary]):
    command = "visualize"
    owns = ("overlay", "participants", "clicks", "bins", "sheet", "distributions", "images.csv")

    def __init__(
        self, config: ExperimentConfig, options: VisualizeOptions, figures: Figures
    ) -> None:
        self.config = config
        self.options = options
        self.figures = figures
        self.folder = config.folder / "figures"

    def load(self, progress: Progress, *, dry_run: bool) -> _Inputs:
        """Read the experiment and the agreement on its images, and choose images."""
        options = self.options
        experiment = open_experiment(self.config, progress)
        by_agreement = options.by in ("agreement", "disagreement")
        distributed = "distributions" in options.kinds
        agreement = find_agreement(
            experiment, self.config, by_agreement, progress, compute=by_agreement or distributed
        )
        codes = _chosen_images(experiment, self.config, options, agreement, progress)
        numbers = distributions(experiment, agreement, options.classes) if distributed else None
        return _Inputs(experiment, agreement, codes, numbers)

    def identity(self, inputs: _Inputs) -> Identity:
        """Return what the figures depend on."""
        experiment, agreement, options = inputs.experiment, inputs.agreement, self.options
        files = [
            experiment.folder / TRIALS_FILE,
            None if agreement is None else agreement.table,
            *(experiment.image_file(code) for code in inputs.codes),
            options.classes,
        ]
        described = describe_files(None, [path for path in files if path is not None])
        words = [
            asdict(options) | {"classes": None},
            [experiment.keys[code] for code in inputs.codes],
            self.config.click_bins,
            self.config.time_based_bins,
            experiment.manifest.config_hash,
            experiment.manifest.outputs,
            [entry["sha256"] for entry in described.values()],
            None if agreement is None else agreement.values.tolist(),
        ]
        text = json.dumps(words, sort_keys=True, default=str)
        return Identity(hashlib.sha256(text.encode()).hexdigest(), described)

    def work(self, inputs: _Inputs, run: Run) -> FiguresSummary:
        """Draw the figures, and write `images.csv`."""
        rows = self._draw_images(inputs, run)
        if inputs.numbers is not None:
            self._draw_distributions(inputs.numbers, run)
        write_rows(self.folder / "images.csv", PictureRow, rows)
        run.add([self.folder / "images.csv"])
        states = [row.image for row in rows]
        run.counts |= {"images": len(rows)}
        run.counts |= {state: states.count(state) for state in sorted(set(states))}
        _notify_images(rows, run.progress)
        return FiguresSummary(tuple(rows), inputs.numbers)

    def preview(self, inputs: _Inputs) -> FiguresSummary:
        """Return the images that would be drawn."""
        rows = tuple(_row_of(inputs.picture(code)) for code in inputs.codes)
        return FiguresSummary(rows, inputs.numbers)

    def stored(self, inputs: _Inputs, manifest: Manifest) -> FiguresSummary:
        """Return the numbers; the images are in `images.csv`."""
        return FiguresSummary((), inputs.numbers)

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the configuration with the options of the figures."""
        classes = self.options.classes
        options = asdict(self.options) | {"classes": None if classes is None else str(classes)}
        return as_dict(self.config) | {"visualize": options}

    def _draw_images(self, inputs: _Inputs, run: Run) -> list[PictureRow]:
        """Draw every image's figures and the contact sheets, and keep those of an earlier run."""
        experiment, codes, options = inputs.experiment, inputs.codes, self.options
        most = max((int(experiment.people[code]) for code in codes), default=1)
        top = 1.0
        if options.look.normalize == "sum":
            top = max((densest(experiment.mean_map(code)) for code in codes), default=1.0)
        rows: list[PictureRow] = []
        run.progress.stage("Drawing images", len(codes))
        for page, first in enumerate(range(0, len(codes), SHEET_IMAGES), 1):
            pictures = {
                code: replace(
                    inputs.picture(code),
                    people_share=int(experiment.people[code]) / most,
                    densest=top,
                )
                for code in codes[first : first + SHEET_IMAGES]
            }
            self._draw_page(inputs, pictures, run)
            if "sheet" in options.kinds:
                name = f"sheet_{page:05d}"
                files = run.folder.recorded(name)
                if files is None:
                    contents = {"sheet": (list(pictures.values()),)}
                    files = _draw_contents(self.figures, options, self.folder, (name, contents))
                    run.folder.record(name, files)
                run.outputs |= files
            rows += [_row_of(found) for found in pictures.values()]
        return rows

    def _draw_page(self, inputs: _Inputs, pictures: Mapping[int, Picture], run: Run) -> None:
        """Draw the figures of the images on one contact sheet, except those already drawn."""
        todo = []
        for code in pictures:
            done = run.folder.recorded(f"image_{code:07d}")
            if done is None:
                todo.append(code)
            else:
                run.outputs |= done
                run.progress.advance()
        images = (
            (inputs.experiment.picture_name(code), self._contents(inputs, code, pictures[code]))
            for code in todo
        )
        draw = partial(_draw_contents, self.figures, self.options, self.folder)
        workers = worker_count(self.config.n_jobs, _SECONDS * len(inputs.codes))
        for code, files in zip(todo, ordered_map(draw, images, workers, "loky"), strict=True):
            run.folder.record(f"image_{code:07d}", files)
            run.outputs |= files
            run.progress.advance()

    def _contents(self, inputs: _Inputs, code: int, found: Picture) -> _Contents:
        """Return the contents of one image's figures by kind; see `Figures`."""
        kinds, experiment = self.options.kinds, inputs.experiment
        contents: _Contents = {}
        if "overlay" in kinds:
            contents["overlay"] = (found,)
        if "participants" in kinds:
            contents["participants"] = (found, *participant_maps(experiment, code))
        if "clicks" in kinds:
            contents["clicks"] = (found, click_tracks(experiment, code))
        if "bins" in kinds:
            bins = self.options.bins or self.config.click_bins or DEFAULT_BINS
            by_time = self.config.time_based_bins
            contents["bins"] = (found, *cumulative_maps(experiment, code, bins, by_time))
        return contents

    def _draw_distributions(self, numbers: Distributions, run: Run) -> None:
        """Draw the distributions; those of agreement only if it is known."""
        names = [name for name in self.figures if name.startswith("distributions/")]
        run.progress.stage("Drawing distributions", len(names))
        for path in names:
            if numbers.agreed or "/agreement" not in path:
                kind, name = path.split("/")
                draw = {kind: self.figures[path]}
                run.outputs |= _draw_contents(
                    draw, self.options, self.folder, (name, {kind: (numbers,)})
                )
            run.progress.advance()


def _chosen_images(
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
        if agreement is not None and options.by in ("agreement", "disagreement"):
            order = agreement.ranked(most_first=options.by == "agreement")
        return [int(code) for code in order[: options.top]]
    code_of = {key: code for code, key in enumerate(experiment.keys)}
    return [code_of[key] for key in example_keys(experiment.trials, config, progress)]


def _draw_contents(
    figures: Figures, options: VisualizeOptions, folder: Path, image: tuple[str, _Contents]
) -> FileFacts:
    """Draw one image's figures into `<kind>/<name>.<format>`; runs in any process.

    Args:
        figures: see `Figures`.
        options: look and formats of the figures.
        folder: the folder of all figures.
        image: name of the image's files, and the contents of its figures.

    Returns:
        The written files.
    """
    name, contents = image
    written: list[Path] = []
    for kind, content in contents.items():
        paths = {ending: folder / kind / f"{name}.{ending}" for ending in options.formats}
        figures[kind](*content, look=options.look, paths=paths)
        written += paths.values()
    return describe_files(folder, written)


def _row_of(found: Picture) -> PictureRow:
    return PictureRow(
        found.key, found.category, found.n_participants, found.n_clicks, found.agreement,
        found.image.state, found.image.note,
    )  # fmt: skip


def _notify_images(rows: Sequence[PictureRow], progress: Progress) -> None:
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
