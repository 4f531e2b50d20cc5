"""Writes a gallery of an experiment: every image with its map, as small pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clickmap_cli import __version__
from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.maps import Maps
from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.services.verify import PAGE_MANIFEST
from clickmap_cli.services.visualize.agreement import Agreement, ceilings_beside
from clickmap_cli.services.visualize.experiment import (
    SHOWN,
    ImagePixels,
    PreparedExperiment,
    open_experiment,
    read_pixels,
    resize_pixels,
)
from clickmap_cli.services.visualize.options import PARTICIPANTS, Look, require_known
from clickmap_cli.storage.atomic import is_whole, write_bytes, write_json
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, damaged_outputs, describe_files

PAGE = "gallery.html"
FOLDER = "gallery"

PAGE_IMAGES = 32
"""Images per page. Few, because a sorted view may need one page for every image that it shows."""

MOST_MAPS = 50_000
"""Maximum participants' maps that `participants: auto` writes; each takes about 3 kB."""

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

_SECONDS = 0.002  # time in which one core draws a picture
_PAGES, _OPENED = "pages", "images"
_MARK = b"// "

People = Iterable[tuple[str, int, Maps]]
"""Name, number of clicks and (h, w) small map of each participant of an image."""


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
class Gallery:
    """All contents of a gallery except the pictures; lists of images are in one order.

    Attributes:
        title: the experiment's name.
        keys: image keys.
        categories: category of each image.
        n_participants: number of participants of each image.
        n_clicks: number of clicks on each image.
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
    keys: Sequence[str]
    categories: Sequence[str]
    n_participants: Sequence[int]
    n_clicks: Sequence[int]
    agreements: Sequence[Agreement]
    page_images: int
    pages: Sequence[str]
    opened: Sequence[str]
    aspect: float
    remarks: Sequence[Remark]
    look: Look
    notices: Sequence[str] = ()


class GalleryFiles(Protocol):
    """A module of `reports/` that makes the files' content; the service chooses data and paths."""

    def require_drawable(self, look: Look) -> None:
        """Raise ConfigError unless the colour map of a look exists."""

    def page_content(self, name: str, pictures: Sequence[SmallPicture]) -> bytes:
        """Return a page of pictures."""

    def opened_content(self, name: str, picture: SmallPicture, people: People) -> bytes:
        """Return an opened image with each participant's map."""

    def index_content(self, gallery: Gallery) -> bytes:
        """Return the index of all images."""

    def shell(self, gallery: Gallery, index: str) -> bytes:
        """Return `gallery.html`, which loads the index of this name."""


@dataclass(frozen=True)
class GallerySummary:
    """The results of a run.

    Attributes:
        page: the file to open.
        n_images: number of images in the gallery.
        n_pages: number of pages.
        n_kept: number of pages that were kept from an earlier gallery.
        participants: True if opened images show the map of every participant.
        remarks: images that are missing, unreadable or converted, with reasons.
        n_bytes: size of the gallery's pages and index in bytes.
    """

    page: Path
    n_images: int
    n_pages: int
    n_kept: int = 0
    participants: bool = False
    remarks: tuple[Remark, ...] = ()
    n_bytes: int = 0


def run(
    config: ExperimentConfig,
    look: Look,
    participants: str,
    progress: Progress,
    files: GalleryFiles,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[GallerySummary]:
    """Write `gallery.html` and `gallery/` into an experiment's folder.

    The names of the files contain hashes of their inputs, so a new gallery never mixes with an old
    one, and files whose inputs are unchanged are kept.

    Args:
        config: the checked configuration.
        look: initial `colormap`, `alpha` and `normalize`.
        participants: `all` if an opened image shows the map of every participant, and is larger;
            `none` if not; `auto` if there are at most `MOST_MAPS` maps.
        progress: receives the current stage, and notices about missing or converted images.
        files: makes the files' content.
        when: what to do with an existing gallery.
        dry_run: read the experiment only; write nothing.

    Raises:
        ConfigError: an option is wrong, or a gallery exists and the call does not say what to do
            with it.
        DataError: the folder holds no finished run of `prepare`, or a damaged one.
        RunError: another run holds the gallery, or it cannot be written.
    """
    require_known("--participants", [participants], PARTICIPANTS)
    files.require_drawable(look)
    job = _GalleryJob(config, look, participants, files)
    return run_job(job, when, dry_run=dry_run, progress=progress)


@dataclass(frozen=True)
class _Inputs:
    """An experiment, its images in the gallery's order, and what is shown of them."""

    experiment: PreparedExperiment
    codes: list[int]
    agreements: tuple[Agreement, ...]
    with_people: bool

    @cached_property
    def names(self) -> list[tuple[str, list[str]]]:
        """The name of each page's file, and of the files of its opened images, without endings."""
        found = []
        for first in range(0, len(self.codes), PAGE_IMAGES):
            codes = self.codes[first : first + PAGE_IMAGES]
            digests = [_inputs_digest(self.experiment, code) for code in codes]
            opened = [
                _named(f"{_OPENED}/{at:06d}", [digest])
                for at, digest in enumerate(digests, first + 1)
            ]
            page = _named(f"{_PAGES}/{first // PAGE_IMAGES + 1:05d}", digests)
            found.append((page, opened if self.with_people else []))
        return found


class _GalleryJob(Job[_Inputs, GallerySummary]):
    command = "visualize --html"
    owns = (_PAGES, _OPENED)

    def __init__(
        self, config: ExperimentConfig, look: Look, participants: str, files: GalleryFiles
    ) -> None:
        self.config = config
        self.look = look
        self.participants = participants
        self.files = files
        self.home = config.folder
        self.folder = self.home / FOLDER

    def load(self, progress: Progress, *, dry_run: bool) -> _Inputs:
        """Read the experiment and its ceilings."""
        progress.stage("Reading the experiment")
        experiment = open_experiment(self.config, progress)
        with_people = _affords_people(experiment, self.participants, progress)
        codes = sorted(range(len(experiment.keys)), key=lambda code: _order(experiment.keys[code]))
        agreements = tuple(
            dataclasses.replace(one, values=one.values[codes])
            for one in ceilings_beside(experiment, progress)
        )
        return _Inputs(experiment, codes, agreements, with_people)

    def identity(self, inputs: _Inputs) -> Identity:
        """Return what the pictures and the page depend on."""
        tables = [one.table for one in inputs.agreements if one.table is not None]
        files = describe_files(None, [self.home / TRIALS_FILE, *tables])
        words = [
            *(name for page, opened in inputs.names for name in (page, *opened)),
            *(file["sha256"] for file in files.values()),
            *inputs.experiment.manifest.notices,
            repr(self.look),
        ]
        # the page lies outside the folder, so the folder's manifest does not prove it
        needed = () if self._is_page_whole() else (PAGE,)
        return Identity(_named(FOLDER, words), files, needed=needed)

    def work(self, inputs: _Inputs, run: Run) -> GallerySummary:
        """Write the pages, the index, and the page that loads them."""
        done = _write_pages(inputs, self.folder, self.files, self.config.n_jobs, run.progress)
        remarks = tuple(remark for page in done for remark in page.remarks)
        gallery = self._gallery(inputs, done, remarks, run.progress.kept)
        run.progress.stage("Writing the page")
        (self.home / PAGE_MANIFEST).unlink(missing_ok=True)  # manifest of the old page
        content = self.files.index_content(gallery)
        name = _named(f"{_PAGES}/index", [content.decode("utf-8")])
        index = self.folder / f"{name}.js"
        write_bytes(index, content)
        write_bytes(self.home / PAGE, self.files.shell(gallery, name))
        run.add([index, *(file for page in done for file in page.files)])
        run.counts |= {
            "images": len(inputs.codes),
            "pages": len(done),
            "participants": inputs.with_people,
            "remarks": [asdict(remark) for remark in remarks],
        }
        _notify_remarks(remarks, len(inputs.codes), run.progress)
        return self._summary(inputs, remarks, run.outputs, sum(page.kept for page in done))

    def preview(self, inputs: _Inputs) -> GallerySummary:
        """Return the numbers of images and pages."""
        return self._summary(inputs, (), {}, 0)

    def stored(self, inputs: _Inputs, manifest: Manifest) -> GallerySummary:
        """Return the summary of the gallery that is there."""
        remarks = tuple(Remark(**row) for row in manifest.counts["remarks"])
        return self._summary(inputs, remarks, manifest.outputs, len(inputs.names))

    def conclude(self, manifest: Manifest) -> None:
        """Write a separate manifest for the page, which is in the folder of `prepare`'s outputs."""
        page = describe_files(self.home, [self.home / PAGE])
        write_json(self.home / PAGE_MANIFEST, asdict(dataclasses.replace(manifest, outputs=page)))

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the configuration with the options of the gallery."""
        options = {"look": asdict(self.look), "participants": self.participants}
        return as_dict(self.config) | {"gallery": options}

    def _summary(
        self,
        inputs: _Inputs,
        remarks: tuple[Remark, ...],
        outputs: Mapping[str, Mapping[str, Any]],
        n_kept: int,
    ) -> GallerySummary:
        n, size = len(inputs.codes), sum(file["size"] for file in outputs.values())
        return GallerySummary(
            self.home / PAGE, n, -(-n // PAGE_IMAGES), n_kept, inputs.with_people, remarks, size
        )

    def _gallery(
        self,
        inputs: _Inputs,
        done: Sequence[_PageDone],
        remarks: Sequence[Remark],
        notices: Sequence[str],
    ) -> Gallery:
        experiment, codes = inputs.experiment, inputs.codes
        return Gallery(
            title=experiment.config.experiment_name,
            keys=[experiment.keys[code] for code in codes],
            categories=[experiment.category(code) for code in codes],
            n_participants=[int(experiment.people[code]) for code in codes],
            n_clicks=[len(experiment.clicks(code).x) for code in codes],
            agreements=inputs.agreements,
            page_images=PAGE_IMAGES,
            pages=[page for page, _ in inputs.names],
            opened=[name for _, opened in inputs.names for name in opened],
            aspect=float(np.median([page.aspect for page in done])),
            remarks=remarks,
            look=self.look,
            notices=tuple(dict.fromkeys([*experiment.manifest.notices, *notices])),
        )

    def _is_page_whole(self) -> bool:
        try:
            stated = json.loads((self.home / PAGE_MANIFEST).read_text(encoding="utf-8"))
            return not damaged_outputs(self.home, stated["outputs"])
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _order(key: str) -> tuple[list[str | int], str]:
    """Return a key by which names sort naturally: `2.jpg` before `10.jpg`."""
    parts = re.split(r"([0-9]+)", key.casefold())
    # even places hold words and odd places numbers, so equal types are compared
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], key


def _affords_people(experiment: PreparedExperiment, wanted: str, progress: Progress) -> bool:
    """Return True if the maps of all participants are to be written."""
    n_maps = int(experiment.people.sum())
    if wanted == "auto" and n_maps > MOST_MAPS:
        progress.notice(
            f"Opened images show no participants: their {n_maps:,} maps would take about "
            f"{n_maps * 3 // 1000:,} MB; --participants all writes them."
        )
        return False
    return wanted != "none"


def _notify_remarks(remarks: Sequence[Remark], n_images: int, progress: Progress) -> None:
    """Give notices about missing, unreadable and converted images, with counts and an example."""
    for state in dict.fromkeys(remark.state for remark in remarks):
        mine = [remark for remark in remarks if remark.state == state]
        progress.notice(
            f"{len(mine):,} of {n_images:,} images in the gallery are {state}, such as "
            f"{mine[0].key} ({mine[0].note}); the page names them."
        )


# --- pages ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Page:
    """A page to write.

    Attributes:
        name: name of the page's file without its ending; it holds a hash of the page's inputs.
        opened_names: names of its opened images' files, without the ending; empty if they have
            none.
        experiment: the experiment with only the page's images.
        keys: its images, in the page's order.
    """

    name: str
    opened_names: Sequence[str]
    experiment: PreparedExperiment
    keys: Sequence[str]


@dataclass(frozen=True)
class _PageDone:
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


def _write_pages(
    inputs: _Inputs, folder: Path, files: GalleryFiles, n_jobs: int, progress: Progress
) -> list[_PageDone]:
    """Write all pages that are not up to date."""
    experiment, codes = inputs.experiment, inputs.codes
    progress.stage("Drawing the gallery", len(codes))
    n_pictures = len(codes) + (int(experiment.people.sum()) if inputs.with_people else 0)
    workers = worker_count(n_jobs, _SECONDS * n_pictures)

    def pages() -> Iterator[_Page]:
        for at, (name, opened) in enumerate(inputs.names):
            mine = codes[at * PAGE_IMAGES : (at + 1) * PAGE_IMAGES]
            keys = [experiment.keys[code] for code in mine]
            yield _Page(name, opened, _part_of(experiment, mine), keys)

    done = []
    for page in ordered_map(partial(_write_page, folder, files), pages(), workers, "loky"):
        done.append(page)
        progress.advance(min(PAGE_IMAGES, len(codes) - PAGE_IMAGES * (len(done) - 1)))
    return done


def _part_of(experiment: PreparedExperiment, codes: Sequence[int]) -> PreparedExperiment:
    """Return the experiment with only some of its images, small enough to send to a worker."""
    rows = [np.arange(experiment.slices[code], experiment.slices[code + 1]) for code in codes]
    return dataclasses.replace(
        experiment,
        trials=experiment.trials.select(np.concatenate(rows)).compact(),
        manifest=dataclasses.replace(experiment.manifest, inputs={}, outputs={}),
    )


def _inputs_digest(experiment: PreparedExperiment, code: int) -> str:
    """Return a hash of an image's inputs; of its file only the size and modification time count."""
    file = experiment.image_file(code)
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


def _named(start: str, words: Sequence[str]) -> str:
    """Return a file name with a hash of the file's inputs and of clickmap's version."""
    text = json.dumps([FORMAT, __version__, *words])
    return f"{start}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _write_page(folder: Path, files: GalleryFiles, page: _Page) -> _PageDone:
    """Write a page and the files of its opened images, unless they are up to date.

    Raises:
        DataError: a map is missing or damaged.
        RunError: the disk is full, or the folder cannot be written.
    """
    path = folder / f"{page.name}.js"
    opened = [folder / f"{name}.js" for name in page.opened_names]
    stated = _read_stated(path)
    if stated is not None and all(_read_stated(file) is not None for file in opened):
        remarks = tuple(Remark(*words) for words in stated["remarks"])
        return _PageDone((path, *opened), remarks, float(stated["aspect"]), kept=True)
    code_of = {key: code for code, key in enumerate(page.experiment.keys)}
    small = []
    for at, key in enumerate(page.keys):
        image = read_pixels(page.experiment, code_of[key])
        heat = page.experiment.mean_map(code_of[key])
        small.append(_shrink(image, heat, PHOTO_SIDE, MAP_SIDE))
        if opened:
            large = _shrink(image, heat, LARGE_PHOTO_SIDE, LARGE_MAP_SIDE)
            people = _people(page.experiment, code_of[key])
            content = files.opened_content(page.opened_names[at], large, people)
            _write_stated(opened[at], content, {})
    remarks = tuple(
        Remark(key, picture.state, picture.note)
        for key, picture in zip(page.keys, small, strict=True)
        if picture.state != SHOWN
    )
    aspect = float(np.median([picture.aspect for picture in small]))
    about = {"remarks": [dataclasses.astuple(remark) for remark in remarks], "aspect": aspect}
    _write_stated(path, files.page_content(page.name, small), about)
    return _PageDone((path, *opened), remarks, aspect, kept=False)


def _shrink(
    image: ImagePixels, heat: NDArray[np.float32], photo_side: int, map_side: int
) -> SmallPicture:
    pixels = None
    if image.pixels is not None:
        height, width = image.pixels.shape[:2]
        # keep the proportions of the file, even if the map has others
        size = _fit((height * image.pixel_aspect, width), photo_side)
        pixels = resize_pixels(image.pixels, size)
    return SmallPicture(pixels, small_map(heat, map_side), image.state, image.note)


def small_map(heat: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Shrink a map so that its longest side is at most `side`; a smaller map keeps its size.

    Args:
        heat: (h, w) map.
        side: longest side, in pixels.
    """
    return resize(heat, _fit((heat.shape[0], heat.shape[1]), side))


def _fit(size: tuple[float, float], side: int) -> Size:
    scale = min(side / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _people(experiment: PreparedExperiment, code: int) -> Iterator[tuple[str, int, Maps]]:
    """Yield the small map of each participant, one at a time, in the order of their trials."""
    lengths = np.diff(experiment.clicks(code).offsets)
    for user in experiment.participants(code):
        n_clicks = int(lengths[experiment.users(code) == user].sum())
        heat = small_map(experiment.participant_map(code, user), PERSON_SIDE)
        yield str(experiment.trials.users[user]), n_clicks, heat


def _write_stated(path: Path, content: bytes, about: dict[str, Any]) -> None:
    """Write a file whose first line has the rest's size and hash, so that it can be reused."""
    stated = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **about}
    write_bytes(path, _MARK + json.dumps(stated).encode() + b"\n" + content)


def _read_stated(path: Path) -> dict[str, Any] | None:
    """Return the facts in the first line of a file, or None if the rest does not match them."""
    try:
        first, _, content = path.read_bytes().partition(b"\n")
        stated = json.loads(first.removeprefix(_MARK))
    except (OSError, ValueError):
        return None
    return stated if isinstance(stated, dict) and is_whole(content, stated) else None
