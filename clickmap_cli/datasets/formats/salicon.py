"""SALICON (Jiang et al. 2015): mouse-contingent viewing of COCO images by crowd workers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, shown_size
from clickmap_cli.clickmaps.keys import image_key
from clickmap_cli.datasets.base import SIGMA_PX, DataSet, Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.gathering import (
    Gathering,
    SigmaPx,
    as_folder,
    as_path,
    files_by_stem,
    named_points,
)
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES
from clickmap_cli.runtime.errors import ConfigError, DataError, printable, short_reason
from clickmap_cli.storage.safe_images import image_size
from clickmap_cli.storage.safe_mat import read_mat

_MAX_SIDE = 65_536
_MAX_JSON_BYTES = 16 << 30

_Viewing = tuple[Size, Points | None]
"""Size of an image, and its points, which a data set without fixations does not have."""

_Found = tuple[str, str, Callable[[], _Viewing]]
"""Id, name of the file, and a function that reads the annotations."""


def salicon(
    root: str | Path | None = None,
    fixations: str | Path | None = None,
    images: str | Path | None = None,
    maps: str | Path | None = None,
    split: str = "train",
    sigma_px: SigmaPx = SIGMA_PX,
) -> DataSet:
    """Read SALICON's annotations (JSON or `.mat`), images and maps; ids are the images' stems.

    `root` holds `images/`, `maps/` and `fixations/`, each with or without a folder `<split>/`;
    fixations are `.mat` files or `fixations_<split>*.json`. The other settings override these
    places. Images with maps need no fixations; scores against fixations are then empty.

    Args:
        root: the data set's folder.
        fixations: a JSON file, or a folder of `.mat` files, one per image.
        images: folder of the images.
        maps: folder of ground-truth maps; without it, the fixations are blurred.
        split: `train`, `val` or `test`.
        sigma_px: blur of fixations, in pixels, for a data set without maps.

    Raises:
        ConfigError: a setting is invalid, or the settings name nothing to read.
        DataError: a file or folder is missing or damaged as a whole.
    """
    sigma = float(sigma_px)
    if not isinstance(split, str) or split != Path(split).name or not split:
        raise ConfigError(f"split: expected train, val or test, found {split!r}.")
    base = None if root is None else as_folder(root, "root")
    source: Path | None = None
    if fixations is not None:
        source = as_path(fixations, "fixations")
    elif base is not None:
        source = _find_fixations(base, split)
    elif images is None or maps is None:
        raise ConfigError(
            "salicon: set root, or fixations (a JSON file or a folder of .mat), or images and maps."
        )
    image_dir = _find_folder(base, "images", images, split)
    map_dir = _find_folder(base, "maps", maps, split)
    gathering = Gathering(str(source or base or map_dir))
    pictures = None if image_dir is None else files_by_stem(image_dir, IMAGE_SUFFIXES)
    heats = {} if map_dir is None else files_by_stem(map_dir, MAP_SUFFIXES)
    if source is None:
        where = base or map_dir
        if not (pictures and heats):
            raise DataError(
                f"{where}: no fixations/{split}/*.mat and no fixations_{split}*.json; set "
                "`fixations` to the file or folder, or `images` and `maps` to folders to do "
                "without."
            )
        gathering.notices.append(
            f"{where}: no fixations, only images and maps; scores against fixations (AUC, NSS, "
            "...) stay empty."
        )
    elif pictures is None:
        gathering.notices.append(f"{source}: no folder of images; models that need one will fail.")
    if source is None:
        found = _list_without_fixations(pictures or {}, heats)
    else:
        found = _list_mat(source) if source.is_dir() else _list_json(source)
    for image_id, name, read in found:
        with gathering.image(image_id, name):
            size, points = read()
            picture = None if pictures is None else _require_picture(pictures, image_id)
            if picture is not None and (own := image_size(picture)) != size:
                raise DataError(
                    f"{picture}: the image has {shown_size(own)} pixels, its fixations are for "
                    f"{shown_size(size)}."
                )
            if heats and image_id not in heats:
                raise DataError(f"{map_dir}: no map {image_id} ({', '.join(MAP_SUFFIXES)}).")
            gathering.add(
                FileStimulus(
                    image_id,
                    size,
                    picture,
                    points=points,
                    map_path=heats.get(image_id),
                    sigma_px=sigma,
                )
            )
    return gathering.finished()


def _find_folder(base: Path | None, name: str, given: object, split: str) -> Path | None:
    """Return the folder of images or maps, given or canonical, or its sub-folder for a split."""
    if given is not None:
        folder = as_folder(given, name)
    elif base is None or not (base / name).is_dir():
        return None
    else:
        folder = base / name
    return folder / split if (folder / split).is_dir() else folder


def _find_fixations(base: Path, split: str) -> Path | None:
    """Find the fixations under a canonical root; return None if it has none."""
    inner = base / "fixations"
    for folder in (inner / split, inner):
        if folder.is_dir() and any(folder.glob("*.mat")):
            return folder
    for folder in (inner / split, inner, base / "annotations", base):
        files = sorted(folder.glob(f"fixations_{split}*.json"))
        if len(files) > 1:
            raise DataError(
                f"{folder}: both {files[0].name} and {files[1].name} are there; name one in "
                "`fixations`."
            )
        if files:
            return files[0]
    return None


def _require_picture(pictures: dict[str, Path], image_id: str) -> Path:
    if image_id not in pictures:
        raise DataError(f"{image_id}: no such image in the folder `images`.")
    return pictures[image_id]


def _list_without_fixations(pictures: dict[str, Path], heats: dict[str, Path]) -> Iterator[_Found]:
    """Yield the images that have a picture or a map, for a data set without fixations."""
    for image_id, path in sorted({**heats, **pictures}.items()):
        yield image_id, path.name, partial(_measure, pictures, image_id)


def _measure(pictures: dict[str, Path], image_id: str) -> _Viewing:
    return image_size(_require_picture(pictures, image_id)), None


# --- .mat -------------------------------------------------------------------------------------


def _list_mat(folder: Path) -> Iterator[_Found]:
    for stem, path in sorted(files_by_stem(folder, (".mat",)).items()):
        yield stem, path.name, partial(_read_mat, stem, path)


def _read_mat(stem: str, path: Path) -> _Viewing:
    """Read one image; viewers have no names, so each viewing is a separate person."""
    found = read_mat(path, ["resolution", "gaze"])
    size = _to_size(np.ravel(found["resolution"]).tolist(), str(path))
    gaze = np.ravel(found["gaze"])
    if "fixations" not in (gaze.dtype.names or ()):
        raise DataError(f"{path}: 'gaze' has no field 'fixations' (found: {gaze.dtype.names}).")
    people = []
    for number, viewer in enumerate(gaze, 1):
        pairs = _to_pairs(viewer["fixations"])
        if pairs is None:
            raise DataError(f"{path}: 'fixations' of viewer {number} are not pairs [x, y].")
        people.append(pairs)
    pairs = np.concatenate([np.empty((0, 2)), *people])
    codes = np.repeat(np.arange(len(people)), [len(own) for own in people])
    names = [f"{stem}#{number}" for number in range(1, len(people) + 1)]
    return size, named_points(pairs[:, 0] - 1, pairs[:, 1] - 1, codes, names)


# --- JSON -------------------------------------------------------------------------------------


def _list_json(path: Path) -> Iterator[_Found]:
    def hashable(value: object) -> Any:
        return value if isinstance(value, int | str) else repr(value)

    content = _read_json(path)
    by_image: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[hashable(annotation.get("image_id"))].append(annotation)
    known = bool(by_image)
    for entry in content["images"]:
        annotations = by_image.pop(hashable(entry.get("id")), []) if known else None
        name = str(entry.get("file_name", ""))
        stem = PurePosixPath(name.replace("\\", "/")).stem
        where = f"{path}: image '{printable(stem)}'"
        yield stem, name, partial(_read_entry, entry, annotations, where)
    if by_image:
        first = next(iter(by_image))
        raise DataError(f"{path}: an annotation is for the image {first!r}, which is not listed.")


def _read_json(path: Path) -> dict[str, Any]:
    """Read the file, turning the fixations of each annotation into an array at once."""

    def pack(entry: dict[str, Any]) -> dict[str, Any]:
        if "fixations" in entry:  # lists would take twenty times the memory
            entry["fixations"] = _to_pairs(entry["fixations"])
        return entry

    if not path.is_file():
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise DataError(f"{path}: {path.stat().st_size} bytes of JSON are too many.")
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=pack)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path}: not readable as JSON ({short_reason(error)}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected SALICON's annotations, found {type(content).__name__}.")
    content.setdefault("annotations", [])
    for part in ("images", "annotations"):
        entries = content.get(part)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: expected a list '{part}' of objects; is this SALICON's file?")
    return content


def _read_entry(
    entry: dict[str, Any], annotations: list[dict[str, Any]] | None, where: str
) -> _Viewing:
    """Read an image of the list; annotations by one worker belong to one person."""
    try:
        image_key(str(entry.get("file_name", "")))
    except ValueError as error:
        reason = str(error).replace("image_path", "file_name")
        raise DataError(f"{where}: {reason}.") from error
    size = _to_size([entry.get("height"), entry.get("width")], where)
    if annotations is None:
        return size, None
    arrays, workers = [np.empty((0, 2))], []
    for annotation in annotations:
        pairs, worker = annotation.get("fixations"), annotation.get("worker_id")
        if not isinstance(pairs, np.ndarray):
            raise DataError(
                f"{where}: annotation {annotation.get('id')!r} has no list of pairs [row, column] "
                "as fixations."
            )
        if not isinstance(worker, int | str):
            raise DataError(f"{where}: annotation {annotation.get('id')!r} has no worker_id.")
        arrays.append(pairs)
        workers.append(str(worker))
    pairs = np.concatenate(arrays)
    names = sorted(set(workers))
    codes = np.repeat(
        np.asarray([names.index(worker) for worker in workers], dtype=np.int32),
        [len(array) for array in arrays[1:]],
    )
    return size, named_points(pairs[:, 1] - 1, pairs[:, 0] - 1, codes, names)


def _to_pairs(value: Any) -> NDArray[Any] | None:
    """Return (n, 2) pairs of numbers, or None for anything else."""
    try:
        pairs = np.asarray(value)
    except ValueError:
        return None
    if not pairs.size:
        return np.empty((0, 2), dtype=np.int32)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iuf":
        return None
    if pairs.dtype.kind == "f":
        return pairs.astype(np.float64)
    # clipping keeps points outside of images outside, and makes them fit into int32
    return np.asarray(np.clip(pairs, -1, 1 << 20).astype(np.int32))


def _to_size(sides: list[Any], where: str) -> Size:
    """Return height and width as given in a file, after checking them."""
    good = len(sides) == 2 and all(
        isinstance(side, int | float) and 1 <= side <= _MAX_SIDE and side == int(side)
        for side in sides
    )
    if not good:
        raise DataError(f"{where}: expected height and width in pixels, found {sides!r:.80}.")
    return int(sides[0]), int(sides[1])
