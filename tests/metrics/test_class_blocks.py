"""Blocks of participant and class, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.metrics.class_blocks import class_blocks

ITEMS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9)), max_size=25)


def said_of(items) -> np.ndarray:
    """(n, 3) probabilities of numbers from 0 to 9."""
    raw = np.array([[1 + k, 2, 11 - k] for *_, k in items], dtype=float).reshape(-1, 3)
    return raw / 13 - 1 / 39


@settings(max_examples=200, deadline=None)
@given(ITEMS)
def test_blocks_are_means_over_a_participants_items_of_a_class(items) -> None:
    said = said_of(items)
    groups, labels = (np.array([item[at] for item in items], dtype=np.int64) for at in range(2))
    found = class_blocks(said, labels, groups)
    pairs = sorted({(group, label) for group, label, _ in items})
    assert list(zip(found.group.tolist(), found.label.tolist(), strict=True)) == pairs
    confusions = np.zeros((4, 3, 3), dtype=int)
    for at, pair in enumerate(pairs):
        mine = [p for p, item in zip(said.tolist(), items, strict=True) if item[:2] == pair]
        means = [sum(column) / len(mine) for column in zip(*mine, strict=True)]
        assert found.count[at] == len(mine)
        assert found.probabilities[at] == pytest.approx(means)
        confusions[pair[0], pair[1], int(found.predicted[at])] += 1
    assert (found.confusions(4) == confusions).all()


def test_of_equal_means_the_first_class_is_taken() -> None:
    found = class_blocks(np.array([[0.5, 0.5]]), np.array([1]), np.array([0]))
    assert found.predicted.tolist() == [0]


@pytest.mark.parametrize(
    ("labels", "groups", "says"),
    [([0], [0, 0], "1 labels"), ([0, 1], [0], "1 participants"), ([0, 2], [0, 0], "outside 0 to 1"),
     ([-1, 0], [0, 0], "outside 0 to 1")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(labels, groups, says) -> None:
    with pytest.raises(ValueError, match=says):
        class_blocks(np.full((2, 2), 0.5), np.array(labels), np.array(groups))
