"""`.npy` and `.npz` files whose bytes depend on their arrays alone."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.storage.atomic import replacing

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_npy(path: Path, array: NDArray[Any]) -> None:
    """Write one array without objects; the file appears when it is whole."""
    with replacing(path) as partial, partial.open("wb") as out:
        # to a real file NumPy writes past Python, and cannot say what stopped it
        plain: Any = SimpleNamespace(write=out.write)
        np.lib.format.write_array(plain, np.ascontiguousarray(array), allow_pickle=False)


def write_npz(path: Path, arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write arrays one after the other, compressed; times and system are left out of the file.

    Args:
        path: where; the file appears when it is whole.
        arrays: (name, array), taken one at a time, so they need not fit in memory together.
    """
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, array in arrays:
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info._compresslevel = 1  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
