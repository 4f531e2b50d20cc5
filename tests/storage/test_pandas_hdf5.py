"""Tables that pandas wrote as HDF5: both layouts, files of pandas itself, and hostile ones."""

from __future__ import annotations

import contextlib
import pickle
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.pandas_hdf5 import read_pandas_table
from tests.helpers.payloads import Call
from tests.storage.pandas_layout import axis, fixed, table

KEY = "df_with_missing"
COLUMNS = [("me", part, axis) for part in ("nose tip", "eye", "ear é") for axis in ("x", "y")]
PATHS = [f"labeled-data/a/img{number}.png" for number in range(4)]
VALUES = np.where(np.arange(24).reshape(4, 6) == 8, np.nan, np.arange(24).reshape(4, 6) / 7)
WHOLE = [(range(6), VALUES)]


def test_fixed(tmp_path) -> None:
    path = tmp_path / "a.h5"
    rows = [tuple(name.split("/")) for name in PATHS]
    fixed(path, COLUMNS, rows, WHOLE)
    found = read_pandas_table(path, KEY)
    assert found.columns == COLUMNS
    assert found.rows == rows
    np.testing.assert_array_equal(found.values, VALUES)
    fixed(path, COLUMNS, PATHS, WHOLE, key="another")  # the only table of the file
    assert read_pandas_table(path, KEY).rows == [(name,) for name in PATHS]
    fixed(path, COLUMNS, [7, 8, 9, 20], WHOLE)
    assert read_pandas_table(path, KEY).rows == [("7",), ("8",), ("9",), ("20",)]


def test_columns_of_unequal_types_lie_in_blocks_of_their_own(tmp_path) -> None:
    whole = VALUES[:, [1, 4]].astype(np.int64)
    fixed(tmp_path / "a.h5", COLUMNS, PATHS, [([5, 0, 2, 3], VALUES[:, [5, 0, 2, 3]]),
                                               ([1, 4], whole)])  # fmt: skip
    wanted = VALUES.copy()
    wanted[:, [1, 4]] = whole
    found = read_pandas_table(tmp_path / "a.h5", KEY)
    assert found.columns == COLUMNS
    np.testing.assert_array_equal(found.values, wanted)


def test_table(tmp_path) -> None:
    for rows in (PATHS, [0, 1, 2, 3]):
        table(tmp_path / "a.h5", COLUMNS, rows, VALUES)
        found = read_pandas_table(tmp_path / "a.h5", KEY)
        assert found.columns == COLUMNS
        assert found.rows == [(str(row),) for row in rows]
        np.testing.assert_array_equal(found.values, VALUES)


@pytest.mark.parametrize(
    ("layout", "index"),
    # pandas writes no table whose rows and columns have levels
    [*(("fixed", index) for index in ("path", "folders", "number")),
     ("table", "path"), ("table", "number")],
)  # fmt: skip
def test_files_of_pandas_itself(tmp_path, layout, index) -> None:
    pytest.importorskip("tables", reason="PyTables writes pandas' HDF5; it is not installed")
    rows = {
        "path": PATHS,
        "folders": pd.MultiIndex.from_tuples([tuple(name.split("/")) for name in PATHS]),
        "number": range(4),
    }[index]
    names = ["scorer", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_tuples(COLUMNS, names=names)
    frame = pd.DataFrame(VALUES, columns=columns, index=rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTables on names and speed
        frame.to_hdf(tmp_path / "a.h5", key=KEY, format=layout, mode="w")
    found = read_pandas_table(tmp_path / "a.h5", KEY)
    assert found.columns == COLUMNS
    wanted = [row if isinstance(row, tuple) else (str(row),) for row in frame.index]
    assert found.rows == wanted
    np.testing.assert_array_equal(found.values, VALUES)


def test_pickled_columns_run_nothing(tmp_path) -> None:
    path, canary = tmp_path / "a.h5", tmp_path / "canary"
    table(path, COLUMNS, PATHS, VALUES)
    for value, what in (
        (pickle.dumps([Call(open, [str(canary), "w"])], 0), "nothing was run"),
        (b"junk", "damaged"),
        (pickle.dumps("me", 0), "not a list"),
        (pickle.dumps([(1, 2, 3)] * 6, 0), "not text"),
        (pickle.dumps(COLUMNS[:5], 0), "does not fit"),
        (pickle.dumps(COLUMNS[:1] * 6, 0), "same labels"),
        (7, "does not name its columns"),
    ):
        with h5py.File(path, "a") as file:
            file[KEY]["table"].attrs["values_block_0_kind"] = (
                np.bytes_(value) if isinstance(value, bytes) else value
            )
        with pytest.raises(DataError, match=what):
            read_pandas_table(path, KEY)
    assert not canary.exists()


def _replace(group, name, value) -> None:
    del group[name]
    group[name] = value


def _state(group, name, value) -> None:
    group.attrs[name] = value


def test_damaged_tables(tmp_path) -> None:
    path = tmp_path / "a.h5"
    changes = {
        "does not fit its labels": lambda g: _replace(g, "block0_values", VALUES[:3]),
        "not numbers": lambda g: _replace(g, "block0_values", np.array([b"a"])),
        "label that is missing": lambda g: _replace(g, "axis0_label1", np.full(6, -1, np.int8)),
        "unequal lengths": lambda g: _replace(g, "axis0_label1", np.zeros(5, np.int8)),
        "not whole numbers": lambda g: _replace(g, "axis0_label1", np.zeros(6)),
        "not a list of strings": lambda g: _replace(g, "axis1", np.zeros(4)),
        "not those that have values": lambda g: axis(g, "axis0", "abcdef"),
        "unknown way": lambda g: _state(g, "axis1_variety", "some"),
        "not 1 to": lambda g: _state(g, "nblocks", 0),
        "'nblocks' is": lambda g: _state(g, "nblocks", "many"),
        "is not in the file": lambda g: g.pop("block0_values"),
        "not a data frame": lambda g: _state(g, "pandas_type", "series"),
        "a link": lambda g: _replace(g, "axis1", h5py.ExternalLink("b.h5", "/axis1")),
    }  # fmt: skip
    for what, change in changes.items():
        fixed(path, COLUMNS, PATHS, WHOLE)
        with h5py.File(path, "a") as file:
            change(file[KEY])
        with pytest.raises(DataError, match=what) as caught:
            read_pandas_table(path, KEY)
        assert "\n" not in str(caught.value)


def test_files_without_a_table(tmp_path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(DataError, match="No file"):
        read_pandas_table(path, KEY)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="HDF5"):
        read_pandas_table(path, KEY)
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = 1, 2
    with pytest.raises(DataError, match=r"no table 'df_with_missing' in the file \(found: a, b\)"):
        read_pandas_table(path, KEY)
    with h5py.File(path, "w") as file:
        file["df"] = h5py.SoftLink("/elsewhere")
    with pytest.raises(DataError, match="no table"):
        read_pandas_table(path, KEY)


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_flipped_bits_are_sentences(tmp_path, layout) -> None:
    path = tmp_path / "a.h5"
    if layout == "fixed":
        fixed(path, COLUMNS, PATHS, WHOLE)
    else:
        table(path, COLUMNS, PATHS, VALUES)
    good = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    read = 0
    for _ in range(200):
        bad = good.copy()
        for at in rng.integers(0, len(bad), 4):
            bad[at] ^= 1 << rng.integers(8)
        path.write_bytes(bad.tobytes())
        with contextlib.suppress(DataError):
            found = read_pandas_table(path, KEY)
            assert found.values.shape == (len(found.rows), len(found.columns))
            read += 1
    assert read  # some bits change nothing, or a value


def test_attributes_are_single_values(tmp_path) -> None:
    path = tmp_path / "a.h5"
    fixed(path, COLUMNS, PATHS, WHOLE)
    for name in ("pandas_type", "nblocks", "axis0_variety"):
        fixed(path, COLUMNS, PATHS, WHOLE)
        with h5py.File(path, "a") as file:
            file[KEY].attrs[name] = ["frame", "frame"]
        with pytest.raises(DataError, match=f"the attribute '{name}' holds a list"):
            read_pandas_table(path, KEY)


@pytest.mark.parametrize("name", ["axis0_label1", "axis1", "axis0_level1"])
def test_there_are_not_millions_of_labels(tmp_path, name) -> None:
    path = tmp_path / "a.h5"
    fixed(path, COLUMNS, PATHS, WHOLE)
    with h5py.File(path, "a") as file:
        del file[KEY][name]
        file[KEY].create_dataset(name, (60_000_000,), np.int8, chunks=(1_000_000,))
    with pytest.raises(DataError, match="60000000 labels, too many"):
        read_pandas_table(path, KEY)
