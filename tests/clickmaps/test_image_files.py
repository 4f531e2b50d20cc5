from __future__ import annotations

import math

import numpy as np
import pytest

from clickmap_cli.clickmaps.image_files import intersection_over_union


def test_hand_counted() -> None:
    a = np.array([[1, 1, 0, 0]]) > 0
    b = np.array([[0, 1, 1, 1]]) > 0
    assert intersection_over_union(a, b) == 1 / 4
    assert intersection_over_union(a, a) == 1
    assert intersection_over_union(a, ~a) == 0
    assert math.isnan(intersection_over_union(a & ~a, a & ~a))
    with pytest.raises(ValueError, match="unequal shapes"):
        intersection_over_union(a, b.T)
