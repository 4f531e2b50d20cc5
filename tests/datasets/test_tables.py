"""Small tables: every damage is reported with its line."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.datasets.formats.csv_indexed import csv_indexed
from clickmap_cli.datasets.formats.fixations_csv import fixations_csv
from clickmap_cli.datasets.keypoint_tables import read_labels
from clickmap_cli.datasets.tables import table_rows
from clickmap_cli.runtime.errors import DataError
from tests.datasets.scenes import by_id, picture
from tests.datasets.test_keypoint_labels import DLC, FLAT, FOLDERS, LEADING, PREDICTED, is_hand_made
from tests.helpers.tables import csv_bytes, expected, read, some_rows


def rows_of(*given) -> list[tuple[int, dict[str, str]]]:
    return [(row.line, row.fields) for row in table_rows(*given)]


def test_rows_have_their_lines_and_their_columns_in_any_order(tmp_path) -> None:
    text = '\ufefflabel,note,user_id\r\nP,"a, b", ann \r\n\r\nC,,"b\nob"\r\n'
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    wanted = [(2, {"user_id": "ann", "label": "P"}), (4, {"user_id": "b\nob", "label": "C"})]
    assert rows_of(path, ("user_id", "label"), ("image_path",)) == wanted
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert rows_of(packed, ("user_id", "label")) == wanted
    assert rows_of(path, ("label",), ("note",))[0][1] == {"label": "P", "note": "a, b"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"no column user_id and label \(found: nothing\)"),
        (b"user_id,name\na,b\n", r"no column label \(found: user_id, name\)"),
        (b"user_id,label,label\na,b,c\n", "two columns are called label; rename one"),
        (b"user_id,label\n", "a header and no rows"),
        (b"user_id,label\na,b\nc\n", "line 3: 1 fields where the header has 2"),
        (b'user_id,label\na,b\n"c,d\n', "line 3: a quote is opened and not closed"),
        (b"user_id,label\na,\xff\n", "line 2: label is not UTF-8"),
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


NAMES = ("t.tsv", "t.txt", "t.csv", "t.tsv.gz", "t.txt.gz", "t.tsv.zst", "T.TSV")


def separated(text: str, mark: str) -> str:
    """The same cells with another mark between them, by the standard library."""
    out = io.StringIO()
    csv.writer(out, delimiter=mark, lineterminator="\n").writerows(
        csv.reader(io.StringIO(text, newline=""))
    )
    return out.getvalue()


def write(path: Path, text: str) -> Path:
    content = text.encode()
    if path.suffix.lower() == ".gz":
        content = gzip.compress(content)
    if path.suffix.lower() == ".zst":
        import pyarrow

        with pyarrow.CompressedOutputStream(str(path), "zstd") as out:
            out.write(content)
        return path
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_trials(tmp_path, name) -> None:
    rows = some_rows(50, extra=True)
    path = write(tmp_path / name, separated(csv_bytes(rows).decode(), "\t"))
    got = read(path)
    assert got.rejected == []
    assert got.as_rows() == expected(rows)


def test_trials_without_quotes(tmp_path) -> None:
    text = 'image_path\tclicks\tuser_id\na/1.png\t[(1, 2), (3, 4)]\tu\na/2.png\t{"(5,6)"}\tv\n'
    got = read(write(tmp_path / "t.tsv", text))
    assert got.rejected == []
    assert got.as_rows() == [("a/1.png", "u", [(1, 2), (3, 4)]), ("a/2.png", "v", [(5, 6)])]


@pytest.mark.parametrize("name", ["f.tsv", "f.tsv.gz", "f.txt", "f.csv"])
def test_fixations(tmp_path, name) -> None:
    picture(tmp_path / "images/a b.png", (12, 16), 0)
    text = 'image,subject,order,x,y\na b.png,"p, 1",0,1.5,2\na b.png,007,0,3,4\n'
    plain = by_id(fixations_csv(write(tmp_path / "plain.csv", text), tmp_path / "images"))
    tabbed = write(tmp_path / name, separated(text, "\t"))
    found = by_id(fixations_csv(tabbed, tmp_path / "images"))
    assert list(found) == list(plain) == ["a b"]
    assert found["a b"].truth_digest() == plain["a b"].truth_digest()
    assert found["a b"].points.subjects == ("007", "p, 1")


@pytest.mark.parametrize("text", [DLC, FOLDERS, PREDICTED, FLAT, LEADING])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_key_points(tmp_path, text, end) -> None:
    path = write(tmp_path / "labels.tsv", separated(text, "\t").replace("\n", end))
    is_hand_made(read_labels(path))


def test_tables_of_files_and_of_people(tmp_path) -> None:
    picture(tmp_path / "a.png", (12, 16), 0)
    np.save(tmp_path / "a.npy", np.ones((12, 16)))
    text = "image_id,image_path,fix_path,map_path\none,a.png,,a.npy\n"
    (found,) = csv_indexed(write(tmp_path / "i.tsv", separated(text, "\t"))).stimuli
    assert found.image_id == "one"
    rows = rows_of(write(tmp_path / "p.tsv", "user_id\tlabel\nann\tP, or C\n"), ["label"])
    assert rows == [(2, {"label": "P, or C"})]


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("|", "vertical bars")])
def test_other_marks_are_named(tmp_path, mark, word) -> None:
    said = f"separated by {word}; save it with commas or tabs"
    (tmp_path / "images").mkdir()
    fixations = write(tmp_path / "f.csv", f"image{mark}subject{mark}order{mark}x{mark}y\n")
    with pytest.raises(DataError, match=said):
        fixations_csv(fixations, tmp_path / "images")
    with pytest.raises(DataError, match=said):
        read_labels(write(tmp_path / "k.csv", separated(FLAT, mark)))
    with pytest.raises(DataError, match=said):
        read_labels(write(tmp_path / "d.csv", separated(DLC, mark)))
    with pytest.raises(DataError, match=said):
        table_rows(write(tmp_path / "p.csv", f"user_id{mark}label\n"), ["label"])
    index = write(tmp_path / "i.csv", mark.join(["image_id", "image_path", "fix_path", "map_path"]))
    with pytest.raises(DataError, match=said):
        csv_indexed(index)
    with pytest.raises(DataError, match=said):
        read(write(tmp_path / "t.csv", mark.join(["image_path", "clicks", "user_id"]) + "\n"))
