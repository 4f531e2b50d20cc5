"""One page of a gallery: small pictures of its images and maps, and what they were made from."""

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
from clickmap_cli.storage.atomic import write_bytes

FORMAT = 1
"""Raised when files hold other things of equal inputs than before."""

PHOTO_SIDE = 192
"""Longest side of an image's thumbnail, in pixels."""

MAP_SIDE = 80
"""Longest side of a map's: maps are smooth, and the page draws between their pixels."""

LARGE_PHOTO_SIDE = 512
LARGE_MAP_SIDE = 256
"""Of an opened image, where it has a file of its own."""

PERSON_SIDE = 96
"""Of a participant's map."""

_MARK = b"// "


@dataclass(frozen=True)
class Remark:
    """An image that is not shown as it is.

    Attributes:
        key: the image key.
        state: `missing`, `unreadable` or `converted`.
        note: why, or from what.
    """

    key: str
    state: str
    note: str


@dataclass(frozen=True)
class SmallPicture:
    """An image and its mean map, made small.

    Attributes:
        photo: (h, w, 3) uint8 RGB in the proportions of the image's file, or None where there is
            no picture.
        heat: (h, w) float32 map; squashed as `prepare` squashed it.
        state: `shown`, `missing`, `unreadable` or `converted`.
        note: why there is no picture, or from what it was converted.
    """

    photo: NDArray[np.uint8] | None
    heat: NDArray[np.float32]
    state: str = SHOWN
    note: str = ""

    @property
    def aspect(self) -> float:
        """Width in heights."""
        shape = self.heat.shape if self.photo is None else self.photo.shape
        return float(shape[1] / shape[0])


@dataclass(frozen=True)
class Person:
    """One participant of an opened image.

    Attributes:
        name: who it is.
        n_clicks: clicks of all their trials.
        heat: (h, w) float32 map, made small; the mean of them where there are several trials.
    """

    name: str
    n_clicks: int
    heat: NDArray[np.float32]


@dataclass(frozen=True)
class Opened:
    """An image as it is shown when it is opened.

    Attributes:
        picture: image and mean map, larger than in the page.
        people: everybody's map, made when it is asked for.
    """

    picture: SmallPicture
    people: Iterator[Person]


@dataclass(frozen=True)
class PageJob:
    """A page to write.

    Attributes:
        folder: the gallery's folder.
        name: the page's file, without its ending; it holds a hash of the page's inputs.
        experiment: the experiment with the page's images alone.
        keys: its images, in the page's order.
        opened_names: files of its opened images, likewise; empty where they have none.
        page: content of a page (name, pictures).
        opened: content of an opened image (name, image).
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
    """A page that stands.

    Attributes:
        files: what it consists of.
        remarks: its images that are not shown as they are.
        aspect: width of a typical picture in heights.
        kept: whether nothing had to be written.
    """

    files: tuple[Path, ...]
    remarks: tuple[Remark, ...]
    aspect: float
    kept: bool


def part_of(experiment: PreparedExperiment, codes: Sequence[int]) -> PreparedExperiment:
    """The experiment with some of its images, light enough to travel to a worker."""
    rows = [np.arange(experiment.slices[code], experiment.slices[code + 1]) for code in codes]
    return dataclasses.replace(
        experiment,
        trials=experiment.trials.select(np.concatenate(rows)).compacted(),
        manifest=dataclasses.replace(experiment.manifest, inputs={}, outputs={}),
    )


def inputs_digest(experiment: PreparedExperiment, code: int) -> str:
    """A hash of what an image is drawn from; of its file only the size and the time count."""
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
    """A file's name that is another one where its inputs, or clickmap, are others."""
    text = json.dumps([FORMAT, __version__, *words])
    return f"{start}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_page(job: PageJob) -> PageDone:
    """Write a page and the files of its opened images, unless they stand already.

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
        # in the proportions of the file, whatever the map was squashed to
        planes = resize(
            np.moveaxis(image.pixels, -1, 0),
            _fitted((height * image.pixel_aspect, width), photo_side),
        )
        pixels = np.rint(np.clip(np.moveaxis(planes, 0, -1), 0, 255)).astype(np.uint8)
    return SmallPicture(pixels, small_map(heat, map_side), image.state, image.note)


def small_map(heat: NDArray[Any], side: int) -> NDArray[np.float32]:
    """A map made so small that its longest side is at most `side`; never larger than it was.

    Args:
        heat: (h, w).
        side: in pixels.
    """
    return resize(heat, _fitted((heat.shape[0], heat.shape[1]), side))


def _fitted(size: tuple[float, float], side: int) -> Size:
    scale = min(side / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _people(experiment: PreparedExperiment, code: int) -> Iterator[Person]:
    """Everybody's map, one at a time, in the order they came."""
    clicks, users = experiment.clicks(code), experiment.users(code)
    lengths = np.diff(clicks.offsets)
    for user in dict.fromkeys(users.tolist()):
        mine = np.flatnonzero(users == user)
        heat = trial_maps(clicks, experiment.settings, mine.tolist()).mean(axis=0, dtype=np.float32)
        name = str(experiment.trials.users[user])
        yield Person(name, int(lengths[mine].sum()), small_map(heat, PERSON_SIDE))


def _write(path: Path, content: bytes, about: dict[str, Any]) -> None:
    """A file whose first line says what the rest must be, so that it need not be made again."""
    stated = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **about}
    write_bytes(path, _MARK + json.dumps(stated).encode() + b"\n" + content)


def _whole(path: Path) -> dict[str, Any] | None:
    """What the first line of a file states, where the rest is as stated."""
    try:
        first, _, content = path.read_bytes().partition(b"\n")
        stated = json.loads(first.removeprefix(_MARK))
    except (OSError, ValueError):
        return None
    if not isinstance(stated, dict) or stated.get("bytes") != len(content):
        return None
    return stated if stated.get("sha256") == hashlib.sha256(content).hexdigest() else None
