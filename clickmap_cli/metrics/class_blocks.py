"""Blocks of one participant's items of one class, predicted as a whole: averaging reduces noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassBlocks:
    """One block for every combination of participant and class that has items.

    All items of a block share one class, but which class is not known to the prediction. Predicting
    a block therefore uses more information than predicting a single item, and its scores apply only
    where items come in such blocks.

    Attributes:
        group: (blocks) code of the participant.
        label: (blocks) code of the class.
        count: (blocks) items.
        probabilities: (blocks, classes) means over the items.
    """

    group: NDArray[np.int64]
    label: NDArray[np.int64]
    count: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(blocks) class with the highest mean probability; the first one if several are equal."""
        codes: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return codes

    def confusions(self, n_groups: int) -> NDArray[np.int64]:
        """Count blocks: (groups, classes, classes); rows are true classes, columns predicted."""
        n_classes = self.probabilities.shape[1]
        found = np.zeros((n_groups, n_classes, n_classes), dtype=np.int64)
        np.add.at(found, (self.group, self.label, self.predicted), 1)
        return found


def class_blocks(
    probabilities: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any]
) -> ClassBlocks:
    """Group items into blocks, sorted by participant, then class.

    Args:
        probabilities: (n, classes) of the items.
        labels: (n) codes of their classes, from 0.
        groups: (n) codes of their participants, from 0.

    Raises:
        ValueError: the lengths differ, or a label is outside 0 to classes - 1.

    >>> said = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    >>> class_blocks(said, np.array([0, 0, 1]), np.array([0, 0, 0])).probabilities.tolist()
    [[0.55, 0.45], [0.4, 0.6]]
    """
    values = np.asarray(probabilities, dtype=np.float64)
    n, n_classes = values.shape
    if len(labels) != n or len(groups) != n:
        raise ValueError(f"{n} probabilities, {len(labels)} labels, {len(groups)} participants")
    if n and not 0 <= labels.min() <= labels.max() < n_classes:
        raise ValueError(f"a class outside 0 to {n_classes - 1}")
    code, block, count = np.unique(
        groups.astype(np.int64) * n_classes + labels, return_inverse=True, return_counts=True
    )
    sums = [np.bincount(block, values[:, at], minlength=len(code)) for at in range(n_classes)]
    means = np.stack(sums, axis=1) / count[:, None]
    return ClassBlocks(code // n_classes, code % n_classes, count, means)
