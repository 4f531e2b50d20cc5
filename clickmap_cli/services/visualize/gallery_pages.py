"""Writes one page of a gallery: small pictures of images and maps, named by hashes of inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli import __version__
from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.maps import trial_maps
from clickmap_cli.services.visualize.experiment import PreparedExperiment
from clickmap_cli.services.visualize.pictures import SHOWN, ImagePixels, file_of, read_pixels
from clickmap_cli.storage.atomic import is_whole, write_bytes

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
