"""EMD against a linear programme, on small maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

pytest.importorskip("ot", reason="the extra 'emd' is not installed")

from clickmap_cli.metrics.emd import earth_movers_distance


def by_linear_programme(p: np.ndarray, q: np.ndarray) -> float:
    h, w = p.shape
    at = np.stack(np.mgrid[0:h, 0:w], -1).reshape(-1, 2)
    cost = np.linalg.norm(at[:, None] - at, axis=-1) / np.hypot(h, w)
    n = h * w
    rows = np.kron(np.eye(n), np.ones(n))
    columns = np.kron(np.ones(n), np.eye(n))
    mass = np.concatenate([p.ravel() / p.sum(), q.ravel() / q.sum()])
    return linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=mass).fun


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_linear_programme(seed) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.random((2, 3, 4))
    assert earth_movers_distance(p, q) == pytest.approx(by_linear_programme(p, q), abs=1e-9)


def test_one_point_moved_across_a_large_image() -> None:
    p, q = np.zeros((2, 64, 96))
    p[0, 0] = q[63, 95] = 1
    # blocks of 2 x 3 pixels; their centres are 62 rows and 93 columns apart
    assert earth_movers_distance(p, q) == pytest.approx(np.hypot(62, 93) / np.hypot(64, 96))
    assert earth_movers_distance(p, p) == 0
