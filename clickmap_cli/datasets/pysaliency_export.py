"""Export of data sets to the HDF5 files that the library pysaliency reads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.base import DataSet, Points, Stimulus
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.pysaliency_files import SUBJECT_NAMES
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.safe_images import image_orientation, opened_image

_NOBODY = Points(np.empty(0), np.empty(0))


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
        headers = [_header(stimulus) for stimulus in data.stimuli]
        if all(header is not None for header in headers):
            _write_files(file, [header for header in headers if header is not None], folder)
        else:
            _write_arrays(file, data.stimuli)
        file.attrs["size"] = len(data.stimuli)
        file.attrs["__attributes__"] = np.bytes_(json.dumps(["image_id", "category"]))
        _write_texts(file, "image_id", [stimulus.image_id for stimulus in data.stimuli])
        _write_texts(file, "category", [stimulus.category for stimulus in data.stimuli])
    if any(stimulus.points is not None for stimulus in data.stimuli):
        written.append(folder / "fixations.hdf5")
        with replacing(written[1]) as partial, h5py.File(partial, "w") as file:
            _write_fixations(file, data.stimuli)
    return written


def _header(stimulus: Stimulus) -> tuple[Path, list[int]] | None:
    """Return file and shape of an image, or None if pysaliency would read other pixels."""
    if not isinstance(stimulus, FileStimulus) or stimulus.image_path is None:
        return None
    with opened_image(stimulus.image_path) as image:
        if image_orientation(image) != 1 or (image.height, image.width) != stimulus.size:
            return None
        bands = 3 if image.mode == "P" else len(image.getbands())
        return stimulus.image_path, [image.height, image.width, *([bands] if bands > 1 else [])]


def _write_files(file: h5py.File, headers: Sequence[tuple[Path, list[int]]], folder: Path) -> None:
    file.attrs["type"], file.attrs["version"] = np.bytes_("FileStimuli"), np.bytes_("2.1")
    names = [_relative(path, folder) for path, _ in headers]
    _write_texts(file, "filenames", names)
    shapes = file.create_dataset("shapes", (len(headers),), dtype=h5py.vlen_dtype(np.int64))
    for at, (_, shape) in enumerate(headers):
        shapes[at] = np.asarray(shape, dtype=np.int64)


def _relative(path: Path, folder: Path) -> str:
    """Return the path relative to a folder, or the absolute path if a link makes that ambiguous."""
    name, whole = os.path.relpath(path, folder), path.resolve()
    return name if (folder / name).resolve() == whole else str(whole)


def _write_arrays(file: h5py.File, stimuli: Sequence[Stimulus]) -> None:
    file.attrs["type"], file.attrs["version"] = np.bytes_("Stimuli"), np.bytes_("1.1")
    for at, stimulus in enumerate(stimuli):
        pixels = np.rint(stimulus.image() * 255).astype(np.uint8)
        file.create_dataset(str(at), data=pixels, compression="gzip", compression_opts=4)


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise DataError(f"{name}: a name is not UTF-8 ({error.object!r:.120}).") from error
    file.create_dataset(name, data=np.asarray(encoded, dtype=object), dtype=h5py.string_dtype())


def _write_fixations(file: h5py.File, stimuli: Sequence[Stimulus]) -> None:
    """Write all fixations, without history: a data set does not know their order."""
    points = [stimulus.points or _NOBODY for stimulus in stimuli]
    counts = [len(own) for own in points]
    total = sum(counts)
    subjects, names = _numbered(points)
    nothing = np.full((total, 1), np.nan)
    arrays = {
        "x": np.concatenate([own.x for own in points]),
        "y": np.concatenate([own.y for own in points]),
        "t": np.zeros(total),
        "x_hist": nothing,
        "y_hist": nothing,
        "t_hist": nothing,
        "n": np.repeat(np.arange(len(stimuli)), counts),
        "subjects": subjects,
    }
    file.attrs["type"], file.attrs["version"] = np.bytes_("Fixations"), np.bytes_("1.0")
    file.attrs["__attributes__"] = np.bytes_(json.dumps(["subjects"]))
    for name, array in arrays.items():
        file.create_dataset(name, data=array)
    if names:
        _write_texts(file, SUBJECT_NAMES, names)


def _numbered(points: Sequence[Points]) -> tuple[NDArray[np.int64], list[str]]:
    """Number the people: by their names if all are numbers, else by positions in a list of names.

    Raises:
        DataError: some images name people and some do not.
    """
    named = [own for own in points if len(own)]
    total = sum(len(own) for own in named)
    if all(own.subject is None for own in named):
        return np.ones(total, dtype=np.int64), []  # as pysaliency numbers people it does not know
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
