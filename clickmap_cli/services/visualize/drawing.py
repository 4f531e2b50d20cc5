"""Draws the figures of `visualize` into files, image by image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.visualize.agreement import Agreement
from clickmap_cli.services.visualize.experiment import PreparedExperiment
from clickmap_cli.services.visualize.numbers import Distributions
from clickmap_cli.services.visualize.options import Look, VisualizeOptions
from clickmap_cli.services.visualize.pictures import (
    BinsPicture,
    ClicksPicture,
    PeoplePicture,
    Picture,
    bins_of,
    clicks_of,
    densest,
    people_of,
    picture_of,
)
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.folder import RunFolder
from clickmap_cli.storage.manifest import describe_files

DEFAULT_BINS = 8
SHEET_IMAGES = 20
"""Images on one contact sheet."""

_WORTH_WORKERS = 16  # images; fewer are drawn before worker processes have started

Paths = Mapping[str, Path]
"""Format -> file."""

Files = dict[str, dict[str, Any]]
"""Path inside the folder -> size and SHA-256."""


@dataclass(frozen=True)
class VisualizeFigures:
    """Functions of `reports/` that draw figures; the service chooses contents and paths.

    Attributes:
        overlay: draws image, heat and overlay side by side.
        participants: draws the map of every participant beside the mean.
        clicks: draws clicks in order.
        bins: draws cumulative maps side by side.
        morph: draws cumulative maps as animations, into `gif` and `apng`.
        sheet: draws many images on one page.
        distributions: name of a figure -> function that draws it.
    """

    overlay: Callable[[Picture, Look, Paths], None]
    participants: Callable[[PeoplePicture, Look, Paths], None]
    clicks: Callable[[ClicksPicture, Look, Paths], None]
    bins: Callable[[BinsPicture, Look, Paths], None]
    morph: Callable[[BinsPicture, Look, Paths], None]
    sheet: Callable[[Sequence[Picture], Look, Paths], None]
    distributions: Mapping[str, Callable[[Distributions, Look, Paths], None]]


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
    figures: VisualizeFigures
    agreement: Agreement | None
    codes: list[int]
    numbers: Distributions | None

    def picture(self, code: int) -> Picture:
        """Return an image with its map and its score."""
        if self.agreement is None:
            return picture_of(self.experiment, code)
        score = float(self.agreement.values[code])
        return picture_of(self.experiment, code, score, self.agreement.metric)


@dataclass(frozen=True)
class _Drawing:
    """One image's figures, ready to be drawn by any process."""

    pieces: Mapping[str, Any]
    figures: VisualizeFigures
    look: Look
    formats: tuple[str, ...]
    folder: Path
    stem: str


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
    drawings = (_drawing(job, code, pictures[code], run_folder.path) for code in todo)
    workers = worker_count(job.config.n_jobs) if len(job.codes) >= _WORTH_WORKERS else 1
    for code, files in zip(todo, ordered_map(_draw_one, drawings, workers, "loky"), strict=True):
        run_folder.record(f"image_{code:07d}", files)
        outputs |= files
        progress.advance()
    return outputs


def _drawing(job: DrawingJob, code: int, found: Picture, folder: Path) -> _Drawing:
    """Collect the data for the figures of one image."""
    kinds, experiment = job.options.kinds, job.experiment
    bins = job.options.bins or job.config.click_bins or DEFAULT_BINS
    pieces: dict[str, Any] = {}
    if "overlay" in kinds:
        pieces["overlay"] = found
    if "participants" in kinds:
        pieces["participants"] = people_of(experiment, code, found)
    if "clicks" in kinds:
        pieces["clicks"] = clicks_of(experiment, code, found)
    if "bins" in kinds:
        pieces["bins"] = bins_of(experiment, code, found, bins, job.config.time_based_bins)
    look, formats = job.options.look, job.options.formats
    return _Drawing(pieces, job.figures, look, formats, folder, experiment.picture_name(code))


def _draw_one(drawing: _Drawing) -> Files:
    """Draw one image's figures; runs in any process."""
    files: Files = {}
    for kind, piece in drawing.pieces.items():
        stem = drawing.folder / kind / drawing.stem
        draw = getattr(drawing.figures, kind)
        files |= _drawn(draw, piece, drawing.look, stem, drawing.formats, drawing.folder)
        if kind == "bins":
            moving = ("gif", "apng")
            draw = drawing.figures.morph
            files |= _drawn(draw, piece, drawing.look, stem, moving, drawing.folder)
    return files


def _drawn(
    draw: Callable[[Any, Look, Paths], None],
    piece: Any,
    look: Look,
    stem: Path,
    formats: Sequence[str],
    folder: Path,
) -> Files:
    """Draw one figure into its files, `<stem>.<format>`; no incomplete file is left behind."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in formats]
    with contextlib.ExitStack() as whole:
        partial = {
            kind: whole.enter_context(replacing(path))
            for kind, path in zip(formats, paths, strict=True)
        }
        draw(piece, look, partial)
    return describe_files(folder, paths)


def _draw_sheet(
    job: DrawingJob, run_folder: RunFolder, page: int, pictures: list[Picture]
) -> Files:
    name = f"sheet_{page:05d}"
    done = run_folder.recorded(name)
    if done is not None:
        return done
    stem = run_folder.path / "sheet" / name
    look, formats = job.options.look, job.options.formats
    files = _drawn(job.figures.sheet, pictures, look, stem, formats, run_folder.path)
    run_folder.record(name, files)
    return files


def draw_numbers(job: DrawingJob, folder: Path, progress: Progress) -> Files:
    """Draw the distributions; those of agreement only if it is known."""
    if job.numbers is None:
        return {}
    files: Files = {}
    progress.stage("Drawing distributions", len(job.figures.distributions))
    for name, draw in job.figures.distributions.items():
        if job.numbers.agreed or not name.startswith("agreement"):
            stem = folder / "distributions" / name
            files |= _drawn(draw, job.numbers, job.options.look, stem, job.options.formats, folder)
        progress.advance()
    return files


def row_of(found: Picture) -> PictureRow:
    """Return the line of `images.csv` for an image."""
    return PictureRow(
        found.key, found.category, found.n_participants, found.n_clicks, found.agreement,
        found.image.state, found.image.note,
    )  # fmt: skip
