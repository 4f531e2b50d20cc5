"""Key points that a config names."""

from __future__ import annotations

import pytest

from clickmap_cli.datasets.keypoint_settings import reference_points, swapped_pairs
from clickmap_cli.runtime.errors import ConfigError

NAMES = ("nose", "eye top", "eye bottom", "0")


def test_reference_points_by_name_number_and_default() -> None:
    assert reference_points(NAMES, None) == (1, 2)
    assert reference_points(("Eye_Bottom", "x", "eye-top"), None) == (2, 0)
    assert reference_points(NAMES, ["nose", "eye top"]) == (0, 1)
    assert reference_points(NAMES, [3, 0]) == (3, 0)
    assert reference_points(NAMES, ["0", 0]) == (3, 0)  # a name that looks like a number


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([0, 4], "4 is out of range; the 4 key points are counted from 0 to 3"),
        ([-1, 0], "-1 is out of range"),
        (["nose", "eye topp"], "no key point 'eye topp'. Did you mean 'eye top'"),
        (["nose", True], "no key point 'True'"),
        ([1, 1], "both are 'eye top'"),
        (["eye top", 1], "both are 'eye top'"),
        ([1], "expected two"),
        ("nose", "expected two"),
        ([0, 1, 2], "expected two"),
    ],
)
def test_reference_points_that_are_none(given, what) -> None:
    with pytest.raises(ConfigError, match=what):
        reference_points(NAMES, given)


def test_no_default_without_an_eye() -> None:
    with pytest.raises(ConfigError, match=r"reference_points must be set.*Known: a, eye top"):
        reference_points(("a", "eye top"), None)


def test_pairs() -> None:
    assert swapped_pairs(NAMES, []) == ()
    assert swapped_pairs(NAMES, [["0", "nose"], [1, "eye bottom"]]) == ((3, 0), (1, 2))
    for given, what in (
        ([["nose"]], "expected pairs"),
        (["nose"], "expected pairs"),
        ([["nose", "nose"]], "'nose' stands twice"),
        ([["nose", "0"], ["eye top", 0]], "'nose' stands twice"),
        ([["nose", "tail"]], "no key point 'tail'"),
    ):
        with pytest.raises(ConfigError, match=rf"augment\.pairs: .*{what}"):
            swapped_pairs(NAMES, given)
