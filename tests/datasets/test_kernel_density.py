from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.datasets import kernel_density as module
from clickmap_cli.datasets.kernel_density import blurred, gaussian_at, kernel_density
from tests.datasets.scenes import gaussian_sum


@st.composite
def scenes(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    n = draw(st.integers(0, 60))  # few points take one way of computing, many the other
    rows = draw(st.lists(st.integers(0, height - 1), min_size=n, max_size=n))
    columns = draw(st.lists(st.integers(0, width - 1), min_size=n, max_size=n))
    sigma = draw(st.floats(0.3, 30))
    return np.array(columns, dtype=np.int64), np.array(rows, dtype=np.int64), (height, width), sigma


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_equals_the_sum_of_exponentials(scene) -> None:
    columns, rows, size, sigma = scene
    wanted = gaussian_sum(columns, rows, size, sigma)
    np.testing.assert_allclose(kernel_density(*scene), wanted, rtol=1e-12, atol=1e-300)
    counts = np.zeros(size, dtype=int)
    np.add.at(counts, (rows, columns), 1)
    np.testing.assert_allclose(blurred(counts, sigma), wanted, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("n", "whole"), [(0, False), (3, False), (500, True)])
def test_both_ways_of_computing_are_tested_and_agree(monkeypatch, n, whole) -> None:
    """Many points go through a map of counts, few do not."""
    asked = []
    monkeypatch.setattr(module, "blurred", lambda *given: asked.append(1) or blurred(*given))
    rng = np.random.default_rng(n)
    size = (13, 21)
    columns, rows = rng.integers(0, 21, n), rng.integers(0, 13, n)
    found = kernel_density(columns, rows, size, 2.5)
    assert bool(asked) is whole
    np.testing.assert_allclose(found, gaussian_sum(columns, rows, size, 2.5), rtol=1e-12)
    assert found.shape == size
    assert found.dtype == np.float64


def test_one_point_is_one_at_its_centre_and_nothing_is_cut_off() -> None:
    found = kernel_density(np.array([0]), np.array([0]), (40, 400), 20.0)
    assert found[0, 0] == 1
    assert found[0, 399] == pytest.approx(np.exp(-(399**2) / 800), rel=1e-12)
    assert found[0, 399] > 0
    twice = kernel_density(np.array([0, 0]), np.array([0, 0]), (40, 400), 20.0)
    np.testing.assert_allclose(twice, 2 * found)


def test_a_gaussian() -> None:
    np.testing.assert_allclose(gaussian_at([0, 3, -3], 3.0), [1, np.exp(-0.5), np.exp(-0.5)])
