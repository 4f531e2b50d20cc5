"""Ids that look missing or have blanks around them, in every kind of table of trials."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.participants import (
    BAD,
    GOOD,
    UNLISTED,
    IdSpelling,
    label_users,
    read_users,
)
from clickmap_cli.clickmaps.reading.trials_file import read_trials
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import trials_of
from tests.helpers.tables import Raw, read, write_table

WORDS = ["nan", "NA", "null", "NaN", "None", "<NA>", "N/A", "ann"]
KINDS = ["t.csv", "t.csv.gz", "t.csv.zst", "t.parquet", "t.npz"]


def notices_of(path) -> list[str]:
    progress = Silent()
    read_trials(path, ImageShapes((99, 99)), lambda *_: None, progress)
    return progress.notices


@pytest.mark.parametrize("name", KINDS)
def test_words_in_the_column_are_ids(tmp_path, name) -> None:
    path = write_table(tmp_path / name, [Raw("a.png", word, [(1, 2)]) for word in WORDS])
    assert [user for _, user, _ in read(path).as_rows()] == WORDS
    (text,) = notices_of(path)
    assert text.startswith(
        "user_id: '<NA>', 'N/A', 'NA', 'NaN', 'None' and 2 more are taken as names of"
    )


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_cell_is_a_missing_id(tmp_path, name) -> None:
    rows = [Raw("a.png", user, [(1, 2)]) for user in ("", " ", "ann")]
    found = read(write_table(tmp_path / name, rows))
    assert [user for _, user, _ in found.as_rows()] == ["ann"]
    assert [reason for *_, reason in found.rejected] == ["user_id is empty"] * 2


def test_values_that_stand_for_nothing_are_missing_ids(tmp_path) -> None:
    clicks = [[[1, 2]]] * 3
    table = {"image_path": ["a.png"] * 3, "user_id": ["nan", None, "x"], "clicks": clicks}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").trials.users.tolist() == ["nan", "x"]
    users = np.array(["nan", float("nan"), None], dtype=object)
    np.savez(
        tmp_path / "t.npz", file_pointer=np.array(["a.png"] * 3), user_id=users,
        clickmap_x=np.array([[1]] * 3), clickmap_y=np.array([[2]] * 3),
    )  # fmt: skip
    assert read(tmp_path / "t.npz").trials.users.tolist() == ["nan"]


@pytest.mark.parametrize("name", KINDS)
def test_blanks_around_ids_are_removed_and_counted(tmp_path, name) -> None:
    users = ["ann", " ann", "ann ", "bob ", "joe b", "ann"]
    path = write_table(tmp_path / name, [Raw("a.png", user, [(1, 2)]) for user in users])
    kept = [user for _, user, _ in read(path).as_rows()]
    assert kept == ["ann", "ann", "ann", "bob", "joe b", "ann"]
    (text,) = notices_of(path)
    assert text == (
        "user_id: 3 of the ids have blanks around them, which were removed: ' ann', 'ann ', "
        "'bob '; 'ann' is spelled with and without them, and each counts as one participant."
    )


def test_ids_without_blanks_are_not_talked_about(tmp_path) -> None:
    rows = [Raw("a.png", user, [(1, 2)]) for user in ("ann", "joe b", "7")]
    assert notices_of(write_table(tmp_path / "t.csv", rows)) == []
    spelling = IdSpelling()
    assert [spelling.strip(text) for text in ("", "  ", "a")] == ["", "", "a"]
    assert list(spelling.notices("who", ["a"])) == []


def test_a_file_or_a_list(tmp_path) -> None:
    path = tmp_path / "good.txt"
    path.write_text("# careful ones\nu1\n\n u2 \nu1\n")
    assert read_users(str(path), "good_users") == ["u1", "u2"]
    assert read_users(["u2", "u1", "u2"], "good_users") == ["u2", "u1"]
    assert read_users([17, "u"], "good_users") == ["17", "u"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "bad_users is an empty list"),
        (None, "bad_users is None"),
        ("", "bad_users is ''"),
        (3, "bad_users is 3"),
        ({"u": 1}, "must be a text file"),
        ([1.5], "bad_users holds 1.5"),
        ([True], "bad_users holds True"),
        (["u", ""], "bad_users holds ''"),
        ([["u"]], "not a user id"),
    ],
)
def test_values_that_are_not_lists_of_users(value, says) -> None:
    with pytest.raises(ConfigError) as caught:
        read_users(value, "bad_users")
    assert says in str(caught.value)


def test_files_that_are_missing_or_hold_nothing(tmp_path) -> None:
    with pytest.raises(DataError, match="No list of ids"):
        read_users(str(tmp_path / "none.txt"), "good_users")
    (tmp_path / "empty.txt").write_text("# nobody\n\n")
    with pytest.raises(DataError, match="holds no id"):
        read_users(str(tmp_path / "empty.txt"), "good_users")


def table():
    rows = [("a.png", user, [(1, 1)]) for user in ("w", "x", "y", "z")]
    trials = trials_of(rows)
    return trials.select(np.array([0, 1, 3]))  # y was read, and then filtered out


def test_labels_are_in_the_order_of_the_vocabulary() -> None:
    labels, idle = label_users(table(), ["z", "y"], ["w"])
    assert labels.tolist() == [BAD, UNLISTED, UNLISTED, GOOD]
    assert idle == ["y"]


def test_contradictions_are_errors() -> None:
    with pytest.raises(ConfigError, match="both list 'w'"):
        label_users(table(), ["z", "w"], ["w"])
    with pytest.raises(
        ConfigError, match=r"bad_users lists 'q', who is not in the data \(it has 4"
    ):
        label_users(table(), ["z"], ["w", "q"])
    with pytest.raises(ConfigError, match="'d', 'e' and 2 more, who are not"):
        label_users(table(), list("abcdefg"), ["w"])
