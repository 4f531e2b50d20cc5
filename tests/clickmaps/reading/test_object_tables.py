"""Tables of arrays: how much of them is read at once, and how much there may be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickmap_cli.clickmaps.reading import object_tables
from clickmap_cli.runtime.errors import DataError
from tests.helpers.tables import expected, object_array, read, some_rows, write_table


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_rows_are_the_same_however_few_are_read_at_once(tmp_path, monkeypatch, size, rows) -> None:
    monkeypatch.setattr(object_tables, "_CHUNK_SIZE", size)
    given = some_rows(rows, extra=True)
    assert read(write_table(tmp_path / "t.npz", given)).as_rows() == expected(given)


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ([object_array(["abc", "d", "efgh"])], 2),
        ([object_array([[1, 2], [3]]), np.array(["x", "y"])], 1),
        ([np.array(["abcd", "e"])], 1),
        ([object_array([np.zeros((2, 3)), np.array("x"), None, {"a": 1}])], 1),
        ([object_array(["x" * 100])], 1),
        ([object_array(["a"] * 4)], 4),
    ],
)
def test_rows_that_are_read_at_once(monkeypatch, columns, rows) -> None:
    monkeypatch.setattr(object_tables, "_CHUNK_SIZE", 6)
    assert object_tables._few_rows(columns) == rows


def test_parquet_files_of_endless_rows_are_refused(tmp_path) -> None:
    nothing = pa.nulls(1_000_000)
    columns = dict.fromkeys(("image_path", "user_id", "clicks"), nothing)
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="says it holds 1000000 rows"):
        read(tmp_path / "t.parquet")
    few = dict.fromkeys(columns, nothing[:1000])
    pq.write_table(pa.table(few), tmp_path / "t.parquet")
    assert len(read(tmp_path / "t.parquet").rejected) == 1000
