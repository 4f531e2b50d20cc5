from __future__ import annotations

import csv
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.storage.appending import LineJournal, append_lines, append_row, require_columns

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
RECORDS = st.lists(st.dictionaries(st.text(), VALUES | st.lists(VALUES)), max_size=6)


def written(path, records) -> LineJournal:
    journal = LineJournal(path)
    with journal.writing():
        for record in records:
            journal.append(record)
    return journal


def text(records) -> list[str]:
    """Records as text, in which NaN is like NaN."""
    return [json.dumps(record, sort_keys=True) for record in records]


@settings(max_examples=60, deadline=None)
@given(RECORDS, RECORDS)
def test_records_come_back_in_their_order_over_several_runs(tmp_path_factory, one, other) -> None:
    path = tmp_path_factory.mktemp("journal") / "deep" / "er.jsonl"
    assert list(LineJournal(path).records()) == []
    written(path, one)
    assert text(LineJournal(path).records()) == text(one)
    written(path, other)
    assert text(LineJournal(path).records()) == text([*one, *other])


def test_nan_and_infinity_come_back(tmp_path) -> None:
    journal = written(tmp_path / "j", [{"a": math.nan, "b": [math.inf, -math.inf], "c": 0.1}])
    (record,) = journal.records()
    assert math.isnan(record["a"])
    assert record["b"] == [math.inf, -math.inf]
    assert record["c"] == 0.1


@settings(max_examples=100, deadline=None)
@given(RECORDS.filter(bool), RECORDS, st.data())
def test_a_kill_costs_at_most_the_last_record(tmp_path_factory, records, more, data) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    written(path, records)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    cut = data.draw(st.integers(last, len(whole)))
    path.write_bytes(whole[:cut])
    kept = records if cut == len(whole) else records[:-1]
    assert text(LineJournal(path).records()) == text(kept)
    written(path, more)
    found = text(LineJournal(path).records())
    if cut == len(whole) - 1:  # whole but for its line's end, which the next run has written
        kept = records
    assert found == text([*kept, *more])


def test_records_are_there_as_soon_as_they_are_written(tmp_path) -> None:
    journal = LineJournal(tmp_path / "j")
    with journal.writing():
        journal.append({"a": 1})
        assert list(LineJournal(tmp_path / "j").records()) == [{"a": 1}]
    with pytest.raises(ValueError, match="outside"):
        journal.append({"a": 2})


def test_lines_that_are_not_records_are_passed_over(tmp_path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'\n[1]\n3\n\xff\xfe\n{"a": 1}\n{"a": \n{"b": 2}\n{"c": 3}')
    assert list(LineJournal(path).records()) == [{"a": 1}, {"b": 2}]


def test_a_full_disk_is_reported_and_a_torn_line_costs_only_itself(tmp_path) -> None:
    journal = LineJournal(tmp_path / "a.jsonl")
    with journal.writing():
        journal.append({"n": 1})
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(RunError, match="full: the disk is full"):
        with LineJournal(tmp_path / "full").writing() as full:
            full.append({"n": 2})
    # what fits of a line that does not
    with journal.path.open("ab") as file:
        file.write(b'{"n": 2, "x"')
    with journal.writing():
        journal.append({"n": 3})
    assert [record["n"] for record in journal.records()] == [1, 3]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="could not be written"):
        with LineJournal(tmp_path / "file" / "a.jsonl").writing():
            pass


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
    assert not require_columns(path, header)
    for row in ([1, "x, y"], [2.5, '"'], ["é", ""]):
        append_row(path, header, row)
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "b c"], ["1", "x, y"], ["2.5", '"'], ["é", ""]]
    assert require_columns(path, header)
    whole = path.read_bytes()
    with pytest.raises(ConfigError, match="other columns"):
        append_row(path, ("a", "c"), [1, 2])
    assert path.read_bytes() == whole


def test_what_cannot_be_written_is_reported(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="could not be written"):
        append_lines(tmp_path / "folder", ["x"])
    with pytest.raises(RunError, match="could not be read"):
        require_columns(tmp_path / "folder", ("a",))
