"""Maps as pixels, each by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import colormaps
from scipy.stats import rankdata

from clickmap_cli.reports.overlays import (
    blend,
    colour_map,
    cover,
    overlay_map,
    palette,
    placeholder,
    scale_map,
    to_bytes,
)
from clickmap_cli.runtime.errors import ConfigError

SCALES = ("max", "sum", "none", "rank", "minmax")


def plainly_shown(values: np.ndarray, normalize: str) -> np.ndarray:
    """The documented scales, value by value, in double precision."""
    out = np.zeros(values.shape)
    known = [float(v) for v in values.ravel() if np.isfinite(v)]
    above = [max(v, 0.0) for v in known]
    ranks = iter(rankdata(np.array(known, dtype=np.float32))) if known else iter(())
    for place, value in np.ndenumerate(values):
        v = float(value)
        if not np.isfinite(v):
            continue
        if normalize == "max":
            out[place] = v / max(known) if max(known) > 0 else 0
        elif normalize == "sum":
            mean = sum(above) / len(above)
            out[place] = v / mean / 50 if mean > 0 else 0
        elif normalize == "none":
            out[place] = v
        elif normalize == "minmax":
            low, high = min(known), max(known)
            out[place] = (v - low) / (high - low) if high > low else 0
        else:
            out[place] = next(ranks) / len(known)
    return np.clip(out, 0, 1)


VALUES = st.floats(-1e6, 1e6, width=32) | st.sampled_from(
    [0.0, 0.5, 1.0, -1.0, np.nan, np.inf, -np.inf]
)


@settings(deadline=None, max_examples=150)
@given(arrays(np.float32, (3, 4), elements=VALUES), st.sampled_from(SCALES))
def test_scales_of_any_map(values, normalize) -> None:
    found = scale_map(values, normalize)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(found, plainly_shown(values, normalize), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([[-2, -1]], {"max": [0, 0], "sum": [0, 0], "none": [0, 0], "rank": [0.5, 1]}),
        ([[0, 0]], {"max": [0, 0], "sum": [0, 0], "none": [0, 0], "rank": [0.75, 0.75]}),
        ([[3, 3]], {"max": [1, 1], "sum": [0.02, 0.02], "none": [1, 1], "rank": [0.75, 0.75]}),
        ([[np.nan, 2]], {"max": [0, 1], "sum": [0, 0.02], "none": [0, 1], "rank": [0, 1]}),
        ([[np.nan, np.nan]], {name: [0, 0] for name in SCALES}),
        ([[np.inf, 0.25]], {"max": [0, 1], "none": [0, 0.25], "rank": [0, 1]}),
    ],
)
def test_negative_constant_and_unknown_values(values, wanted) -> None:
    for normalize, row in wanted.items():
        np.testing.assert_allclose(scale_map(np.array(values, float), normalize), [row], rtol=1e-6)


def test_a_top_that_maps_share() -> None:
    heat = np.array([[1.0, 2.0, 4.0, 5.0]])  # its mean is 3
    np.testing.assert_allclose(scale_map(heat, "max", 4), [[0.25, 0.5, 1, 1]])
    np.testing.assert_allclose(scale_map(heat, "sum", 2), [[1 / 6, 1 / 3, 2 / 3, 5 / 6]], rtol=1e-6)
    np.testing.assert_array_equal(scale_map(heat, "max", 0), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="no scale 'log'"):
        scale_map(heat, "log")


def test_huge_values_overflow_nowhere() -> None:
    heat = np.array([[1e308, 5e307, -1e308, 0]])
    for normalize in SCALES:
        found = scale_map(heat, normalize)
        assert np.isfinite(found).all()
        assert found.argmax() == 0


def test_colours_are_matplotlibs() -> None:
    heat = np.linspace(0, 1, 501).reshape(3, 167)
    for name in ("viridis", "inferno", "jet"):
        wanted = np.rint(colormaps[name](heat)[..., :3] * 255)
        np.testing.assert_array_equal(colour_map(heat, name), wanted)
        np.testing.assert_array_equal(
            palette(name), np.rint(colormaps[name](range(256))[:, :3] * 255)
        )
    with pytest.raises(ConfigError, match="--colormap: there is no colour map 'infernal'"):
        palette("infernal", "--colormap")


IMAGES = arrays(np.uint8, (3, 4, 3))
HEATS = arrays(np.float32, (3, 4), elements=st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32))


@settings(deadline=None)
@given(IMAGES, IMAGES, HEATS)
def test_alpha_0_is_the_image_and_1_the_heat_exactly(image, colours, heat) -> None:
    for zero, one in ((0, 1), (0.0, 1.0), (np.zeros((3, 4)), np.ones((3, 4)))):
        np.testing.assert_array_equal(blend(image, colours, zero), image)
        np.testing.assert_array_equal(blend(image, colours, one), colours)
    np.testing.assert_array_equal(overlay_map(image, heat, "viridis", 0), image)
    np.testing.assert_array_equal(
        overlay_map(image, heat, "viridis", 1), colour_map(heat, "viridis")
    )


@settings(deadline=None)
@given(HEATS, st.floats(0, 1), st.floats(0, 1))
def test_cover_grows_with_heat_and_alpha(heat, first, second) -> None:
    low, high = sorted((first, second))
    less, more = cover(heat, low), cover(heat, high)
    assert np.all(less <= more + 1e-12)
    assert np.all(less <= low)
    order = np.argsort(heat.ravel(), kind="stable")
    assert np.all(np.diff(more.ravel()[order]) >= 0)
    if low <= 0.75:  # the documented root
        np.testing.assert_allclose(less, low * np.sqrt(heat.astype(np.float64)), rtol=1e-12)


def test_half_and_half() -> None:
    image = np.array([[[0, 100, 255], [10, 20, 30]]], np.uint8)
    colours = np.array([[[255, 0, 255], [10, 40, 31]]], np.uint8)
    wanted = np.rint(image * 0.75 + colours * 0.25)
    np.testing.assert_array_equal(blend(image, colours, 0.25), wanted)


@pytest.mark.parametrize("alpha", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("normalize", ["max", "sum", "rank", "none"])
def test_the_overlay_is_brightest_where_the_map_is_greatest(alpha, normalize) -> None:
    rng = np.random.default_rng(1)
    heat = rng.random((9, 11)) * 0.5
    heat[6, 3] = 0.9
    black = np.zeros((9, 11, 3), np.uint8)
    pixels = overlay_map(black, scale_map(heat, normalize), "inferno", alpha)
    light = pixels.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.unravel_index(light.argmax(), light.shape) == (6, 3)


def test_bytes_and_placeholders() -> None:
    found = to_bytes(np.array([-1, 0, 0.5, 1, 2, np.nan]))
    np.testing.assert_array_equal(found, [0, 0, 128, 255, 255, 0])
    empty = placeholder(2, 5)
    assert empty.shape == (2, 5, 3)
    assert len(np.unique(empty.reshape(-1, 3), axis=0)) == 1
