"""`.mat` files: honest ones as SciPy wrote them, damaged and forged ones refused in a sentence."""

from __future__ import annotations

import contextlib
import struct

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io, sparse

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_mat import mat_array, read_mat


def gaze() -> np.ndarray:
    people = np.zeros((2, 1), dtype=[("fixations", object), ("timestamp", object)])
    people[0, 0] = (np.array([[3, 4], [5, 6]]), np.arange(2.0))
    people[1, 0] = (np.empty((0, 2)), np.arange(0.0))
    return people


def write_73(path, **arrays) -> None:
    """A file as MATLAB's -v7.3 lays it out: HDF5 with the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, (array, kind) in arrays.items():
            data = file.create_dataset(name, data=np.asarray(array).T)
            data.attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
HONEST = {
    **{kind: np.arange(24, dtype=kind).reshape(2, 3, 4) for kind in KINDS},
    "one": np.array([[7.5]]),
    "small": np.array([[1, 2]], dtype=np.int8),
    "empty": np.empty((0, 3)),
    "complex": np.array([[1 + 2j, 3]]),
    "text": "a word, é",
    "lines": np.array(["ab", "cd", "ef"]),
    "gaze": gaze(),
    "cells": np.array([[np.arange(3.0), "x"], [gaze(), np.zeros((0, 0))]], dtype=object),
    "a_name_of_thirty_one_letters_xx": np.ones((2, 2)),
}


def same(got, expected) -> bool:
    if isinstance(expected, np.ndarray) and expected.dtype.names:
        return got.dtype.names == expected.dtype.names and all(
            same(got[name], expected[name]) for name in expected.dtype.names
        )
    if isinstance(expected, np.ndarray) and expected.dtype.kind == "O":
        return got.shape == expected.shape and all(map(same, got.ravel(), expected.ravel()))
    return np.array_equal(got, expected) and got.dtype == expected.dtype


@pytest.mark.parametrize("packed", [False, True])
def test_as_scipy_reads_it(tmp_path, packed) -> None:
    path = tmp_path / "a.mat"
    io.savemat(path, HONEST, do_compression=packed)
    found, expected = read_mat(path), io.loadmat(path)
    assert set(found) == set(HONEST)
    for name in HONEST:
        assert same(found[name], expected[name]), name
        assert list(read_mat(path, [name])) == [name]


def test_bytes_in_the_other_order(tmp_path) -> None:
    """A 2 x 2 array of doubles as a big-endian machine writes it, by the format's definition."""

    def element(kind: int, content: bytes) -> bytes:
        padded = content + bytes(-len(content) % 8)
        return struct.pack(">II", kind, len(content)) + padded

    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    body = (
        element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 2, 2))
        + element(1, b"big") + element(9, array.T.astype(">f8").tobytes())
    )  # fmt: skip
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "a.mat").write_bytes(header + element(14, body))
    np.testing.assert_array_equal(mat_array(tmp_path / "a.mat", "big"), array)


def test_sparse_and_logical_arrays(tmp_path) -> None:
    marks = np.random.default_rng(0).random((5, 7)) < 0.2
    matrices = {"m": sparse.csc_array(marks * 2.5), "none": sparse.csc_array((4, 3)), "l": marks}
    io.savemat(tmp_path / "a.mat", matrices)
    found = read_mat(tmp_path / "a.mat")
    np.testing.assert_array_equal(found["m"], marks * 2.5)
    np.testing.assert_array_equal(found["none"], np.zeros((4, 3)))
    np.testing.assert_array_equal(found["l"], marks)
    assert found["l"].dtype == np.bool_


def test_version_4_is_told_how_to_help(tmp_path) -> None:
    io.savemat(tmp_path / "a.mat", {"a": np.ones((20, 20))}, format="4")
    with pytest.raises(DataError, match="save it with -v7"):
        read_mat(tmp_path / "a.mat")


def test_version_7_3_has_matlabs_axes(tmp_path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    word = np.array([[ord(letter) for letter in "cat"]], dtype=np.uint16)
    path = tmp_path / "a.mat"
    write_73(path, a=(array, "uint8"), b=(array > 5, "logical"), w=(word, "char"))
    found = read_mat(path)
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["b"], array > 5)
    assert found["b"].dtype == np.bool_
    assert found["w"].tolist() == ["cat"]


def test_what_7_3_keeps_elsewhere_is_not_followed(tmp_path) -> None:
    path = tmp_path / "a.mat"
    write_73(tmp_path / "other.mat", secret=(np.ones((2, 2)), "double"))
    write_73(path, a=(np.ones((2, 3)), "double"))
    with h5py.File(path, "r+") as file:
        file["out"] = h5py.ExternalLink("other.mat", "/secret")
        file.create_group("struct")
    assert list(read_mat(path)) == ["a"]
    with pytest.raises(DataError, match="'out' is a link"):
        read_mat(path, ["out"])
    with pytest.raises(DataError, match="'struct' is not an array"):
        read_mat(path, ["struct"])


def test_what_is_asked_for_must_be_there(tmp_path) -> None:
    path = tmp_path / "a.mat"
    io.savemat(path, {"a": np.ones((2, 2)), "b": np.ones((2, 2)), "word": "x"})
    with pytest.raises(DataError, match=r"no variable 'c' \(found: nothing\)"):
        read_mat(path, ["c"])
    with pytest.raises(DataError, match=r"expected one two-dimensional array.*found a, b"):
        mat_array(path)
    with pytest.raises(DataError, match="array 'word'"):
        mat_array(path, "word")
    with pytest.raises(DataError, match="No file at"):
        read_mat(tmp_path / "absent.mat")


@pytest.mark.parametrize("content", [b"", b"x" * 40, b"MATLAB 5.0 MAT-file".ljust(300), bytes(200)])
def test_what_is_not_a_mat_file(tmp_path, content) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError) as caught:
        mat_array(tmp_path / "a.mat")
    assert "a.mat" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_announced_terabyte_is_refused_before_it_is_read(tmp_path) -> None:
    path = tmp_path / "a.mat"
    cells = np.empty((6, 11), dtype=object)
    cells[:] = 1.0
    for value in (np.zeros((6, 11)), cells, sparse.csc_array(np.eye(6, 11))):
        io.savemat(path, {"a": value})
        data = bytearray(path.read_bytes())
        at = data.find(np.array([6, 11], "<i4").tobytes())
        data[at : at + 8] = np.array([2**20, 2**20], "<i4").tobytes()
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"1099511627776 .* announced|states the shape"):
            read_mat(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 5000),
    st.booleans(),
)
def test_flipped_and_cut_files_give_variables_or_a_sentence(tmp_path, edits, cut, packed) -> None:
    path = tmp_path / "a.mat"
    variables = {name: HONEST[name] for name in ("gaze", "cells", "lines", "f4")}
    sparse_one = sparse.csc_array(np.eye(3, 4))
    io.savemat(path, {**variables, "sparse": sparse_one}, do_compression=packed)
    data = bytearray(path.read_bytes())
    for at, new in edits:
        data[at % len(data)] = new
    path.write_bytes(data[: cut % len(data)] if cut % 3 == 0 else data)
    with contextlib.suppress(DataError):
        read_mat(path)


@pytest.mark.parametrize("shape", [[2, 3], [2**40, 0], [2**40, 2**40], []])
def test_an_empty_array_of_7_3_is_empty(tmp_path, shape) -> None:
    path = tmp_path / "a.mat"
    write_73(path, a=(np.array(shape, np.uint64), "double"))
    with h5py.File(path, "r+") as file:
        file["a"].attrs["MATLAB_empty"] = np.uint8(1)
    with pytest.raises(DataError, match="states the shape"):
        read_mat(path)


def test_names_that_break_lines_stay_in_one(tmp_path) -> None:
    path = tmp_path / "a.mat"
    array = (np.zeros((2, 2)), "double")
    write_73(path, **{"a\nb": array, "c": array})
    with pytest.raises(DataError, match=r"found a\\nb, c") as caught:
        mat_array(path)
    assert "\n" not in str(caught.value)
