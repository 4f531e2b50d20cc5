"""Lists of good and bad participants, and every way to get them wrong."""

from __future__ import annotations

import numpy as np
import pytest

from clickmap_cli.clickmaps.user_lists import BAD, GOOD, UNLISTED, known_users, read_users
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.helpers.studies import trials_of


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
        ([["u"]], "no user id"),
    ],
)
def test_what_is_no_list(value, says) -> None:
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
    known = known_users(table(), ["z", "y"], ["w"])
    assert known.labels.tolist() == [BAD, UNLISTED, UNLISTED, GOOD]
    assert known.idle == ("y",)


def test_contradictions_are_said() -> None:
    with pytest.raises(ConfigError, match="both list 'w'"):
        known_users(table(), ["z", "w"], ["w"])
    with pytest.raises(
        ConfigError, match=r"bad_users lists 'q', who is not in the data \(it has 4"
    ):
        known_users(table(), ["z"], ["w", "q"])
    with pytest.raises(ConfigError, match="'a', 'b', 'c' and 2 more, who are not"):
        known_users(table(), list("abcde"), ["w"])
