"""Write arrays, and read them from untrusted files: .npy, .npz, torch tensors."""

from __future__ import annotations

import io
import lzma
import pickle
import re
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError, printable, short_reason
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.safe_pickle import check_text, load_pickle

_MAX_PICKLE_BYTES = 8 << 30
_MAX_HEADER_BYTES = 10_000  # NumPy's own limit
_MAX_AXES = 32
_MAX_VALUES = 1 << 62
_PIECE_BYTES = 1 << 24
_DAMAGED_ZIP = (
    zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError,
    zlib.error, lzma.LZMAError, struct.error, OverflowError, IndexError, MemoryError,
)  # fmt: skip


def write_npy(path: Path, array: NDArray[Any]) -> None:
    """Write one array without objects; the file appears when it is complete."""
    with replacing(path) as partial, partial.open("wb") as out:
        # given a real file, NumPy bypasses Python's writing and hides the reason of a failure
        plain: Any = SimpleNamespace(write=out.write)
        np.lib.format.write_array(plain, np.ascontiguousarray(array), allow_pickle=False)


def write_npz(path: Path, arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write arrays one after another, compressed; the file holds no times and no system name.

    Args:
        path: path of the file, which appears when it is complete.
        arrays: (name, array), taken one at a time, so they need not fit in memory together.
    """
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, array in arrays:
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info._compresslevel = 1  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_npy(path: Path) -> Any:
    """Read the array in a `.npy` file; an object array of one value gives that value.

    Raises:
        DataError: the file is missing, damaged, or holds more than plain data.
    """
    with _open(path) as file:
        array = _read_stream(file, path.stat().st_size, str(path))
    return array[()] if array.dtype.kind == "O" and array.ndim == 0 else array


class NpzArrays(Mapping[str, NDArray[Any]]):
    """The arrays of a `.npz` file, each read on access.

    Raises:
        DataError: the file is missing or not a zip archive; on access, a member is damaged or
            holds more than plain data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as file:
            if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
                raise DataError(f"{path}: not an .npz file (it is not a zip archive).")
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGED_ZIP as error:
            reason = short_reason(error)
            raise DataError(f"{path}: the .npz archive is damaged ({reason}).") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                continue
            if name in self._members:
                raise DataError(f"{path}: the array '{printable(name)}' is there twice.")
            self._members[name] = info

    def __getitem__(self, name: str) -> NDArray[Any]:
        info = self._members[name]
        where = f"{self.path}, array '{printable(name)}'"
        if is_bomb(info.file_size, info.compress_size):
            raise DataError(
                f"{where} would be {info.file_size} bytes, packed into {info.compress_size}; "
                "it looks made to fill the memory, and is not read."
            )
        try:
            with self._zip.open(info) as member:
                return _read_stream(member, info.file_size, where, info.compress_size)
        except _DAMAGED_ZIP as error:
            raise DataError(f"{where} is damaged ({short_reason(error)}).") from error

    def __contains__(self, name: object) -> bool:
        return name in self._members  # the default of Mapping would read the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def read_tensors(path: Path) -> Any:
    """Read a torch file, with tensors as NumPy arrays inside lists, tuples and dicts.

    Raises:
        DataError: as for `load_tensors`, or a tensor is sparse, has a type that NumPy lacks, or
            states more values than it holds.
    """
    try:
        return _to_numpy(load_tensors(path))
    except (TypeError, RuntimeError, RecursionError, NotImplementedError) as error:
        reason = short_reason(error)
        raise DataError(f"{path}: holds a tensor that is not a plain array ({reason}).") from error


def load_tensors(path: Path) -> Any:
    """Load a torch file on the CPU; only tensors and plain values are allowed.

    Raises:
        DataError: the file is missing, damaged, or holds anything else.
    """
    import torch

    other = known_format(path)
    if other:
        raise DataError(
            f"{path}: {other}, not a checkpoint of PyTorch; give a file of torch.save, or name it "
            "by its own ending where the model reads such files."
        )
    with _open(path) as file:
        try:
            packed = any(info.compress_type for info in zipfile.ZipFile(file).infolist())
        except _DAMAGED_ZIP:
            packed = False  # an older format, or a damaged file, which torch reports itself
    if packed:  # torch never compresses, so a compressed part may be a zip bomb
        raise DataError(f"{path}: refused to load it as tensors: parts of it are packed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about other kinds of pickle
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's message goes on to explain how to load the file in spite of this
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds {named[1]}" if named else "it is damaged or holds more"
        raise DataError(
            f"{path}: refused to load it as tensors: {what}, not only tensors and plain values. "
            "It may be an attack; nothing was run."
        ) from error
    except Exception as error:
        # torch raises many types here; all of them mean that this is not a file of tensors
        reason = short_reason(error)
        reason = "its content is something else" if reason.isdigit() else reason
        raise DataError(f"{path}: not a checkpoint of PyTorch ({reason}).") from error


def known_format(path: Path) -> str:
    """Describe a file of numbers that is not PyTorch's; return an empty string for other files.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    with _open(path) as file:
        begin = file.read(8)
        if begin.startswith(b"\x93NUMPY"):
            return "a NumPy array (.npy)"
        if begin == b"\x89HDF\r\n\x1a\n":
            return "an HDF5 file"
        try:
            names = zipfile.ZipFile(file).namelist()
        except _DAMAGED_ZIP:
            return ""
    if not names or not all(name.endswith(".npy") for name in names):
        return ""
    few = ", ".join(f"'{printable(name.removesuffix('.npy'))}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"an .npz archive of NumPy arrays ({few}{more})"


def _to_numpy(value: Any) -> Any:
    if hasattr(value, "detach"):
        array = value.detach().cpu().numpy()
        held = value.untyped_storage().nbytes()
        if array.nbytes > held:
            raise TypeError(f"it states {array.nbytes} bytes and holds {held}")
        return array
    if isinstance(value, list | tuple):
        return type(value)(_to_numpy(item) for item in value)
    if isinstance(value, dict):
        return {k: _to_numpy(v) for k, v in value.items()}
    return value


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error


def _read_stream(file: IO[bytes], size: int, name: str, stored: int | None = None) -> NDArray[Any]:
    """Read one array in NumPy's format; the stated size must match the actual size.

    Args:
        file: stream of the array's bytes.
        size: number of these bytes.
        name: name of the array, for messages.
        stored: number of compressed bytes, if compressed.
    """
    shape, fortran, dtype = _read_header(file, name)
    if dtype.hasobject:
        # every byte of a pickle is an operation, so a decompression bomb would run forever
        if stored is not None and size > max(4 << 20, 100 * stored):
            raise DataError(
                f"{name}: {size} bytes of pickled objects are packed into {stored}; it looks made "
                "to take forever, and is not read."
            )
        return _read_objects(file, size, shape, fortran, name)
    count = int(np.prod(shape, dtype=object))
    if count * dtype.itemsize > size:
        raise DataError(f"{name}: it says it holds {count} values, more than its {size} bytes.")
    data = bytearray()
    while len(data) < count * dtype.itemsize:
        piece = file.read(min(_PIECE_BYTES, count * dtype.itemsize - len(data)))
        if not piece:
            raise DataError(f"{name}: it ends too early; the file was cut.")
        data += piece  # piece by piece: joining a list would need twice the memory
    try:
        array = np.frombuffer(data, dtype=dtype, count=count)
        check_text(array)
        return array.reshape(shape, order="F" if fortran else "C")
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: not a NumPy array ({short_reason(error)}).") from error


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, True for Fortran order, and type."""
    try:
        version = np.lib.format.read_magic(file)
        reader, length_format = {
            (1, 0): (np.lib.format.read_array_header_1_0, "<H"),
            (2, 0): (np.lib.format.read_array_header_2_0, "<I"),
        }[version]
        stated = file.read(struct.calcsize(length_format))
        (length,) = struct.unpack(length_format, stated)
        if length > _MAX_HEADER_BYTES:
            raise DataError(f"{name}: not a NumPy array (its header has {length} bytes).")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers of Python 2, unusual escapes
            shape, fortran, dtype = reader(io.BytesIO(stated + file.read(length)))
    except KeyError as error:
        raise DataError(f"{name}: NumPy format version {error} is not known.") from error
    except (
        ValueError, SyntaxError, TypeError, EOFError, MemoryError, RecursionError, IndexError,
        AttributeError, OverflowError, tokenize.TokenError, struct.error,
    ) as error:  # fmt: skip
        raise DataError(f"{name}: not a NumPy array ({short_reason(error)}).") from error
    possible = (
        all(side >= 0 for side in shape)
        and len(shape) <= _MAX_AXES
        and np.prod([max(side, 1) for side in shape], dtype=object) < _MAX_VALUES
        and dtype.subdtype is None
        and dtype.itemsize > 0
    )
    if not possible:
        raise DataError(
            f"{name}: its header states an impossible array ({str(shape)[:80]}, {dtype})."
        )
    return shape, fortran, dtype


def _read_objects(
    file: IO[bytes], size: int, shape: tuple[int, ...], fortran: bool, name: str
) -> NDArray[Any]:
    if size > _MAX_PICKLE_BYTES:
        raise DataError(f"{name}: {size} bytes of pickled objects are too many to read safely.")
    value = load_pickle(file.read(), name)
    if not isinstance(value, np.ndarray):
        raise DataError(
            f"{name}: its header announces an object array, and something else follows."
        )
    if value.size != int(np.prod(shape, dtype=object)):
        raise DataError(
            f"{name}: its header announces {list(shape)} objects, and {value.size} follow."
        )
    if value.shape != shape:
        value = value.reshape(shape, order="F" if fortran else "C")
    return cast("NDArray[Any]", value)


def is_bomb(content: int, stored: int) -> bool:
    """Return True if the content is implausibly large for its file, as in a decompression bomb.

    Deflate packs at most 1032 bytes into one, and maps that are mostly zeros come close to that.
    Above a gigabyte, no legitimate content is packed so densely.

    Args:
        content: number of bytes to be read.
        stored: number of bytes of the file, or of the part of it that holds the content.
    """
    return content > max(64 << 20, min(1032 * stored, max(1 << 30, 400 * stored)))
