"""Small tables: every damage is said, with its line."""

from __future__ import annotations

import gzip

import pytest

from clickmap_cli.datasets.small_tables import table_rows
from clickmap_cli.runtime.errors import DataError


def test_rows_have_their_lines_and_their_columns_in_any_order(tmp_path) -> None:
    text = '\ufefflabel,note,user_id\r\nP,"a, b", ann \r\n\r\nC,,"b\nob"\r\n'
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    wanted = [(2, {"user_id": "ann", "label": "P"}), (4, {"user_id": "b\nob", "label": "C"})]
    assert table_rows(path, ("user_id", "label"), ("image_path",)) == wanted
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert table_rows(packed, ("user_id", "label")) == wanted
    with_note = table_rows(path, ("label",), ("note",))
    assert with_note[0][1] == {"label": "P", "note": "a, b"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"no column user_id and label \(found: nothing\)"),
        (b"user_id,name\na,b\n", r"no column label \(found: user_id, name\)"),
        (b"user_id,label,label\na,b,c\n", "the column label is there twice"),
        (b"user_id,label\n", "a header and no rows"),
        (b"user_id,label\na,b\nc\n", "line 3: 1 fields where the header has 2"),
        (b'user_id,label\na,b\n"c,d\n', "line 3: a quote is opened and not closed"),
        (b"user_id,label\na,\xff\n", "line 2: not UTF-8"),
    ],
)
def test_damage_is_an_error(tmp_path, data, message) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        table_rows(path, ("user_id", "label"))


def test_a_table_that_is_not_there(tmp_path) -> None:
    with pytest.raises(DataError, match="No file at"):
        table_rows(tmp_path / "none.csv", ("label",))
