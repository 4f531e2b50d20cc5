"""Statistics of maps against plain loops, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clickmap_cli.metrics.map_statistics import NAMES, map_statistics, statistics_vector

MAPS = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-9, 9).map(float))
)


def plain(values) -> list[float]:
    """The definitions, pixel by pixel."""
    pixels = [(x, y, float(v)) for y, row in enumerate(values) for x, v in enumerate(row)]
    least, most = min(v for *_, v in pixels), max(v for *_, v in pixels)
    flat = least == most
    mass = [1.0 if flat else v - least for *_, v in pixels]
    p = [m / sum(mass) for m in mass]
    covered = 0 if flat else sum(v - least >= (most - least) / 2 for *_, v in pixels)
    cx = sum(q * x for q, (x, _, _) in zip(p, pixels, strict=True))
    cy = sum(q * y for q, (_, y, _) in zip(p, pixels, strict=True))
    away = sum(q * ((x - cx) ** 2 + (y - cy) ** 2) for q, (x, y, _) in zip(p, pixels, strict=True))
    entropy = -sum(q * math.log(q) for q in p if q > 0)
    return [covered / len(pixels), entropy, cx, cy, math.sqrt(away)]


@settings(max_examples=80, deadline=None)
@given(MAPS)
def test_statistics_equal_their_definitions(values) -> None:
    assert NAMES == ("coverage", "entropy", "centroid_x", "centroid_y", "dispersion")
    np.testing.assert_allclose(statistics_vector(values), plain(values), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(MAPS, st.sampled_from([0.25, 1.0, 8.0]), st.sampled_from([-4.0, 0.0, 64.0]))
def test_scale_and_shift_of_the_values_change_nothing(values, scale, shift) -> None:
    np.testing.assert_allclose(
        statistics_vector(values * scale + shift), statistics_vector(values), atol=1e-12
    )


def test_a_single_pixel_and_a_constant_map() -> None:
    spot = np.zeros((3, 4))
    spot[2, 1] = 5
    found = map_statistics(spot)
    assert (found.coverage, found.entropy) == (1 / 12, 0)
    assert (found.centroid_x, found.centroid_y, found.dispersion) == (1, 2, 0)
    flat = map_statistics(np.full((3, 4), 7.0))
    assert flat.coverage == 0
    assert flat.entropy == pytest.approx(math.log(12))
    assert (flat.centroid_x, flat.centroid_y) == pytest.approx((1.5, 1.0))


def test_a_gaussian_has_the_numbers_of_its_formulas() -> None:
    y, x = np.mgrid[0:81, 0:81]
    blob = np.exp(-((x - 30) ** 2 + (y - 45) ** 2) / (2 * 5.0**2))
    found = map_statistics(blob)
    assert (found.centroid_x, found.centroid_y) == pytest.approx((30, 45), abs=1e-6)
    assert found.dispersion == pytest.approx(5 * math.sqrt(2), rel=1e-4)
    assert found.entropy == pytest.approx(math.log(2 * math.pi * math.e * 25), rel=1e-4)
    assert found.coverage * 81**2 == pytest.approx(2 * math.pi * 25 * math.log(2), rel=0.02)


def test_colours_are_averaged_and_what_is_no_map_is_refused() -> None:
    rgb = np.random.default_rng(0).random((4, 5, 3))
    np.testing.assert_array_equal(statistics_vector(rgb), statistics_vector(rgb.mean(axis=2)))
    extremes = np.array([[-1.7e308, 1.7e308], [0, 5e-324]])
    assert np.isfinite(statistics_vector(extremes)).all()
    assert np.isfinite(statistics_vector(np.array([[0, 5e-324]]))).all()
    for bad in (np.zeros((0, 3)), np.zeros(3), np.array([[math.nan, 1]])):
        with pytest.raises(ValueError, match="statistics of a map"):
            map_statistics(bad)
