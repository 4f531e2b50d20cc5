"""Evidence that an array is not what it is said to be: every number by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clickmap_cli.datasets.plausible_maps import (
    log_density_words,
    nothing_left_words,
    oddities,
    transposed_words,
)

SIZE = (20, 30)


def blob(size=SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.exp(-((rows - 8) ** 2 + (columns - 20) ** 2) / 30) + 1e-3


@settings(deadline=None)
@given(arrays(np.float64, (4, 5), elements=st.floats(-30, 30)))
def test_every_log_density_is_found(values) -> None:
    density = np.exp(values) / np.exp(values).sum()
    logarithm = np.log(density)
    if logarithm.max() < 0:  # else one pixel has everything
        assert "exp of them sums to 1)" in log_density_words(logarithm)
    assert log_density_words(density) is None
    assert log_density_words(logarithm + 1) is None  # sums to 2.7


def test_zeros_of_a_density_do_not_hide_its_logarithm() -> None:
    density = blob()
    density[:5] = 0
    with np.errstate(divide="ignore"):
        assert log_density_words(np.log(density / density.sum())) is not None
    assert log_density_words(np.full(SIZE, -np.inf)) is None
    assert log_density_words(np.full(SIZE, np.nan)) is None
    assert log_density_words(np.zeros(SIZE)) is None
    assert log_density_words(np.zeros((0, 3))) is None
    assert log_density_words(-blob()) is None


def test_nothing_left() -> None:
    assert nothing_left_words(np.zeros(SIZE)) is None
    assert nothing_left_words(blob()) is None
    assert "they go from -1 to -1" in nothing_left_words(-np.ones(SIZE))


@pytest.mark.parametrize(
    ("shape", "size", "found"),
    [
        ((30, 20), (20, 30), True), ((20, 30), (20, 30), False), ((20, 20), (20, 20), False),
        ((15, 10), (20, 30), False), ((10, 15), (20, 30), False),
    ],
)  # fmt: skip
def test_transposed(shape, size, found) -> None:
    assert (transposed_words(shape, size) is not None) == found


def test_a_sound_map_has_nothing_odd() -> None:
    density = blob() / blob().sum()
    for values, output in ((blob(), "map"), (density, "density"), (np.log(density), "log_density")):
        for dtype in (np.float32, np.float64):
            assert oddities(values.astype(dtype), output, True, SIZE) == {}
    logarithm = np.log(density)
    logarithm[0, 0] = -np.inf
    assert oddities(logarithm, "log_density", True, SIZE) == {}


def test_the_share_below_zero_is_counted_where_it_is_clipped() -> None:
    values = blob()
    values[:4] = -0.5
    assert oddities(values, "map", True, SIZE) == {"below_zero": 0.2}
    assert oddities(values, "map", False, SIZE) == {}
    values[:4] = -1e-9  # of a blur by Fourier transforms
    assert oddities(values, "map", True, SIZE) == {}


@pytest.mark.parametrize("output", ["map", "density", "log_density"])
def test_constants(output) -> None:
    size = (2, 4)
    value = {"map": 7.0, "density": 1 / 8, "log_density": np.log(1 / 8)}[output]
    noise = np.random.default_rng(0).normal(0, 1e-8, size)
    for values in (np.full(size, value), np.full(size, value) + noise):
        found = oddities(values, output, True, size)
        assert found == {"constant": pytest.approx(value)}
    assert oddities(np.zeros(size), "map", True, size) == {"constant": 0}
    assert oddities(np.ones(size, bool), "map", True, size) == {"constant": 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_few_levels(dtype) -> None:
    mask = (blob() > 0.5).astype(dtype)
    assert oddities(mask, "map", True, SIZE) == {"levels": 2}
    assert oddities((blob() > 0.5).astype(dtype), "map", True, (40, 60)) == {"levels": 2}
    if dtype is not bool:
        steps = np.floor(np.linspace(0, 14.999, 600)).reshape(SIZE).astype(dtype)
        assert oddities(steps, "map", True, SIZE) == {"levels": 15}
        steps = np.floor(np.linspace(0, 15.999, 600)).reshape(SIZE).astype(dtype)
        assert oddities(steps, "map", True, SIZE) == {}
    assert oddities(np.eye(14), "map", True, (14, 14)) == {}  # few pixels, which are resized


def test_levels_that_a_sample_of_a_large_map_misses() -> None:
    values = np.zeros((1000, 1000))
    values.reshape(-1)[np.arange(40) * 24_001 + 1] = np.arange(40)
    assert oddities(values, "map", True, (1000, 1000)) == {}


def test_a_density_that_does_not_sum_to_1() -> None:
    values = blob()
    total = values.sum()
    assert oddities(values, "density", True, SIZE) == {"sum": pytest.approx(total)}
    assert oddities(np.log(values), "log_density", True, SIZE) == {"sum": pytest.approx(total)}
    assert oddities(values, "density", True, (40, 60)) == {}  # is scaled with its size
    far = oddities(np.log(values) + 2000, "log_density", True, SIZE)
    assert np.isfinite(far["sum"])
    assert far["sum"] > 1e300
    assert oddities(np.log(values) - 2000, "log_density", True, SIZE)["sum"] == 0
