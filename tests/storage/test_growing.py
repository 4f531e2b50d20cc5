"""Files that only grow: nothing that is there is ever changed."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.storage.growing import append_lines, append_row, check_columns

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(TEXT, max_size=4), max_size=4))
def test_lines_are_added_behind_what_is_there(tmp_path_factory, parts) -> None:
    path = tmp_path_factory.mktemp("logs") / "deep/log.txt"
    before = b""
    for lines in parts:
        append_lines(path, lines)
        now = path.read_bytes()
        assert now.startswith(before)
        before = now
    assert before.decode() == "".join(f"{line}\n" for lines in parts for line in lines)


def test_a_torn_line_is_ended_first(tmp_path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"whole\nto")
    append_lines(path, ["new"])
    assert path.read_bytes() == b"whole\nto\nnew\n"


def test_a_table_has_one_header_and_a_row_a_time(tmp_path) -> None:
    path, header = tmp_path / "f.csv", ("a", "b c")
    assert not check_columns(path, header)
    for row in ([1, "x, y"], [2.5, '"'], ["é", ""]):
        append_row(path, header, row)
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "b c"], ["1", "x, y"], ["2.5", '"'], ["é", ""]]
    assert check_columns(path, header)
    whole = path.read_bytes()
    with pytest.raises(ConfigError, match="other columns"):
        append_row(path, ("a", "c"), [1, 2])
    assert path.read_bytes() == whole


def test_what_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="could not be written"):
        append_lines(tmp_path / "folder", ["x"])
    with pytest.raises(RunError, match="could not be read"):
        check_columns(tmp_path / "folder", ("a",))
