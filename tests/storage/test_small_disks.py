"""Writers that the system stops: the largest size of a file stands for a full disk."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.map_store import Compression, StoredImage, write_hdf5
from clickmap_cli.storage.safe_arrays import write_npy, write_npz

ARRAY = np.random.default_rng(0).random((4, 40, 50), dtype=np.float32)
IMAGES = [StoredImage(f"c/{i}.png", f"c_{i}.png", 3, 10, {"clickmap": ARRAY}) for i in range(3)]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_what_stopped_the_writing_is_reported_and_nothing_stays(tmp_path, kind, share) -> None:
    path = tmp_path / f"a.{kind}"

    def write() -> None:
        if kind == "npy":
            write_npy(path, ARRAY)
        elif kind == "npz":
            write_npz(path, [("a", ARRAY), ("b", ARRAY)])
        else:
            write_hdf5(path, IMAGES, {"n": 3}, Compression())

    write()
    whole = path.read_bytes()
    with largest_file(int(share * len(whole))):
        with pytest.raises(RunError, match=rf"a.{kind}: could not be written \(File too large\)"):
            write()
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == whole
