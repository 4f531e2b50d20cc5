"""Write `.npy` and `.npz` files whose bytes depend only on their arrays."""

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
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info._compresslevel = 1  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
