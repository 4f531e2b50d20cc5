"""One set of trials through every format, and what damaged tables still give."""

from __future__ import annotations

import csv
import datetime
import gzip
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.trials_file import read_trials
from clickmap_cli.runtime.errors import ClickmapError, DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.hostile import malformed, tree
from tests.helpers.studies import random_rows, write_csv
from tests.helpers.tables import (
    csv_bytes,
    expected,
    object_array,
    quoted,
    read,
    some_rows,
    write_table,
)

FORMATS = ("t.csv", "t.csv.gz", "t.csv.zst", "t.parquet", "t.npz", "T.CSV", "T.CSV.GZ", "T.CSV.ZST")
HEADER = "image_path,user_id,clicks"
GOOD = 'a.jpg,u1,"[(1, 2)]"'


def read_text(tmp_path, text, **options):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, **options)


# --- formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_trials(tmp_path, name):
    rows = some_rows(50, extra=True)
    lower = write_table(tmp_path / name.lower(), rows)
    got = read(lower.rename(tmp_path / name))
    assert got.rejected == []
    assert got.as_rows() == expected(rows)
    assert got.trials.catch.tolist() == [np.float32(0.99)] * 50
    assert got.trials.time.tolist() == [1000.5 + i for i in range(50)]


def test_more_rows_than_a_block_and_a_chunk(tmp_path):
    rows = some_rows(9000)
    for name in ("t.csv", "t.parquet", "t.npz"):
        assert read(write_table(tmp_path / name, rows)).as_rows() == expected(rows)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("front", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_line_ends_and_byte_order_mark(tmp_path, end, front):
    rows = some_rows(9)
    got = read_text(tmp_path, front + csv_bytes(rows, end))
    assert got.rejected == []
    assert got.as_rows() == expected(rows)


def test_last_line_without_an_end_and_blank_lines(tmp_path):
    got = read_text(tmp_path, f"{HEADER}\n\n{GOOD}\n  \n\r\nb.jpg,u2,[]")
    assert got.rejected == []
    assert got.as_rows() == [("a.jpg", "u1", [(1, 2)]), ("b.jpg", "u2", [])]


def test_column_names_in_use(tmp_path):
    got = read_text(tmp_path, "file_pointer,user,x,clickmap_x,clickmap_y\na.jpg,u,0,[1],[3\n")
    reason = "clickmap_y: it is not a list of numbers"
    assert got.rejected == [(2, "clickmap_x, clickmap_y", "[1]", reason)]
    got = read_text(tmp_path, 'image,user,clickmap_x,clickmap_y\na.jpg,u,"[1, 2]","{3.5,4}"\n')
    assert got.as_rows() == [("a.jpg", "u", [(1, 3), (2, 4)])]


def test_quoted_fields_keep_commas_quotes_and_line_ends(tmp_path):
    name, user = 'odd "name", 1.jpg', 'the "user"'
    text = (
        f"{HEADER}\r\n{quoted(name)},{quoted(user)},{quoted('[(1, 2),' + chr(10) + '(3, 4)]')}\r\n"
    )
    got = read_text(tmp_path, text + GOOD)
    assert got.rejected == []
    assert got.as_rows() == [(name, user, [(1, 2), (3, 4)]), ("a.jpg", "u1", [(1, 2)])]


def test_inner_lines_with_as_many_commas_as_a_row_stay_inside(tmp_path):
    clicks = "[(1, 2),\n(3, 4),\n(5, 6)]"
    got = read_text(tmp_path, f'{HEADER}\na.jpg,u,"{clicks}"\nb.jpg,u,"[(7, 8)]"\n')
    assert got.as_rows() == [("a.jpg", "u", [(1, 2), (3, 4), (5, 6)]), ("b.jpg", "u", [(7, 8)])]
    assert got.rejected == []


# --- columns beside the clicks ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        ("true", True), ("True", True), ("t", True), ("1", True), ("1.0", True), ("yes", True),
        ("false", False), ("f", False), ("0", False), ("", False), ("nan", False), ("None", False),
        ("[True]", True), ("[False]", False), ("[]", False), ("[True, False]", True),
        ("[False, True]", False), ("{t}", True), ("{}", False), ("['true']", True),
    ],
)  # fmt: skip
def test_is_mobile_in_text(tmp_path, value, flag):
    got = read_text(tmp_path, f"{HEADER},is_mobile\n{GOOD},{quoted(value)}\n")
    assert got.trials.mobile.tolist() == [flag]


def test_is_mobile_in_objects(tmp_path):
    flags = [
        True,
        [True],
        [],
        [False, True],
        np.array([True]),
        np.array(True),
        np.empty(0),
        None,
        "f",
    ]
    n = len(flags)
    np.savez(
        tmp_path / "t.npz",
        image_path=["a.jpg"] * n,
        user_id=np.arange(n),
        clicks=object_array([[(1, 2)]] * n),
        is_mobile=object_array(flags),
    )
    got = read(tmp_path / "t.npz")
    assert got.trials.mobile.tolist() == [True, True, False, False, True, True, False, False, False]
    assert got.trials.users.tolist() == [str(i) for i in range(n)]


@pytest.mark.parametrize("value", ["maybe", "2", "[[maybe]]"])
def test_is_mobile_that_is_neither(tmp_path, value):
    got = read_text(tmp_path, f"{HEADER},is_mobile\n{GOOD},{value}\n{GOOD},true\n")
    assert [(row, reason) for row, _, _, reason in got.rejected] == [
        (2, "is_mobile is neither true nor false")
    ]
    assert got.trials.mobile.tolist() == [True]


def test_catch_scores(tmp_path):
    got = read_text(
        tmp_path, f"{HEADER},user_catch_trial\n{GOOD},0.5\n{GOOD},\n{GOOD},x\n{GOOD},1e300\n"
    )
    assert got.trials.catch[0] == 0.5
    assert math.isnan(got.trials.catch[1])
    assert [row for row, *_ in got.rejected] == [4, 5]


def test_timestamps(tmp_path):
    day = datetime.datetime(2024, 5, 17, 12, 30, tzinfo=datetime.UTC)
    seconds = day.timestamp()
    text = [
        str(seconds),
        "2024-05-17T12:30:00",
        "2024-05-17 12:30:00+00:00",
        "2024-05-17T14:30:00+02:00",
    ]
    rows = "\n".join(f"{GOOD},{t}" for t in [*text, "yesterday", ""])
    got = read_text(tmp_path, f"{HEADER},timestamp\n{rows}\n")
    assert got.trials.time[:4].tolist() == [seconds] * 4
    assert math.isnan(got.trials.time[4])
    assert [row for row, *_ in got.rejected] == [6]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_parquet_and_npz_in_every_unit(tmp_path, unit):
    moments = np.array(["2024-05-17T12:30:00", "NaT", "1969-12-31T23:59:59"], f"datetime64[{unit}]")
    columns = {"image_path": ["a"] * 3, "user_id": ["u"] * 3, "clicks": ["[(1, 2)]"] * 3}
    pq.write_table(pa.table({**columns, "timestamp": pa.array(moments)}), tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", **columns, timestamp=moments)
    for name in ("t.parquet", "t.npz"):
        time = read(tmp_path / name).trials.time
        assert time[0] == datetime.datetime(2024, 5, 17, 12, 30, tzinfo=datetime.UTC).timestamp()
        assert math.isnan(time[1])
        assert time[2] == -1


def test_timestamps_beyond_the_calendar(tmp_path):
    table = pa.table(
        {
            "image_path": ["a", "b"],
            "user_id": ["u", "u"],
            "clicks": ["[(1, 2)]"] * 2,
            "timestamp": pa.array([2**62, 0], pa.timestamp("ms")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    got = read(tmp_path / "t.parquet")
    assert got.trials.time.tolist() == [2**62 / 1000, 0]


def test_category_column_and_its_bad_values(tmp_path):
    text = f'{HEADER},kind\n{GOOD},dog\nb/c.jpg,u,"[(1, 2)]",\nb/d.jpg,u,"[(1, 2)]",a\x07b\n'
    got = read_text(tmp_path, text, category_column="kind")
    t = got.trials
    names = {
        str(k): str(t.categories[c])
        for k, c in zip(t.images, t.category, strict=True)
        if k != "b/d.jpg"
    }
    assert names == {"a.jpg": "dog", "b/c.jpg": "all"}
    assert [(row, column) for row, column, *_ in got.rejected] == [(4, "category")]


# --- image paths ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../x.jpg", "a/../../x.jpg", "..\\x.jpg", "\\\\host\\x.jpg", "C:\\x.jpg",
        "c:/x.jpg", "", "   ", "a/", "a/.", ".", "..", "a\x00.jpg", "a\x1b[31m.jpg", "x" * 250,
        "é" * 120, "a\u202eb.jpg",
    ],
)  # fmt: skip
def test_paths_that_are_refused(tmp_path, path):
    line = f"{quoted(path)},u,[]"
    got = read_text(tmp_path, f"{HEADER}\n{GOOD}\n{line}\n{GOOD}\n")
    assert [(row, column) for row, column, *_ in got.rejected] == [(3, "image_path")]
    assert got.rejected[0][3].startswith("image_path ")
    assert got.as_rows() == [("a.jpg", "u1", [(1, 2)])] * 2


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    got = read_text(tmp_path, HEADER.encode() + b"\n\xff\xfe.jpg,u,[]\nb.jpg,\xe9,[]\nc.jpg,u,[]\n")
    assert [(row, column) for row, column, *_ in got.rejected] == [
        (2, "image_path"),
        (3, "user_id"),
    ]
    assert got.as_rows() == [("c.jpg", "u", [])]


def test_remove_string(tmp_path):
    paths = ("/data/set/cats/a.jpg,u", "cats\\a.jpg,v", "/data/set/../b.jpg,u", "/x.jpg,u")
    text = HEADER + "".join(f"\n{path},[]" for path in paths)
    got = read_text(tmp_path, text, remove_string="/data/set")
    assert [row[:2] for row in got.as_rows()] == [("cats/a.jpg", "u"), ("cats/a.jpg", "v")]
    assert [row for row, *_ in got.rejected] == [4, 5]


# --- what cannot be read at all ---------------------------------------------------------------


def message(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert len(text) < 1500
    return text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image_path;clicks;user_id\n", "separated by semicolons; save it with commas or tabs"),
        (b"image_path|clicks|user_id\n", "separated by vertical bars; save it with commas or tabs"),
        (b"image_path clicks user_id\n", "separated by blanks; save it with commas or tabs"),
        (b"image_path,user_id,x,y\na,b,1,2\n", "A row is a whole trial"),
        ("image_path,clicks,user_id\n".encode("utf-16"), "save it as UTF-8"),
    ],
)
def test_a_table_of_another_kind_is_an_error_with_a_hint(tmp_path, content, says):
    with pytest.raises(DataError, match=says):
        read_text(tmp_path, content)


def test_a_missing_column_is_reported_with_those_found(tmp_path):
    text = message(tmp_path, "t.csv", b"image_path,user_id,click\na,b,c\n")
    assert "no column clicks (or clickmap_x and clickmap_y)" in text
    assert "'image_path', 'user_id', 'click'" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b""),
        ("t.csv", b"\n \n"),
        ("t.csv", b"\xef\xbb\xbf"),
        ("t.csv", bytes(range(256)) * 9),
        ("t.csv", "image_path,user_id,clicks\n".encode("utf-16")),
        ("t.csv", b"image_path;user_id;clicks\n"),
        ("t.csv", b"image_path,user_id,clicks,clicks\n"),
        ("t.csv", b'"image_path,user_id,clicks\n'),
        ("t.csv", b"image_path\ruser_id\rclicks\r"),
        ("t.csv", b"," * 500_000 + b"\n"),
        ("t.csv", b"".join(b"c%d," % i for i in range(50_000))),
        ("t.csv.gz", b""),
        ("t.csv.gz", b"image_path,user_id,clicks\n"),
        ("t.csv.gz", b"\x1f\x8b\x08"),
        ("t.csv.zst", b""),
        ("t.csv.zst", b"image_path,user_id,clicks\n"),
        ("t.csv.zst", b"\x28\xb5\x2f\xfd"),
        ("t.parquet", b""),
        ("t.parquet", b"PAR1" * 4),
        ("t.parquet", b"image_path,user_id,clicks\n"),
        ("t.npz", b""),
        ("t.npz", b"PK\x03\x04"),
        ("t.npz", b"PK\x05\x06"),
        ("t.npz", b"PK\x05\x06" + bytes(18)),
        ("t.md", b"image_path,user_id,clicks\n"),
        ("t.xlsx", b"PK\x03\x04"),
    ],
)
def test_files_that_are_not_tables_are_errors(tmp_path, name, content):
    message(tmp_path, name, content)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.npz"])
def test_a_folder_and_a_missing_file(tmp_path, name):
    with pytest.raises(DataError, match="No file at"):
        read(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)
    with pytest.raises(DataError):
        read(tmp_path / ("x" * 300 + name))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst"])
def test_a_cut_archive_is_never_taken_for_a_whole_one(tmp_path, name):
    whole = write_table(tmp_path / name, some_rows(400)).read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        message(tmp_path, name, whole[:cut])


# --- rows that cannot be read -----------------------------------------------------------------


def test_row_numbers_are_lines_and_records(tmp_path):
    rows = some_rows(12)
    rows[3].image, rows[8].image = "../a.jpg", "/b.jpg"
    assert [r[0] for r in read(write_table(tmp_path / "t.csv", rows)).rejected] == [5, 10]
    assert [r[0] for r in read(write_table(tmp_path / "t.parquet", rows)).rejected] == [4, 9]
    assert [r[0] for r in read(write_table(tmp_path / "t.npz", rows)).rejected] == [4, 9]


def test_line_numbers_count_the_lines_of_a_long_field(tmp_path):
    text = f'{HEADER}\na.jpg,u,"[(1, 2),\n(3, 4)]"\n\nb.jpg,u,nonsense\n'
    assert [r[:2] for r in read_text(tmp_path, text).rejected] == [(5, "clicks")]


def test_wrong_number_of_fields_is_reported(tmp_path):
    got = read_text(tmp_path, f"{HEADER}\na.jpg,u\na.jpg,u,[],x\n{GOOD}\n")
    assert [(r[0], r[3]) for r in got.rejected] == [
        (2, "2 fields where the header has 3"),
        (3, "4 fields where the header has 3"),
    ]
    assert len(got.trials) == 1


@pytest.mark.parametrize(
    ("damaged", "lines"),
    [
        ('a.jpg,u,"[(1, 2)', [2]),
        ('"a.jpg,u,[(1, 2)]', [2]),
        ('a"jpg,u,[]', [2]),
        ('a.jpg,u,"[(1, 2)\nb.jpg,u,"[(3, 4)', [2, 3]),
        ('a.jpg,u1","[(1, 2)]"\nb.jpg,u2","[(3, 4)]"', [2, 3]),
        ('a.jpg,u,"[(1, 2)\nb.jpg,u,[(3, 4)]"', [2, 3]),
        ('a.jpg,u,[]\x0c"\n"', [2, 3]),
        ('a.jpg,u,[]\x85"\n"', [2, 3]),
        ('a.jpg,u,"[]" ', [2]),
        ('a.jpg,u,"[]"x"', [2]),
    ],
)
def test_reading_goes_on_behind_an_unclosed_quote(tmp_path, damaged, lines):
    got = read_text(tmp_path, f'{HEADER}\n{damaged}\n{GOOD}\nc.jpg,u2,"[(3, 4), (5, 6)]"\n')
    assert [row for row, *_ in got.rejected] == lines
    assert got.as_rows() == [("a.jpg", "u1", [(1, 2)]), ("c.jpg", "u2", [(3, 4), (5, 6)])]


def test_a_long_field_behind_an_unclosed_quote_is_still_a_row(tmp_path):
    got = read_text(tmp_path, f'{HEADER}\nx,"y\na.jpg,u,"[(1, 2),\n (3, 4)]"\n{GOOD}\n')
    assert [row for row, *_ in got.rejected] == [2]
    assert [row[2] for row in got.as_rows()] == [[(1, 2), (3, 4)], [(1, 2)]]


def test_a_quote_that_never_closes_names_every_line(tmp_path):
    junk = "\n".join(f"junk {i}" for i in range(500))
    got = read_text(tmp_path, f'{HEADER}\n{GOOD}\na.jpg,u,"[(1\n{junk}\n{GOOD}')
    assert [row for row, *_ in got.rejected] == list(range(3, 504))
    assert len(got.trials) == 2


def test_bad_values_of_objects_are_rejected_one_by_one(tmp_path):
    deep = [(1, 2)]
    clicks = [
        [(1, 2)], None, "[(3, 4)]", [(1, None)], [(1, 2, 3)], [{"x": 1, "y": 2}], [{"x": 1}, 5],
        [5, {"x": 1}], [{"z": 1}], {"x": 1}, [(math.nan, 1)], [(10**400, 1)], [(1e300, -1e300)],
        np.array(["2020-01-01"], "M8[D]"), np.array([[1 + 2j, 3]]), ([deep], [deep]), b"[(5, 6)]",
        [("a", "b")], 7, np.zeros((0, 9)), [], np.array([[1, 2]], np.uint8), 10**5000, "\ud800",
    ]  # fmt: skip
    good = [0, 2, 5, 12, 16, 19, 20, 21]
    n = len(clicks)
    np.savez(
        tmp_path / "t.npz",
        image_path=np.array(["a.jpg"] * n),
        user_id=np.array(["u"] * n),
        clicks=object_array(clicks),
    )
    got = read(tmp_path / "t.npz")
    assert [row for row, *_ in got.rejected] == [i + 1 for i in range(n) if i not in good]
    lengths = [len(pairs) for _, _, pairs in got.as_rows()]
    assert lengths == [1, 1, 1, 1, 1, 0, 0, 1]
    assert got.as_rows()[1][2] == [(3, 4)]
    ((x, y),) = got.as_rows()[3][2]
    assert x < 0  # outside, wherever that is
    assert y < 0


def test_odd_values_where_words_are_expected(tmp_path):
    words = [
        "a.jpg",
        ("t", ["u"]),
        ["l"],
        {"d": 1},
        None,
        10**5000,
        math.nan,
        np.array(["x"]),
        "b",
        3,
    ]
    n = len(words)
    for column in ("image_path", "user_id", "user_catch_trial", "timestamp", "kind"):
        columns = {"image_path": ["a.jpg"] * n, "user_id": ["u"] * n, "clicks": ["[(1, 2)]"] * n}
        columns[column] = object_array(words)
        np.savez(tmp_path / "t.npz", **columns)
        got = read(tmp_path / "t.npz", category_column="kind" if column == "kind" else None)
        assert {2, 3, 4, 6, 8} <= {row for row, *_ in got.rejected}
        assert all(len(value) <= 80 for _, _, value, _ in got.rejected)


def test_one_missing_value_of_a_text_column_costs_one_row(tmp_path):
    x, y = ["[1, 2]", None, "[5]"], ["[3, 4]", "[9]", "[6]"]
    columns = {"image_path": ["a", "b", "c"], "user_id": ["u"] * 3}
    pq.write_table(pa.table({**columns, "clickmap_x": x, "clickmap_y": y}), tmp_path / "t.parquet")
    got = read(tmp_path / "t.parquet")
    assert [row for row, *_ in got.rejected] == [2]
    assert [row[2] for row in got.as_rows()] == [[(1, 3), (2, 4)], [(5, 6)]]


def test_parquet_text_that_is_not_utf8_and_categorical_text(tmp_path):
    path = pa.array([b"a.jpg", b"\xff.jpg", b"c.jpg"]).view(pa.string())
    table = pa.table(
        {
            "image_path": path,
            "user_id": pa.array(["u", "v", "u"]).dictionary_encode(),
            "clicks": pa.array(["[(1, 2)]", "[]", "[]"], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    got = read(tmp_path / "t.parquet")
    assert [r[:2] for r in got.rejected] == [(2, "image_path")]
    assert got.as_rows() == [("a.jpg", "u", [(1, 2)]), ("c.jpg", "u", [])]


def test_arrays_that_do_not_fit(tmp_path):
    fine = {"image_path": ["a", "b"], "user_id": ["u", "u"], "clicks": ["[]", "[]"]}
    for change, word in (
        ({"user_id": ["u"]}, "unequal"),
        ({"user_id": "u", "image_path": "a", "clicks": "[]"}, "one value"),
    ):
        np.savez(tmp_path / "t.npz", **{**fine, **change})
        with pytest.raises(DataError, match=word):
            read(tmp_path / "t.npz")


# --- damage at random -------------------------------------------------------------------------

ROWS = some_rows(12, seed=5)
WHOLE = csv_bytes(ROWS)
LINES = WHOLE.split(b"\n")
VALUES = dict(zip(LINES[1:-1], expected(ROWS), strict=True))
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["delete", "insert", "replace"]),
        st.integers(len(LINES[0]) + 1, len(WHOLE) - 1),
        st.sampled_from([b'"', b",", b"\n", b"\r", b"(", b"]", b"-", b"\0", b"\xff", b'""', b'"\n'])
        | st.binary(min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def damaged(data: bytes, edits) -> bytes:
    for what, at, new in sorted(edits, key=lambda edit: -edit[1]):
        end = at if what == "insert" else at + len(new)
        data = data[:at] + (b"" if what == "delete" else new) + data[end:]
    return data


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DAMAGE)
def test_damage_costs_no_more_than_the_lines_it_touches(tmp_path, edits):
    text = damaged(WHOLE, edits)
    got = read_text(tmp_path, text)
    rows = got.as_rows()
    lines = dict(enumerate(text.split(b"\n"), 1))
    filled = {n: line.removesuffix(b"\r") for n, line in lines.items() if n > 1 and line.strip()}
    named = [n for n, *_ in got.rejected]
    assert len(set(named)) == len(named)
    assert set(named) <= set(filled)
    for n, column, *_ in got.rejected:
        if column and filled[n].count(b'"') % 2:  # a whole row, over several lines, of bad values
            end = next(m for m in lines if m > n and lines[m].count(b'"') % 2)
            named += range(n + 1, end + 1)
    # every line that still is one of the original rows is read, with its own values
    same = [n for n, line in filled.items() if line in VALUES]
    assert not set(same) & set(named)
    for n in same:
        rows.remove(VALUES[filled[n]])
    # and the lines that are neither the same nor named make up exactly the other rows read
    others = [line for n, line in filled.items() if n not in same and n not in named]
    # (a carriage return inside a line is white space here; there it would be a line end)
    pieces = [line.rstrip(b"\r").decode().replace("\r", "\t") for line in others]
    records = csv.reader([f"{piece}\n" for piece in pieces], strict=True)
    assert [(image.replace("\\", "/"), user.strip()) for image, user, _ in records] == [
        row[:2] for row in rows
    ]


def test_the_cut_rows_of_one_stray_quote_are_few(tmp_path):
    """A quote put before any byte costs at most the two lines beside it."""
    for at in range(len(LINES[0]) + 1, len(WHOLE) - 1):
        got = read_text(tmp_path, WHOLE[:at] + b'"' + WHOLE[at:])
        assert len(got.rejected) <= 1
        assert len(got.trials) >= len(ROWS) - 1


NAMES = st.sampled_from(
    ["a.png", "cats/1.png", "cats\\2.png", 'say "hi".png', "with, comma.png", "ä/ö.png", "b c.png"]
)
CLICKS = ['{"(1,2),(3,4)"}', "[(1, 2)]", "[[5, 6], [7, 8]]"]


def read_counts(path, remove=None) -> dict[str, int]:
    shapes = ImageShapes((64, 64), None)
    trials, _ = read_trials(path, shapes, lambda *_: None, Silent(), remove_string=remove)
    return dict(zip(trials.images.tolist(), np.bincount(trials.image).tolist(), strict=True))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(NAMES, st.sampled_from(CLICKS)), min_size=1, max_size=20),
    order=st.permutations(["image_path", "clicks", "user_id", "other"]),
    quoted=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_of_any_layout(tmp_path, rows, order, quoted, ending) -> None:
    path = tmp_path / "trials.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        style = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        writer = csv.DictWriter(file, order, lineterminator=ending, quoting=style)
        writer.writeheader()
        for at, (image, clicks) in enumerate(rows):
            writer.writerow(
                {"image_path": image, "clicks": clicks, "user_id": f"u{at}", "other": "x,y"}
            )
    assert read_counts(path) == Counter(image.replace("\\", "/") for image, _ in rows)


@pytest.mark.parametrize("header", ["image_path,clicks,user_id", "clicks,user_id,image_path"])
def test_no_record_over_several_lines_is_missed(tmp_path, header) -> None:
    path = tmp_path / "trials.csv"
    fields = {"image_path": '"a.png"', "clicks": '"[(1, 2),\n(3, 4),\n(5, 6)]"', "user_id": "u"}
    row = ",".join(fields[name] for name in header.split(","))
    odd = ",".join(f'"{name}' for name in header.split(","))  # three quotes that nothing closes
    path.write_text("\n".join([header, row, row.replace("a.png", "b.png"), odd, row, ""]))
    read = read_counts(path)
    assert read == {"a.png": 2, "b.png": 1}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".npz"])
def test_every_format(tmp_path, ending) -> None:
    rows = random_rows(0, images=5, users=4)
    plain = write_csv(tmp_path / "trials.csv", rows)
    path = tmp_path / f"trials{ending}"
    columns = {
        "image_path": [row[0] for row in rows], "user_id": [row[1] for row in rows],
        "clickmap_x": [[x for x, _ in row[2]] for row in rows],
        "clickmap_y": [[y for _, y in row[2]] for row in rows],
    }  # fmt: skip
    if ending == ".csv.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif ending == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif ending == ".npz":
        lists = {name: np.empty(len(rows), dtype=object) for name in ("clickmap_x", "clickmap_y")}
        for name, array in lists.items():
            array[:] = columns[name]
        np.savez(path, file_pointer=columns["image_path"], user_id=columns["user_id"], **lists)
    assert sum(read_counts(path, "cat0").values()) == 20


def test_names_that_are_refused_are_not_counted(tmp_path) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(
        'image_path,clicks,user_id\n/etc/x,"[(1,2)]",a\n../y,"[(1,2)]",b\nz.png,"[]",c\n'
    )
    assert read_counts(path) == {"z.png": 1}


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n1,2\n", "no column image_path"),
        ("t.csv.gz", b"no gzip", "damaged"),
        ("t.parquet", b"no parquet", "Parquet"),
        ("t.npz", b"no zip", "npz"),
        ("t.xlsx", b"", "trials come as"),
    ],
)
def test_a_file_that_is_not_a_table_is_an_error(tmp_path, name, data, says) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=says):
        read_counts(tmp_path / name)


def test_two_thousand_malformed_tables(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside, inside / "work"):
        folder.mkdir()
    monkeypatch.chdir(inside / "work")
    canary = outside / "canary"
    seen: Counter[str] = Counter()
    started = time.process_time()
    for name, content in malformed(2000, 20240517, inside / "work", canary):
        path = Path(name)
        path.write_bytes(content)
        try:
            # `read` checks that rows = trials + rejected, and that each rejection was reported
            got = read(path, remove_string=None)
        except ClickmapError as error:
            message = str(error)
            assert name in message
            assert "\n" not in message
            assert 10 < len(message) < 1500
            seen["refused"] += 1
        else:
            assert all(row > 0 and reason for row, _, _, reason in got.rejected)
            assert all(len(value) <= 80 and value.isprintable() for _, _, value, _ in got.rejected)
            assert all(_harmless(str(key)) for key in got.trials.images)
            seen["rejected rows" if got.rejected else "read whole"] += 1
        path.unlink()
    assert time.process_time() - started < 60
    assert tree(tmp_path) == {"inside": -1, "inside/work": -1, "outside": -1}
    # the generator must keep reaching both ways of saying no, and not be all noise
    assert seen.total() == 2000
    assert min(seen["refused"], seen["rejected rows"]) > 300
    assert seen["read whole"] < 500


def _harmless(key: str) -> bool:
    parts = key.split("/")
    return (
        key.isprintable() and not key.startswith("/") and ".." not in parts and ":" not in key[:2]
    )
