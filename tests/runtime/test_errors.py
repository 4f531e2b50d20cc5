from __future__ import annotations

import pickle

import pytest

from clickmap_cli.runtime.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    did_you_mean,
    escape_controls,
    readable_size,
)


def test_suggestions() -> None:
    assert did_you_mean("blur_sise", ["blur_size", "x"]) == "Did you mean 'blur_size'?"
    assert did_you_mean("qqq", ["b", "a"]) == "Known: a, b."
    assert did_you_mean("Blur_Size", ["blur_size", "x"]) == "Did you mean 'blur_size'?"
    deep = ["deepgaze_iie", "deepgaze_iii", "deepgaze_v3", "uniform"]
    wanted = "Did you mean 'deepgaze_iie', 'deepgaze_iii' or 'deepgaze_v3'?"
    assert did_you_mean("deepgaze", deep) == wanted
    assert did_you_mean("de", deep).startswith("Known: ")
    assert did_you_mean("", ["a"]) == "Known: a."


def test_errors_survive_the_way_from_a_worker() -> None:
    for error in (ConfigError("a"), MissingExtraError("emd", "the metric 'emd'")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_texts_of_strangers_give_a_terminal_no_orders() -> None:
    assert escape_controls("plain é 猫 text") == "plain é 猫 text"
    assert escape_controls("\x1b[31mred\x07\ud800\u202e\r") == r"\x1b[31mred\x07\ud800\u202e\r"
    assert escape_controls("two\nlines") == "two\nlines"
    error = DataError("the image '\x1b]0;title\x07' is missing")
    assert str(error) == r"the image '\x1b]0;title\x07' is missing"
    assert str(DataError()) == ""


@pytest.mark.parametrize(
    ("n", "near", "up"),
    [
        (0, "0 bytes", "0 bytes"), (999, "999 bytes", "999 bytes"), (1001, "1 kB", "2 kB"),
        (39_000_000, "39 MB", "39 MB"), (1_200_001, "1 MB", "2 MB"),
        (1_010_000_000, "1.0 GB", "1.1 GB"), (2.5e12, "2.5 TB", "2.5 TB"),
    ],
)  # fmt: skip
def test_room_that_is_needed_is_rounded_up(n, near, up) -> None:
    assert (readable_size(n), readable_size(n, up=True)) == (near, up)
