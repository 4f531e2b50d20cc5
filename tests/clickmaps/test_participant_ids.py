"""Ids that look missing or have blanks around them, in every kind of table of trials."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.participant_ids import IdSpelling
from clickmap_cli.clickmaps.reading.trials_file import ReadOptions, read_trials
from clickmap_cli.runtime.progress import Silent
from tests.helpers.tables import Raw, read, write_table

WORDS = ["nan", "NA", "null", "NaN", "None", "<NA>", "N/A", "ann"]
KINDS = ["t.csv", "t.csv.gz", "t.csv.zst", "t.parquet", "t.npz"]


def notices_of(path) -> list[str]:
    progress = Silent()
    read_trials(path, ReadOptions(ImageShapes((99, 99))), lambda *_: None, progress)
    return progress.notices


@pytest.mark.parametrize("name", KINDS)
def test_words_in_the_column_are_ids(tmp_path, name) -> None:
    path = write_table(tmp_path / name, [Raw("a.png", word, [(1, 2)]) for word in WORDS])
    assert [user for _, user, _ in read(path).as_rows()] == WORDS
    (text,) = notices_of(path)
    assert text.startswith(
        "user_id: '<NA>', 'N/A', 'NA', 'NaN', 'None' and 2 more stand there as text"
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
