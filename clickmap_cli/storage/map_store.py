"""Finished maps on disk: HDF5, one `.npy` per image, or one `.npz`.

The HDF5 layout is what readers of the field's files expect: `clickmaps/<name>/clickmap` with
attributes `original_path`, `n_participants` and `n_clicks`, `click_counts/<name>`, `metadata`.
Large runs write shards; `maps.h5` then holds links that make the shards look like one file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.atomic import write_bytes
from clickmap_cli.storage.safe_arrays import NpzArrays, read_npy, write_npy, write_npz
from clickmap_cli.storage.safe_hdf5 import hdf5_file, hdf5_group, hdf5_numbers

Array = NDArray[np.float32]
_GROWS_BY = 1 << 20  # bytes of a file in memory
KINDS = ("clickmap", "participants", "bin_clickmaps")
"""Kinds of arrays stored per image: its map(s), each participant's maps, cumulative means."""


@dataclass(frozen=True)
class Compression:
    """Compression of HDF5 data.

    Attributes:
        filter: `gzip`, `lzf` or None.
        level: level of gzip, 0 to 9.
    """

    filter: str | None = "gzip"
    level: int = 1

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments for h5py's `create_dataset`."""
        if self.filter is None:
            return {}
        level = {"compression_opts": self.level} if self.filter == "gzip" else {}
        return {"compression": self.filter, "shuffle": True, **level}

    def pack(self, plane: Array) -> bytes:
        """Compress a plane as HDF5's shuffle and gzip filters would.

        This happens here rather than inside HDF5, because HDF5 holds one lock for all threads.
        """
        shuffled = np.ascontiguousarray(plane.reshape(-1).view(np.uint8).reshape(-1, 4).T)
        # level 1 is meant for speed: Z_RLE halves the time for a few per cent more bytes
        strategy = zlib.Z_RLE if self.level == 1 else zlib.Z_DEFAULT_STRATEGY
        deflate = zlib.compressobj(self.level, zlib.DEFLATED, 15, 9, strategy)
        return deflate.compress(shuffled.data) + deflate.flush()


@dataclass(frozen=True)
class StoredImage:
    """The maps of one image, ready to be written.

    Attributes:
        key: the image key.
        name: the key as one name (`/` as `_`).
        n_participants: number of distinct users.
        n_clicks: number of clicks in all trials.
        arrays: kind -> (n, H, W) float32.
        packed: kind -> compressed planes, if they are compressed already.
    """

    key: str
    name: str
    n_participants: int
    n_clicks: int
    arrays: Mapping[str, Array]
    packed: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


def compress_image(image: StoredImage, compression: Compression) -> StoredImage:
    """Return the image with compressed planes if they are gzip; this is safe in any thread."""
    if compression.filter != "gzip":
        return image
    planes = {
        kind: [compression.pack(plane) for plane in maps] for kind, maps in image.arrays.items()
    }
    return replace(image, packed=planes)


@contextmanager
def _new_hdf5(path: Path, metadata: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the groups of maps and of click counts of a new file, which appears when complete.

    The file is built in memory, because HDF5 may end the process when it fills the disk.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    with h5py.File(
        path.name, "w", driver="core", backing_store=False, block_size=_GROWS_BY
    ) as file:
        maps = file.create_group("clickmaps")
        counts = file.create_group("click_counts")
        counts.attrs["counts"] = "clicks of an image in all its trials; not the number of trials"
        file.create_group("metadata").attrs.update(metadata)
        yield maps, counts
        file.flush()
        image = file.id.get_file_image()
    write_bytes(path, image)


def write_hdf5(
    path: Path,
    images: Iterable[StoredImage],
    metadata: Mapping[str, Any],
    compression: Compression,
) -> None:
    """Write images into one HDF5 file, in the given order; the bytes depend on nothing else."""
    with _new_hdf5(path, metadata) as (maps, counts):
        for image in images:
            group = maps.create_group(image.name)
            group.attrs["original_path"] = image.key
            group.attrs["n_participants"] = image.n_participants
            group.attrs["n_clicks"] = image.n_clicks
            for kind, array in image.arrays.items():
                _write_dataset(group, kind, array, image.packed.get(kind), compression)
            counts.create_dataset(image.name, data=image.n_clicks)


def _write_dataset(
    group: Any, kind: str, array: Array, planes: Sequence[bytes] | None, compression: Compression
) -> None:
    chunk = (1, *array.shape[1:])
    if planes is None:
        group.create_dataset(kind, data=array, chunks=chunk, **compression.options())
        return
    dataset = group.create_dataset(
        kind, shape=array.shape, dtype="<f4", chunks=chunk, **compression.options()
    )
    for at, plane in enumerate(planes):
        dataset.id.write_direct_chunk((at, 0, 0), plane)


def write_index(
    path: Path, shards: Mapping[str, Sequence[str]], metadata: Mapping[str, Any]
) -> None:
    """Write the small file of links that makes shards look like one file.

    Args:
        path: path of the index.
        shards: path of a shard relative to the index -> names of its images.
        metadata: attributes of the group `metadata`.
    """
    with _new_hdf5(path, metadata) as (maps, counts):
        for shard, names in shards.items():
            for name in names:
                maps[name] = h5py.ExternalLink(shard, f"/clickmaps/{name}")
                counts[name] = h5py.ExternalLink(shard, f"/click_counts/{name}")


def write_npy_files(folder: Path, images: Iterable[StoredImage]) -> list[Path]:
    """Write one `.npy` per image, and other kinds into one subfolder per kind; return the paths."""
    files = []
    for image in images:
        for kind, array in image.arrays.items():
            path = folder / member(kind, image.name, ".npy")
            write_npy(path, array)
            files.append(path)
    return files


def write_npz_file(path: Path, images: Iterable[StoredImage]) -> None:
    """Write all images into one `.npz`, with other kinds as `<kind>/<name>`."""
    arrays = ((image.name, kind, array) for image in images for kind, array in image.arrays.items())
    write_npz(path, ((member(kind, name), array) for name, kind, array in arrays))


def member(kind: str, name: str, ending: str = "") -> str:
    """Return the name of an image's array in a folder or an `.npz`."""
    return f"{name}{ending}" if kind == "clickmap" else f"{kind}/{name}{ending}"


class MapStore:
    """The maps in an experiment's folder, in any of the formats.

    Raises:
        DataError: the folder holds no maps; on access, an image or a kind is missing, or its file
            is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [
            path for name in ("maps.h5", "maps.npz", "maps") if (path := folder / name).exists()
        ]
        if not found:
            raise DataError(
                f"{folder} holds no maps (maps.h5, maps.npz or maps/); run prepare first."
            )
        self.path = found[0]
        self._npz = NpzArrays(self.path) if self.path.suffix == ".npz" else None

    def read(self, name: str, kind: str = "clickmap") -> Array:
        """Read the (n, H, W) maps of one image.

        Args:
            name: the image's flat name.
            kind: `clickmap`, `participants` or `bin_clickmaps`.
        """
        if self._npz is not None and member(kind, name) not in self._npz:
            raise DataError(f"{self.path}: no {kind} of '{name}'.")
        if self._npz is not None:
            maps: Any = self._npz[member(kind, name)]
        elif self.path.suffix == ".h5":
            with self._stored(name) as image:
                maps = hdf5_numbers(image, kind)
        else:
            maps = read_npy(self.path / member(kind, name, ".npy"))
        if not isinstance(maps, np.ndarray) or maps.ndim != 3 or maps.dtype.kind not in "biuf":
            raise DataError(f"{self.path}: the {kind} of '{name}' is not a stack of maps.")
        return np.asarray(maps, dtype=np.float32)

    @contextmanager
    def _stored(self, name: str) -> Iterator[h5py.Group]:
        """Open an image's group, in the file itself or in the shard that it links to."""
        with hdf5_file(self.path) as file:
            maps = hdf5_group(file, "clickmaps")
            link = maps.get(name, getlink=True)
            if not isinstance(link, h5py.ExternalLink):
                yield hdf5_group(maps, name)
                return
        shard = self.folder / link.filename
        if not shard.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(
                f"{self.path}: the maps of '{name}' lie outside its folder, where nothing is read."
            )
        with hdf5_file(shard) as file:
            yield hdf5_group(hdf5_group(file, "clickmaps"), name)

    def names(self) -> Iterator[str]:
        """Yield the flat names of all images, sorted."""
        if self._npz is not None:
            yield from sorted(name for name in self._npz if "/" not in name)
        elif self.path.suffix == ".h5":
            with hdf5_file(self.path) as file:
                names = sorted(hdf5_group(file, "clickmaps"))
            yield from names
        else:
            yield from sorted(path.stem for path in self.path.glob("*.npy"))
