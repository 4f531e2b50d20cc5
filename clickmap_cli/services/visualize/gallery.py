"""Writes a gallery of an experiment: every image with its map, as small pictures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.verify import PAGE_MANIFEST
from clickmap_cli.services.visualize.agreement import Agreement
from clickmap_cli.services.visualize.ceilings import ceilings_beside
from clickmap_cli.services.visualize.experiment import PreparedExperiment, open_experiment
from clickmap_cli.services.visualize.gallery_pages import (
    Opened,
    PageDone,
    PageJob,
    Remark,
    SmallPicture,
    inputs_digest,
    named,
    part_of,
    write_page,
)
from clickmap_cli.services.visualize.options import PARTICIPANTS, Look
from clickmap_cli.storage.atomic import write_bytes, write_json
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files

PAGE = "gallery.html"
FOLDER = "gallery"

PAGE_IMAGES = 32
"""Images per page. Few, because a sorted view may need one page for every image that it shows."""

MOST_MAPS = 50_000
"""Maximum participants' maps that `participants: auto` writes; each takes about 3 kB."""


_WORTH_WORKERS = 1_000  # pictures; fewer are drawn before worker processes have started
_PAGES, _OPENED = "pages", "images"


@dataclass(frozen=True)
class GalleryOptions:
    """The contents of a gallery, and its initial look.

    Attributes:
        look: initial `colormap`, `alpha` and `normalize`.
        participants: `all` if an opened image shows the map of every participant, and is larger;
            `none` if not; `auto` if there are at most `MOST_MAPS` maps.
    """

    look: Look = field(default_factory=Look)
    participants: str = "auto"


@dataclass(frozen=True)
class ImageFacts:
    """Facts about an image that are known before drawing."""

    key: str
    category: str
    n_participants: int
    n_clicks: int


@dataclass(frozen=True)
class Gallery:
    """All contents of a gallery except the pictures.

    Attributes:
        title: the experiment's name.
        images: facts about the images, in the order of their names.
        agreements: agreement according to each ceiling; its scores are in the images' order.
        page_images: images per page; the last page may have fewer.
        pages: names of the pages' files.
        opened: names of the opened images' files; empty if there are none.
        aspect: median width of a picture divided by its height.
        remarks: images that are missing, unreadable or converted.
        look: initial look of the gallery.
        notices: notices of `prepare` and of this call about the data.
    """

    title: str
    images: tuple[ImageFacts, ...]
    agreements: tuple[Agreement, ...]
    page_images: int
    pages: tuple[str, ...]
    opened: tuple[str, ...]
    aspect: float
    remarks: tuple[Remark, ...]
    look: Look
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class GalleryFigures:
    """Functions of `reports/` that make the files' content; the service chooses data and paths.

    Attributes:
        check: raises an error about a look that cannot be drawn, before any work.
        page: makes a page of pictures (name, pictures).
        opened: makes an opened image (name, image).
        index: makes the index of all images (gallery).
        shell: makes `gallery.html` (gallery, name of the index).
    """

    check: Callable[[Look], None]
    page: Callable[[str, Sequence[SmallPicture]], bytes]
    opened: Callable[[str, Opened], bytes]
    index: Callable[[Gallery], bytes]
    shell: Callable[[Gallery, str], bytes]


@dataclass(frozen=True)
class GalleryRun:
    """Results of a run.

    Attributes:
        page: the file to open.
        n_images: number of images in the gallery.
        n_pages: number of pages.
        n_kept: number of pages that were kept from an earlier gallery.
        participants: True if opened images show the map of every participant.
        remarks: images that are missing, unreadable or converted, with reasons.
        n_bytes: size of the gallery's pages and index in bytes.
        seconds: duration in seconds.
        written: False for a dry run, which writes nothing.
    """

    page: Path
    n_images: int
    n_pages: int
    n_kept: int
    participants: bool
    remarks: tuple[Remark, ...]
    n_bytes: int
    seconds: float
    written: bool = True


def run(
    config: ExperimentConfig,
    options: GalleryOptions,
    progress: Progress,
    figures: GalleryFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> GalleryRun:
    """Write `gallery.html` and `gallery/` into an experiment's folder.

    The names of the files contain hashes of their inputs, so a new gallery never mixes with an old
    one, and files whose inputs are unchanged are kept.

    Args:
        config: the checked configuration.
        options: contents and look of the gallery.
        progress: receives the current stage, and notices about missing or converted images.
        figures: make the files' content.
        when: what to do with an existing gallery.
        dry_run: read the experiment only; write nothing.

    Raises:
        ConfigError: an option is wrong, or a gallery exists and the call does not say what to do
            with it.
        DataError: the folder holds no finished run of `prepare`, or a damaged one.
        RunError: another run holds the gallery, or it cannot be written.
    """
    started = Stopwatch()
    _check(options, figures)
    folder = config.folder
    place = RunFolder(folder / FOLDER, "visualize --html", (_PAGES, _OPENED))
    if not dry_run:
        place.require_startable(when)
    progress.stage("Reading the experiment")
    experiment = open_experiment(config, progress)
    people = _with_people(experiment, options.participants, progress)
    if dry_run:
        n = len(experiment.keys)
        pages = -(-n // PAGE_IMAGES)
        return GalleryRun(folder / PAGE, n, pages, 0, people, (), 0, started.seconds, written=False)
    with place.held():
        gallery, done = _drawn(experiment, config, options.look, people, figures, progress)
        progress.stage("Writing the page")
        index = _write_front(folder, gallery, figures)
        outputs = describe_files(place.path, [index, *(f for page in done for f in page.files)])
        manifest = _manifest(config, options, experiment, gallery, outputs, started, progress.kept)
        _prove_page(folder, manifest)
        place.finish(manifest)
    _say_of_images(gallery, progress)
    return GalleryRun(
        folder / PAGE, len(gallery.images), len(done), sum(page.kept for page in done), people,
        gallery.remarks, sum(file["size"] for file in outputs.values()), started.seconds,
    )  # fmt: skip


def _drawn(
    experiment: PreparedExperiment,
    config: ExperimentConfig,
    look: Look,
    people: bool,
    figures: GalleryFigures,
    progress: Progress,
) -> tuple[Gallery, list[PageDone]]:
    """Write all pages, and return the gallery and the pages."""
    codes = _by_name(experiment)
    agreements = tuple(
        dataclasses.replace(one, values=one.values[codes])
        for one in ceilings_beside(experiment, config, progress)
    )
    names, done = _write_pages(experiment, codes, people, figures, config.n_jobs, progress)
    gallery = Gallery(
        experiment.config.experiment_name,
        tuple(_facts(experiment, code) for code in codes),
        agreements,
        PAGE_IMAGES,
        tuple(page for page, _ in names),
        tuple(name for _, opened in names for name in opened),
        float(np.median([page.aspect for page in done])),
        tuple(remark for page in done for remark in page.remarks),
        look,
        tuple(dict.fromkeys([*experiment.manifest.notices, *progress.kept])),
    )
    return gallery, done


def _check(options: GalleryOptions, figures: GalleryFigures) -> None:
    if options.participants not in PARTICIPANTS:
        raise ConfigError(
            f"--participants is '{options.participants}'; choose one of {', '.join(PARTICIPANTS)}."
        )
    figures.check(options.look)


def _by_name(experiment: PreparedExperiment) -> list[int]:
    """Return the codes of the images in natural order of their names: `2.jpg` before `10.jpg`."""

    def order(code: int) -> tuple[list[str | int], str]:
        key = experiment.keys[code]
        parts = re.split(r"([0-9]+)", key.casefold())
        # even places hold words and odd places numbers, so equal types are compared
        return [int(part) if at % 2 else part for at, part in enumerate(parts)], key

    return sorted(range(len(experiment.keys)), key=order)


def _with_people(experiment: PreparedExperiment, wanted: str, progress: Progress) -> bool:
    """Return True if the maps of all participants are to be written."""
    n_maps = int(experiment.people.sum())
    if wanted == "auto" and n_maps > MOST_MAPS:
        progress.notice(
            f"Opened images show no participants: their {n_maps:,} maps would take about "
            f"{n_maps * 3 // 1000:,} MB; --participants all writes them."
        )
        return False
    return wanted != "none"


def _facts(experiment: PreparedExperiment, code: int) -> ImageFacts:
    return ImageFacts(
        experiment.keys[code],
        experiment.category(code),
        int(experiment.people[code]),
        len(experiment.clicks(code).x),
    )


def _write_pages(
    experiment: PreparedExperiment,
    codes: list[int],
    people: bool,
    figures: GalleryFigures,
    n_jobs: int,
    progress: Progress,
) -> tuple[list[tuple[str, Sequence[str]]], list[PageDone]]:
    """Write all pages; return the names of their files, and the finished pages."""
    progress.stage("Drawing the gallery", len(codes))
    n_pictures = len(codes) + (int(experiment.people.sum()) if people else 0)
    workers = worker_count(n_jobs) if n_pictures >= _WORTH_WORKERS else 1
    names: list[tuple[str, Sequence[str]]] = []
    done = []

    def jobs() -> Iterator[PageJob]:
        place = experiment.folder / FOLDER
        for first in range(0, len(codes), PAGE_IMAGES):
            job = _job(place, experiment, codes[first : first + PAGE_IMAGES], first, figures)
            if not people:
                job = dataclasses.replace(job, opened_names=())
            names.append((job.name, job.opened_names))
            yield job

    for page in ordered_map(write_page, jobs(), workers, "loky"):
        done.append(page)
        progress.advance(min(PAGE_IMAGES, len(codes) - PAGE_IMAGES * (len(done) - 1)))
    return names, done


def _job(
    place: Path,
    experiment: PreparedExperiment,
    codes: list[int],
    first: int,
    figures: GalleryFigures,
) -> PageJob:
    digests = [inputs_digest(experiment, code) for code in codes]
    opened = [
        named(f"{_OPENED}/{first + at + 1:06d}", [digest]) for at, digest in enumerate(digests)
    ]
    return PageJob(
        place,
        named(f"{_PAGES}/{first // PAGE_IMAGES + 1:05d}", digests),
        part_of(experiment, codes),
        [experiment.keys[code] for code in codes],
        opened,
        figures.page,
        figures.opened,
    )


def _write_front(folder: Path, gallery: Gallery, figures: GalleryFigures) -> Path:
    """Write the index, then the page that loads it, and return the index."""
    (folder / PAGE_MANIFEST).unlink(missing_ok=True)  # manifest of the old page
    content = figures.index(gallery)
    name = named(f"{_PAGES}/index", [content.decode("utf-8")])
    index = folder / FOLDER / f"{name}.js"
    write_bytes(index, content)
    write_bytes(folder / PAGE, figures.shell(gallery, name))
    return index


def _prove_page(folder: Path, manifest: Manifest) -> None:
    """Write a separate manifest for the page, which is in the folder of `prepare`'s outputs."""
    of_page = dataclasses.replace(manifest, outputs=describe_files(folder, [folder / PAGE]))
    write_json(folder / PAGE_MANIFEST, asdict(of_page))


def _say_of_images(gallery: Gallery, progress: Progress) -> None:
    """Give notices about missing, unreadable and converted images, with counts and an example."""
    for state in dict.fromkeys(remark.state for remark in gallery.remarks):
        mine = [remark for remark in gallery.remarks if remark.state == state]
        progress.notice(
            f"{len(mine):,} of {len(gallery.images):,} images in the gallery are {state}, such as "
            f"{mine[0].key} ({mine[0].note}); the page names them."
        )


def _manifest(
    config: ExperimentConfig,
    options: GalleryOptions,
    experiment: PreparedExperiment,
    gallery: Gallery,
    outputs: dict[str, dict[str, Any]],
    started: Stopwatch,
    notices: Sequence[str],
) -> Manifest:
    tables = [one.table for one in gallery.agreements if one.table is not None]
    return Manifest.made(
        command="visualize --html",
        config=as_dict(config) | {"gallery": asdict(options)},
        config_hash=named(FOLDER, [*gallery.pages, *gallery.opened]),
        inputs=describe_files(None, [experiment.folder / TRIALS_FILE, *tables]),
        outputs=outputs,
        counts={
            "images": len(gallery.images),
            "pages": len(gallery.pages),
            "remarks": [asdict(remark) for remark in gallery.remarks],
        },
        started=started,
        seed=config.seed,
        notices=notices,
    )
