"""Heaps of texts: sound ones are read, damaged ones refused before the library never ends."""

from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_hdf5 import check_heaps, hdf5_file, hdf5_texts

TEXTS = ["a" * at for at in range(1, 60)]


def heap_of(path) -> int:
    """A file of texts, and where its heap begins."""
    with h5py.File(path, "w") as file:
        file.create_dataset("texts", data=TEXTS, dtype=h5py.string_dtype())
    return path.read_bytes().index(b"GCOL\x01")


def changed(path, at, content) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)


def test_sound_heaps_are_read(tmp_path) -> None:
    heap_of(tmp_path / "a.h5")
    with hdf5_file(tmp_path / "a.h5") as file:
        assert hdf5_texts(file, "texts") == TEXTS
    with h5py.File(tmp_path / "b.h5", "w", userblock_size=1024, libver="latest") as file:
        file.create_dataset("texts", data=TEXTS * 200, dtype=h5py.string_dtype())
    with hdf5_file(tmp_path / "b.h5") as file:
        assert hdf5_texts(file, "texts") == TEXTS * 200


@pytest.mark.parametrize(
    "object_head",
    [
        struct.pack("<HHIQ", 0, 0, 0, 0),  # what is free takes no room: the next is the same
        struct.pack("<HHIQ", 1, 0, 0, (1 << 64) - 16),  # a size that leads back to its begin
        struct.pack("<HHIQ", 1, 0, 0, 1 << 40),
        struct.pack("<HHIQ", 0, 0, 0, 8),
    ],
)
def test_heaps_that_never_end_are_refused(tmp_path, object_head) -> None:
    path = tmp_path / "a.h5"
    at = heap_of(path)
    changed(path, at + 16, object_head)
    with pytest.raises(DataError, match=f"a heap of texts, at byte {at}, is broken") as caught:
        with hdf5_file(path) as file:
            hdf5_texts(file, "texts")
    assert "\n" not in str(caught.value)


def test_files_of_short_lengths_are_walked_by_them(tmp_path) -> None:
    path = tmp_path / "a.h5"
    create = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    create.set_sizes(4, 4)
    with h5py.File(h5py.h5f.create(str(path).encode(), fcpl=create)) as file:
        file.create_dataset("texts", data=TEXTS, dtype=h5py.string_dtype())
    check_heaps(path)
    at = path.read_bytes().index(b"GCOL\x01")
    changed(path, at + 16, bytes(12))
    with pytest.raises(DataError, match="is broken"):
        check_heaps(path)


def test_bytes_that_only_look_like_a_heap_are_left_alone(tmp_path) -> None:
    path = tmp_path / "a.h5"
    looks = b"GCOL\x01\0\0\0"
    pixels = looks + b"\xff" * 8 + looks + bytes(8) + looks
    with h5py.File(path, "w") as file:
        file["pixels"] = np.frombuffer(pixels * 9, np.uint8)
    check_heaps(path)


def test_a_large_file_is_walked_again_when_it_changes(tmp_path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("texts", data=TEXTS, dtype=h5py.string_dtype())
        file["room"] = np.zeros(2 << 20, np.uint8)
    check_heaps(path)
    changed(path, path.read_bytes().index(b"GCOL\x01") + 16, bytes(16))
    with pytest.raises(DataError, match="is broken"):
        check_heaps(path)


def test_what_is_not_hdf5_is_for_others_to_say(tmp_path) -> None:
    for content in (b"", b"x", b"GCOL\x01", b"GCOL\x01" * 2000):
        (tmp_path / "a").write_bytes(content)
        check_heaps(tmp_path / "a")
