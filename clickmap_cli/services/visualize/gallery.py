"""Writes a gallery of an experiment: every image with its map, as small pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli import __version__
from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.maps import trial_maps
from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.verify import PAGE_MANIFEST
from clickmap_cli.services.visualize.agreement import Agreement, ceilings_beside
from clickmap_cli.services.visualize.experiment import (
    SHOWN,
    ImagePixels,
    PreparedExperiment,
    file_of,
    open_experiment,
    read_pixels,
)
from clickmap_cli.services.visualize.options import PARTICIPANTS, Look
from clickmap_cli.storage.atomic import is_whole, write_bytes, write_json
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files

PAGE = "gallery.html"
FOLDER = "gallery"

PAGE_IMAGES = 32
"""Images per page. Few, because a sorted view may need one page for every image that it shows."""

MOST_MAPS = 50_000
"""Maximum participants' maps that `participants: auto` writes; each takes about 3 kB."""


_SECONDS = 0.002  # time in which one core draws a picture
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
    workers = worker_count(n_jobs, _SECONDS * n_pictures)
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


FORMAT = 1
"""Version of the files' content; raise it when the same inputs give different files."""

PHOTO_SIDE = 192
"""Longest side of an image's thumbnail, in pixels."""

MAP_SIDE = 80
"""Longest side of a small map; it can be short, as maps are smooth and the page interpolates."""

LARGE_PHOTO_SIDE = 512
LARGE_MAP_SIDE = 256
"""Longest sides of an opened image that has a separate file, and of its map."""

PERSON_SIDE = 96
"""Longest side of a participant's map."""

_MARK = b"// "


@dataclass(frozen=True)
class Remark:
    """An image that is missing, unreadable or converted.

    Attributes:
        key: the image key.
        state: `missing`, `unreadable` or `converted`.
        note: the reason, or what was converted.
    """

    key: str
    state: str
    note: str


@dataclass(frozen=True)
class SmallPicture:
    """An image and its mean map, made small.

    Attributes:
        photo: (h, w, 3) uint8 RGB in the proportions of the image's file, or None without a file
            that can be read.
        heat: (h, w) float32 map, in the proportions that `prepare` gave it.
        state: `shown`, `missing`, `unreadable` or `converted`.
        note: why the photo is missing, or what was converted.
    """

    photo: NDArray[np.uint8] | None
    heat: NDArray[np.float32]
    state: str = SHOWN
    note: str = ""

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        shape = self.heat.shape if self.photo is None else self.photo.shape
        return float(shape[1] / shape[0])


@dataclass(frozen=True)
class Person:
    """One participant of an opened image.

    Attributes:
        name: name of the participant.
        n_clicks: clicks of all their trials.
        heat: (h, w) float32 small map; the mean map of a participant who has several trials.
    """

    name: str
    n_clicks: int
    heat: NDArray[np.float32]


@dataclass(frozen=True)
class Opened:
    """The contents of an opened image.

    Attributes:
        picture: image and mean map, larger than in the page.
        people: map of each participant, made when requested.
    """

    picture: SmallPicture
    people: Iterator[Person]


@dataclass(frozen=True)
class PageJob:
    """A page to write.

    Attributes:
        folder: the gallery's folder.
        name: name of the page's file without its ending; it holds a hash of the page's inputs.
        experiment: the experiment with only the page's images.
        keys: its images, in the page's order.
        opened_names: names of its opened images' files, without the ending; empty if they have
            none.
        page: makes the content of a page (name, pictures).
        opened: makes the content of an opened image (name, image).
    """

    folder: Path
    name: str
    experiment: PreparedExperiment
    keys: Sequence[str]
    opened_names: Sequence[str]
    page: Callable[[str, Sequence[SmallPicture]], bytes]
    opened: Callable[[str, Opened], bytes]


@dataclass(frozen=True)
class PageDone:
    """A finished page.

    Attributes:
        files: the page and its opened images.
        remarks: its images that are missing, unreadable or converted.
        aspect: median width of a picture divided by its height.
        kept: True if all files were up to date, so that nothing was written.
    """

    files: tuple[Path, ...]
    remarks: tuple[Remark, ...]
    aspect: float
    kept: bool


def part_of(experiment: PreparedExperiment, codes: Sequence[int]) -> PreparedExperiment:
    """Return the experiment with only some of its images, small enough to send to a worker."""
    rows = [np.arange(experiment.slices[code], experiment.slices[code + 1]) for code in codes]
    return dataclasses.replace(
        experiment,
        trials=experiment.trials.select(np.concatenate(rows)).compacted(),
        manifest=dataclasses.replace(experiment.manifest, inputs={}, outputs={}),
    )


def inputs_digest(experiment: PreparedExperiment, code: int) -> str:
    """Return a hash of an image's inputs; of its file only the size and modification time count."""
    file = file_of(experiment, code)
    known = None if file is None else file.stat()
    stamp = None if known is None else (known.st_size, known.st_mtime_ns)
    clicks, users = experiment.clicks(code), experiment.users(code)
    gpu = experiment.config.use_gpu_blurring
    names = experiment.trials.users[users].tolist()
    words = (experiment.keys[code], stamp, experiment.settings, gpu, clicks.native, names)
    found = hashlib.sha256(repr(words).encode("utf-8", "backslashreplace"))
    for array in (clicks.x, clicks.y, clicks.offsets):
        found.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return found.hexdigest()


def named(start: str, words: Sequence[str]) -> str:
    """Return a file name with a hash of the file's inputs and of clickmap's version."""
    text = json.dumps([FORMAT, __version__, *words])
    return f"{start}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_page(job: PageJob) -> PageDone:
    """Write a page and the files of its opened images, unless they are up to date.

    Raises:
        DataError: a map is missing or damaged.
        RunError: the disk is full, or the folder cannot be written.
    """
    path = job.folder / f"{job.name}.js"
    opened = [job.folder / f"{name}.js" for name in job.opened_names]
    stated = _whole(path)
    if stated is not None and all(_whole(file) is not None for file in opened):
        remarks = tuple(Remark(*words) for words in stated["remarks"])
        return PageDone((path, *opened), remarks, float(stated["aspect"]), kept=True)
    code_of = {key: code for code, key in enumerate(job.experiment.keys)}
    small = []
    for at, key in enumerate(job.keys):
        image = read_pixels(job.experiment, code_of[key])
        heat = job.experiment.mean_map(code_of[key])
        small.append(_small(image, heat, PHOTO_SIDE, MAP_SIDE))
        if opened:
            large = _small(image, heat, LARGE_PHOTO_SIDE, LARGE_MAP_SIDE)
            people = _people(job.experiment, code_of[key])
            content = job.opened(job.opened_names[at], Opened(large, people))
            _write(opened[at], content, {})
    remarks = tuple(
        Remark(key, picture.state, picture.note)
        for key, picture in zip(job.keys, small, strict=True)
        if picture.state != SHOWN
    )
    aspect = float(np.median([picture.aspect for picture in small]))
    about = {"remarks": [dataclasses.astuple(remark) for remark in remarks], "aspect": aspect}
    _write(path, job.page(job.name, small), about)
    return PageDone((path, *opened), remarks, aspect, kept=False)


def _small(
    image: ImagePixels, heat: NDArray[np.float32], photo_side: int, map_side: int
) -> SmallPicture:
    pixels = None
    if image.pixels is not None:
        height, width = image.pixels.shape[:2]
        # keep the proportions of the file, even if the map has others
        planes = resize(
            np.moveaxis(image.pixels, -1, 0),
            _fitted((height * image.pixel_aspect, width), photo_side),
        )
        pixels = np.rint(np.clip(np.moveaxis(planes, 0, -1), 0, 255)).astype(np.uint8)
    return SmallPicture(pixels, small_map(heat, map_side), image.state, image.note)


def small_map(heat: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Shrink a map so that its longest side is at most `side`; a smaller map keeps its size.

    Args:
        heat: (h, w) map.
        side: longest side, in pixels.
    """
    return resize(heat, _fitted((heat.shape[0], heat.shape[1]), side))


def _fitted(size: tuple[float, float], side: int) -> Size:
    scale = min(side / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _people(experiment: PreparedExperiment, code: int) -> Iterator[Person]:
    """Yield the map of each participant, one at a time, in the order of their trials."""
    clicks, users = experiment.clicks(code), experiment.users(code)
    lengths = np.diff(clicks.offsets)
    for user in dict.fromkeys(users.tolist()):
        mine = np.flatnonzero(users == user)
        heat = trial_maps(clicks, experiment.settings, mine.tolist()).mean(axis=0, dtype=np.float32)
        name = str(experiment.trials.users[user])
        yield Person(name, int(lengths[mine].sum()), small_map(heat, PERSON_SIDE))


def _write(path: Path, content: bytes, about: dict[str, Any]) -> None:
    """Write a file whose first line has the rest's size and hash, so that it can be reused."""
    stated = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **about}
    write_bytes(path, _MARK + json.dumps(stated).encode() + b"\n" + content)


def _whole(path: Path) -> dict[str, Any] | None:
    """Return the facts in the first line of a file, or None if the rest does not match them."""
    try:
        first, _, content = path.read_bytes().partition(b"\n")
        stated = json.loads(first.removeprefix(_MARK))
    except (OSError, ValueError):
        return None
    return stated if isinstance(stated, dict) and is_whole(content, stated) else None
