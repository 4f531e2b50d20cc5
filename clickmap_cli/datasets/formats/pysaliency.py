"""Stimuli and fixations in the HDF5 files of the library pysaliency: read and written."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import SIGMA_PX, DataSet, Points, Stimulus
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.gathering import Gathering, SigmaPx, as_folder, as_path, named_points
from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.safe_hdf5 import (
    hdf5_attribute,
    hdf5_dataset,
    hdf5_file,
    hdf5_numbers,
    hdf5_texts,
)
from clickmap_cli.storage.safe_images import image_orientation, image_size, open_image

_VERSIONS = {
    "Stimuli": ("1.0", "1.1"),
    "FileStimuli": ("1.0", "2.0", "2.1"),
    "Fixations": ("1.0",),
    "FixationTrains": ("1.0", "1.1", "1.2"),
}
_MAX_STIMULI = 10_000_000
_MAX_NAME = 4096
_MAX_PIXELS = 89_478_485
"""Pillow's own limit."""

SUBJECT_NAMES = "subject_names"
"""Dataset that we add to a file of fixations: names of people that are not numbers."""


@dataclass(frozen=True, eq=False)
class StoredStimulus(FileStimulus):
    """An image that is stored as an array in a file of stimuli.

    Attributes:
        store: the HDF5 file.
        array: name of the array in it.
    """

    store: Path = Path()
    array: str = ""

    @property
    def has_image(self) -> bool:
        """Return True: the pixels are in the file of stimuli."""
        return True

    def image(self) -> NDArray[np.float32]:
        """Return the pixels, (h, w, 3) RGB in 0..1.

        Raises:
            DataError: the array is missing, or holds values outside 0 to 255.
        """
        pixels = self._pixels()
        if not (np.all(np.isfinite(pixels)) and pixels.min() >= 0 and pixels.max() <= 255):
            raise DataError(f"{self.store}: stimulus {self.array} has values outside 0 to 255.")
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        colour = pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, 2)
        return np.asarray(colour, dtype=np.float32) / np.float32(255)

    def image_digest(self) -> str:
        """Return the SHA-256 of the array.

        Raises:
            DataError: the array is missing.
        """
        pixels = np.ascontiguousarray(self._pixels())
        kind = f"{pixels.dtype.str}{pixels.shape}".encode()
        return hashlib.sha256(kind + pixels.tobytes()).hexdigest()

    def _pixels(self) -> NDArray[Any]:
        with hdf5_file(self.store) as file:
            if _stored_size(file, self.array) != self.size:
                raise DataError(
                    f"{self.store}: stimulus {self.array} has another size than before."
                )
            return hdf5_numbers(file, self.array)


def pysaliency(
    stimuli: str | Path,
    fixations: str | Path | None = None,
    sigma_px: SigmaPx = SIGMA_PX,
    images: str | Path | None = None,
) -> DataSet:
    """Read pysaliency's HDF5 files of stimuli and fixations.

    The files hold `Stimuli` or `FileStimuli`, and `Fixations` or `FixationTrains`. Ids are the
    stems of image files, preceded by as many parent folders as are needed to tell them apart, or
    `stimulus_0001` for arrays.

    Args:
        stimuli: the file of stimuli.
        fixations: the file of fixations; None for images alone.
        sigma_px: blur of fixations, in pixels.
        images: folder to look for image files in, instead of the places that the file names.

    Raises:
        ConfigError: a setting is invalid.
        DataError: a file is missing, damaged or of another kind, holds no stimulus, or the two do
            not belong together.
    """
    source, sigma = as_path(stimuli, "stimuli"), float(sigma_px)
    image_dir = None if images is None else as_folder(images, "images")
    ids, categories, paths = _list_stimuli(source, image_dir)
    points: Sequence[Points | None] = [None] * len(ids)
    if fixations is not None:
        points = _read_points(as_path(fixations, "fixations"), len(ids))
    sought = "the setting fixations is not set" if fixations is None else str(fixations)
    gathering = Gathering(str(source), sought=sought)
    for at, (image_id, category, path) in enumerate(zip(ids, categories, paths, strict=True)):
        with gathering.image(image_id, path or at):
            if path is not None:
                stimulus = FileStimulus(
                    image_id, image_size(path), path, category, points[at], sigma_px=sigma
                )
            else:
                with hdf5_file(source) as file:
                    size = _stored_size(file, str(at))
                stimulus = StoredStimulus(
                    image_id,
                    size,
                    category=category,
                    points=points[at],
                    sigma_px=sigma,
                    store=source,
                    array=str(at),
                )
            gathering.add(stimulus)
    return gathering.finished()


def _list_stimuli(
    source: Path, image_dir: Path | None
) -> tuple[list[str], list[str], Sequence[Path | None]]:
    """Return ids, categories and image files of all stimuli; None for one stored as an array."""
    with hdf5_file(source) as file:
        paths: Sequence[Path | None]
        if _require_kind(file, source, ("Stimuli", "FileStimuli")) == "Stimuli":
            count = hdf5_attribute(file, "size")
            if not isinstance(count, int) or not 0 <= count <= min(_MAX_STIMULI, len(file)):
                raise DataError(
                    f"{source}: it says it holds {printable(str(count))} stimuli and has "
                    f"{len(file)} arrays."
                )
            digits = max(4, len(str(count)))
            ids = [f"stimulus_{at + 1:0{digits}d}" for at in range(count)]
            folders, paths = [ALL] * count, [None] * count
        else:
            in_folder = hdf5_attribute(file, "version") != "1.0"
            base = source.parent if in_folder else Path()
            named = [_find_image(name, base, image_dir) for name in hdf5_texts(file, "filenames")]
            ids, folders = _make_ids(named)
            paths = named
        return _labels(file, "image_id", ids), _labels(file, "category", folders), paths


def _labels(file: h5py.File, name: str, otherwise: list[str]) -> list[str]:
    """Return an attribute of the stimuli if it is one text for each, else `otherwise`."""
    attributes = hdf5_attribute(file, "__attributes__")
    if not isinstance(attributes, str) or name not in json.loads(attributes):
        return otherwise
    if h5py.check_string_dtype(hdf5_dataset(file, name).dtype) is None:
        return otherwise
    labels = hdf5_texts(file, name)
    if len(labels) != len(otherwise):
        raise DataError(
            f"{file.filename}: {len(labels)} values of '{name}' for {len(otherwise)} stimuli."
        )
    return labels


def _require_kind(file: h5py.File, path: Path, expected: Sequence[str]) -> str:
    """Return the type of a file; raise DataError unless it is expected and its version known."""
    kind, version = hdf5_attribute(file, "type"), hdf5_attribute(file, "version")
    if kind not in expected:
        raise DataError(
            f"{path}: expected pysaliency's {' or '.join(expected)}, found {printable(str(kind))}."
        )
    if version not in _VERSIONS[kind]:
        raise DataError(
            f"{path}: {kind} version {printable(str(version))} is not known (known: "
            f"{', '.join(_VERSIONS[kind])})."
        )
    return str(kind)


def _stored_size(file: h5py.File, name: str) -> Size:
    """Return the height and width of a stored image, checked before it is read."""
    dataset = hdf5_dataset(file, name)
    shape = dataset.shape
    grey = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 2, 3, 4))
    if not grey or not all(shape) or shape[0] * shape[1] > _MAX_PIXELS:
        raise DataError(
            f"{file.filename}: stimulus {name} has the shape {shape}, which is not an image's."
        )
    return int(shape[0]), int(shape[1])


def _find_image(name: str, base: Path, image_dir: Path | None) -> Path:
    """Return the path of an image that a file of stimuli names; it may lie outside of its folder.

    Raises:
        DataError: the name is longer than any file name.
    """
    if len(name) > _MAX_NAME:
        raise DataError(f"A stimulus has a name of {len(name)} characters: '{printable(name)}'.")
    tidy = name.replace("\\", "/").replace("\0", "")
    if image_dir is None:
        return base / tidy
    parts = [part for part in PurePosixPath(tidy).parts if part not in ("/", "..")]
    ends = [image_dir.joinpath(*parts[at:]) for at in range(len(parts))]
    return next((path for path in ends if path.is_file()), image_dir / PurePosixPath(tidy).name)


def _make_ids(paths: list[Path]) -> tuple[list[str], list[str]]:
    """Return distinct ids, made from as few last parts of the paths as needed, and the folders."""
    deepest = max((len(path.parts) for path in paths), default=1)
    ids: list[str] = []
    for depth in range(1, deepest + 1):
        ids = ["_".join([*path.parts[-depth:-1], path.stem]) for path in paths]
        if len(set(ids)) == len(ids):
            break
    else:
        twice = Counter(ids).most_common(1)[0][0]
        raise DataError(f"The stimuli name the image '{printable(twice)}' twice; remove one.")
    return ids, [path.parent.name if depth > 1 else ALL for path in paths]


# --- fixations --------------------------------------------------------------------------------


def _read_points(path: Path, count: int) -> list[Points]:
    """Read the fixations of every stimulus."""
    with hdf5_file(path) as file:
        kind = _require_kind(file, path, ("Fixations", "FixationTrains"))
        trains = kind == "FixationTrains"
        columns = ("train_xs", "train_ys", "train_ns", "train_subjects")
        if not trains:
            columns = ("x", "y", "n", "subjects")
        x, y, n = (hdf5_numbers(file, name) for name in columns[:3])
        subjects, names = _read_subjects(file, columns[3])
    if trains:
        if x.ndim != 2 or x.shape != y.shape or n.shape != x.shape[:1] or n.shape != subjects.shape:
            raise DataError(f"{path}: {', '.join(columns)} are not of one length.")
        train, step = np.nonzero(~np.isnan(x.astype(np.float64)))
        x, y, n, subjects = x[train, step], y[train, step], n[train], subjects[train]
    if not x.shape == y.shape == n.shape == subjects.shape == (x.size,):
        raise DataError(f"{path}: {', '.join(columns)} are not of one length.")
    if len(n) and not (n.min() >= 0 and n.max() < count and np.all(n == np.floor(n))):
        raise DataError(
            f"{path}: fixations on stimuli {n.min()} to {n.max()}, but there are {count} stimuli; "
            "do the two files belong together?"
        )
    order = np.argsort(n, kind="stable")
    ends = np.searchsorted(n[order], np.arange(count + 1))
    return [
        named_points(x[at], y[at], subjects[at], names)
        for at in (order[ends[i] : ends[i + 1]] for i in range(count))
    ]


def _read_subjects(file: h5py.File, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return (n) codes of people, and the names that the codes refer to."""
    dataset = hdf5_dataset(file, name)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        values, codes = np.unique(np.asarray(hdf5_texts(file, name)), return_inverse=True)
        return codes.reshape(-1), [str(value) for value in values]
    values, codes = np.unique(hdf5_numbers(file, name), return_inverse=True)
    names = [str(int(value)) if value == np.floor(value) else str(value) for value in values]
    if SUBJECT_NAMES in file:
        known = hdf5_texts(file, SUBJECT_NAMES)
        if len(values) and not 0 <= values.min() <= values.max() < len(known):
            raise DataError(f"{file.filename}: a subject has no name in '{SUBJECT_NAMES}'.")
        names = [known[int(value)] for value in values]
    return codes.reshape(-1), names


def write_pysaliency(data: DataSet, folder: Path) -> list[Path]:
    """Write a data set as pysaliency's `stimuli.hdf5` and `fixations.hdf5`.

    Stimuli are `FileStimuli` if every image has a file that is upright without EXIF (which
    pysaliency ignores), else arrays. Ids and categories are written as attributes.

    Args:
        data: the data set; its images become stimuli 0, 1, ... in its order.
        folder: folder of the written files; paths of images are relative to it.

    Returns:
        The written files: only the first if no fixations are known.

    Raises:
        DataError: the set has no image, an image cannot be read, or only some images name people.
        RunError: a file cannot be written.
    """
    if not data.stimuli:
        raise DataError("There are no images to write for pysaliency.")
    written = [folder / "stimuli.hdf5"]
    with replacing(written[0]) as partial, h5py.File(partial, "w") as file:
        headers = [_read_header(stimulus) for stimulus in data.stimuli]
        files = [header for header in headers if header is not None]
        if len(files) == len(headers):
            _write_type(file, "FileStimuli")
            _write_texts(file, "filenames", [_relative(path, folder) for path, _ in files])
            shapes = file.create_dataset("shapes", len(files), dtype=h5py.vlen_dtype(np.int64))
            for at, (_, shape) in enumerate(files):
                shapes[at] = np.asarray(shape, dtype=np.int64)
        else:
            _write_type(file, "Stimuli")
            for at, stimulus in enumerate(data.stimuli):
                pixels = np.rint(stimulus.image() * 255).astype(np.uint8)
                file.create_dataset(str(at), data=pixels, compression="gzip", compression_opts=4)
        file.attrs["size"] = len(data.stimuli)
        file.attrs["__attributes__"] = np.bytes_(json.dumps(["image_id", "category"]))
        _write_texts(file, "image_id", [stimulus.image_id for stimulus in data.stimuli])
        _write_texts(file, "category", [stimulus.category for stimulus in data.stimuli])
    if any(stimulus.points is not None for stimulus in data.stimuli):
        written.append(folder / "fixations.hdf5")
        with replacing(written[1]) as partial, h5py.File(partial, "w") as file:
            _write_fixations(file, data.stimuli)
    return written


def _read_header(stimulus: Stimulus) -> tuple[Path, list[int]] | None:
    """Return file and shape of an image, or None if pysaliency would read other pixels."""
    if not isinstance(stimulus, FileStimulus) or stimulus.image_path is None:
        return None
    with open_image(stimulus.image_path) as image:
        if image_orientation(image) != 1 or (image.height, image.width) != stimulus.size:
            return None
        bands = 3 if image.mode == "P" else len(image.getbands())
        return stimulus.image_path, [image.height, image.width, *([bands] if bands > 1 else [])]


def _relative(path: Path, folder: Path) -> str:
    """Return the path relative to a folder, or the absolute path if a link makes that ambiguous."""
    name, whole = os.path.relpath(path, folder), path.resolve()
    return name if (folder / name).resolve() == whole else str(whole)


def _write_type(file: h5py.File, kind: str) -> None:
    """Write the type of a file and its newest version."""
    file.attrs["type"], file.attrs["version"] = np.bytes_(kind), np.bytes_(_VERSIONS[kind][-1])


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise DataError(f"{name}: a name is not UTF-8 ({error.object!r:.120}).") from error
    file.create_dataset(name, data=np.asarray(encoded, dtype=object), dtype=h5py.string_dtype())


def _write_fixations(file: h5py.File, stimuli: Sequence[Stimulus]) -> None:
    """Write all fixations, without history: a data set does not know their order."""
    nobody = Points(np.empty(0), np.empty(0))
    points = [stimulus.points or nobody for stimulus in stimuli]
    counts = [len(own) for own in points]
    subjects, names = _number_people(points)
    nothing = np.full((sum(counts), 1), np.nan)
    arrays = {
        "x": np.concatenate([own.x for own in points]),
        "y": np.concatenate([own.y for own in points]),
        "t": np.zeros(sum(counts)),
        "x_hist": nothing,
        "y_hist": nothing,
        "t_hist": nothing,
        "n": np.repeat(np.arange(len(stimuli)), counts),
        "subjects": subjects,
    }
    _write_type(file, "Fixations")
    file.attrs["__attributes__"] = np.bytes_(json.dumps(["subjects"]))
    for name, array in arrays.items():
        file.create_dataset(name, data=array)
    if names:
        _write_texts(file, SUBJECT_NAMES, names)


def _number_people(points: Sequence[Points]) -> tuple[NDArray[np.int64], list[str]]:
    """Number the people: by their names if all are numbers, else by positions in a list of names.

    Raises:
        DataError: some images name people and some do not.
    """
    named = [own for own in points if len(own)]
    if all(own.subject is None for own in named):
        # as pysaliency numbers people it does not know
        return np.ones(sum(map(len, named)), dtype=np.int64), []
    if any(own.subject is None for own in named):
        raise DataError("Some images name the people who looked and some do not.")
    names = sorted({name for own in named for name in own.subjects})
    plain = all(name.isascii() and name.isdigit() and str(int(name[:18])) == name for name in names)
    numbers = {name: int(name) if plain else at for at, name in enumerate(names)}
    parts = [
        np.asarray([numbers[name] for name in own.subjects], dtype=np.int64)[own.subject]
        for own in named
    ]
    return np.concatenate(parts), [] if plain else names
