"""From what a model returns to what is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.models import base

SHAPES = [(5, 7), (9, 4), (5, 4), (1, 1), (20, 30)]


def finished(values, output, size, postprocess) -> np.ndarray:
    """A prediction of a whole image, resized to `size`."""
    return base.finish_prediction(values, output, Geometry(values.shape, size, None), postprocess)


def interpolated(values, size) -> np.ndarray:
    planes = torch.tensor(np.asarray(values, dtype=np.float64))[None, None]
    return torch.nn.functional.interpolate(
        planes, size=size, mode="bilinear", antialias=True
    )[0, 0].numpy()  # fmt: skip


def sample(shape=(8, 11), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("size", [(8, 11), *SHAPES])
@pytest.mark.parametrize("scale", [1.0, 1e-60, 1e60, 3e38, 1e-44])
def test_a_map_is_clipped_resized_and_scaled_to_one(size, scale) -> None:
    values = sample()
    found = finished(values * scale, "map", size, True)
    wanted = interpolated(np.maximum(values, 0), size)
    assert found.dtype == np.float32
    assert found.shape == size
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-5, atol=1e-9)
    assert found.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [(8, 11), *SHAPES])
def test_a_map_as_it_is(size) -> None:
    values = sample()
    found = finished(values, "map", size, False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, interpolated(values, size), rtol=1e-5, atol=1e-6)
    assert size in ((1, 1), (5, 4)) or found.min() < 0  # not clipped


@pytest.mark.parametrize("postprocess", [True, False])
@pytest.mark.parametrize("size", [(8, 11), *SHAPES])
def test_densities(size, postprocess) -> None:
    density = np.exp(sample())
    density /= density.sum()
    if size == (8, 11):  # left alone
        wanted = density
    else:
        wanted = interpolated(density, size)
        wanted /= wanted.sum()
    found = finished(density, "density", size, postprocess)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    found = finished(np.log(density), "log_density", size, postprocess)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.log(wanted), rtol=1e-5)


def test_a_log_density_may_be_minus_infinity_and_far_below_what_a_density_can_hold() -> None:
    values = np.full((6, 6), -2000.0)
    values[2, 2], values[5, 5] = -1999.0, -np.inf
    np.testing.assert_array_equal(
        finished(values, "log_density", (6, 6), True), values.astype(np.float32)
    )
    found = finished(values, "log_density", (12, 12), True)
    wanted = interpolated(np.exp(values + 1999), (12, 12))
    wanted /= wanted.sum()
    assert wanted.min() == 0
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found, np.log(wanted), rtol=1e-5)
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1)


@pytest.mark.parametrize("size", [(3, 4), (6, 8)])
def test_zeros_stay_zeros(size) -> None:
    found = finished(np.zeros((3, 4)), "map", size, True)
    np.testing.assert_array_equal(found, np.zeros(size, dtype=np.float32))
    assert not finished(np.zeros((3, 4)), "density", size, True).any()


@pytest.mark.parametrize("size", [(3, 4), (6, 8)])
def test_a_map_that_clipping_would_leave_nothing_of_is_an_error(size) -> None:
    values = -np.arange(12.0).reshape(3, 4)
    with pytest.raises(ValueError, match=r"no value is above 0 \(they go from -11 to 0\), so that"):
        finished(values, "map", size, True)
    assert finished(values, "map", size, False).min() < 0


@pytest.mark.parametrize("postprocess", [True, False])
@pytest.mark.parametrize(
    ("base", "words"),
    [
        (np.e, "a log density (all values are negative, and exp of them sums to 1); set output"),
        (2, "to base 2 (all values are negative, and 2 to the power of them sums to 1); multiply"),
        (10, "10 to the power of them sums to 1); multiply it by ln 10 = 2.3026 and set output"),
    ],
)
def test_a_log_density_that_is_called_a_map_is_an_error(base, words, postprocess) -> None:
    density = np.exp(sample())
    values = np.log(density / density.sum()) / np.log(base)
    for dtype in (np.float16, np.float32):
        with pytest.raises(ValueError, match=r"looks like a log density"):
            finished(values.astype(dtype), "map", (8, 11), postprocess)
    with pytest.raises(ValueError, match=r"looks like") as caught:
        finished(values, "map", (8, 11), postprocess)
    assert words in str(caught.value)
    if base == np.e:
        finished(values, "log_density", (8, 11), postprocess)
        with pytest.raises(ValueError, match="set output: log_density"):
            finished(values, "density", (8, 11), postprocess)


@pytest.mark.parametrize("output", ["map", "density", "log_density"])
@pytest.mark.parametrize("size", [(3, 4), (6, 8)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_errors(output, size, bad) -> None:
    values = np.full((3, 4), 1 / 12)
    values[1, :2] = bad
    with pytest.raises(ValueError, match="holds 2 NaN or infinite values"):
        finished(values, output, size, True)


@pytest.mark.parametrize("size", [(3, 4), (6, 8)])
def test_minus_infinity_is_an_error_where_it_is_not_a_logarithm(size) -> None:
    values = np.full((3, 4), -np.inf)
    for output in ("map", "density"):
        with pytest.raises(ValueError, match="holds 12 NaN or infinite"):
            finished(values, output, size, True)
    with pytest.raises(ValueError, match="-inf everywhere"):
        finished(values, "log_density", size, True)


def test_what_is_not_a_map_is_an_error() -> None:
    with pytest.raises(ValueError, match="declared a density and holds negative"):
        finished(np.array([[1.5, -0.5]]), "density", (1, 2), True)
    with pytest.raises(ValueError, match=r"values beyond 3\.4"):
        finished(np.array([[1e39, 0]]), "map", (1, 2), False)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float16, np.float32])
def test_numbers_of_any_type(dtype) -> None:
    values = np.array([[0, 1], [1, 1]], dtype=dtype)
    np.testing.assert_allclose(
        finished(values, "map", (2, 2), True), values.astype(float) / 3, rtol=1e-6
    )
    np.testing.assert_allclose(finished(values, "map", (2, 2), False), values.astype(float))


@settings(max_examples=150, deadline=None)
@given(
    arrays(
        st.sampled_from([np.float64, np.float32]), array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.booleans(),
)  # fmt: skip
def test_what_is_finished_stays_so(values, size, postprocess) -> None:
    assume(values.max() >= 0 and (values.max() > 0 or not values.any()))  # else see above
    once = finished(values, "map", size, postprocess)
    again = finished(once, "map", size, postprocess)
    assert once.shape == size
    assert np.all(np.isfinite(once))
    np.testing.assert_allclose(again, once, rtol=1e-6, atol=1e-30)
    if postprocess:
        assert once.min() >= 0
        assert once.sum(dtype=np.float64) == pytest.approx(1 if values.max() > 0 else 0, abs=1e-6)


def test_the_models_array_is_not_written_to() -> None:
    values = sample().astype(np.float32)
    before = values.copy()
    for output in ("map", "density"):
        finished(np.abs(values) if output == "density" else values, output, (8, 11), True)
        finished(values, "map", (4, 4), True)
    np.testing.assert_array_equal(values, before)
