"""How densely others clicked near a click, against a plain convolution of the others' clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from clickmap_cli.clickmaps import click_context
from clickmap_cli.clickmaps.click_context import density_of_others
from tests.helpers.studies import random_rows, trials_of

CELLS = 64
DISK = (np.hypot(*np.mgrid[-3:4, -3:4]) <= 3).astype(np.float64)
SPREAD = convolve2d(DISK, DISK)


def plain(trials, among=None) -> np.ndarray:
    """Click by click, by the definition."""
    uniform = convolve2d(np.ones((CELLS, CELLS)), SPREAD, mode="same")
    values = []
    for t in range(len(trials)):
        height, width = trials.shape[trials.image[t]]
        grid, n = np.zeros((CELLS, CELLS)), 0
        for other in range(len(trials)):
            same_image = trials.image[other] == trials.image[t]
            counts = among is None or among[trials.user[other]]
            if same_image and counts and trials.user[other] != trials.user[t]:
                for x, y in zip(*trials.clicks(other), strict=True):
                    grid[int(y) * CELLS // height, int(x) * CELLS // width] += 1
                    n += 1
        reached = convolve2d(grid, SPREAD, mode="same")
        for x, y in zip(*trials.clicks(t), strict=True):
            at = int(y) * CELLS // height, int(x) * CELLS // width
            if n == 0:
                values.append(np.nan)
                continue
            expected = n * uniform[at] / CELLS**2
            values.append(0.05 + 0.95 * (n * reached[at] / expected + 5) / (n + 5))
    return np.array(values)


def study(seed: int, images: int = 3, users: int = 4, shape=(48, 32)):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        for u in rng.integers(0, users, int(rng.integers(1, 6))):
            points = rng.integers(0, (shape[1], shape[0]), (int(rng.integers(0, 9)), 2))
            rows.append((f"{i}.png", f"u{u}", [tuple(map(int, p)) for p in points]))
    return trials_of(rows, shape=shape)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(48, 32), (32, 200), (1, 7)]))
def test_it_is_the_definition(seed, shape) -> None:
    trials = study(seed, shape=shape)
    np.testing.assert_allclose(density_of_others(trials), plain(trials), rtol=1e-12)
    among = np.random.default_rng(seed).random(len(trials.users)) < 0.6
    np.testing.assert_allclose(density_of_others(trials, among), plain(trials, among), rtol=1e-12)


def test_borders_and_corners_are_compared_with_uniform_clicks() -> None:
    corners = [(0, 0), (63, 0), (0, 63), (63, 63), (31, 0)]
    trials = trials_of([("a.png", "u", corners), ("a.png", "v", corners)], shape=(64, 64))
    np.testing.assert_allclose(density_of_others(trials), plain(trials), rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_pairs_the_grid_and_small_blocks_give_the_same_bits(seed) -> None:
    trials = study(seed)
    wanted = density_of_others(trials)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click_context, "_PAIRED", 3)
        np.testing.assert_array_equal(density_of_others(trials), wanted)
        patch.setattr(click_context, "_PAIRED", 1024)
        patch.setattr(click_context, "_BLOCK_PAIRS", 1)
        np.testing.assert_array_equal(density_of_others(trials), wanted)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_it_does_not_depend_on_the_order_of_trials(seed, shuffle) -> None:
    trials = study(seed)
    order = np.random.default_rng(shuffle).permutation(len(trials))
    moved = trials.select(order)
    wanted = density_of_others(trials)
    parts = [wanted[trials.offsets[t] : trials.offsets[t + 1]] for t in order]
    np.testing.assert_array_equal(density_of_others(moved), np.concatenate(parts))


def test_own_clicks_elsewhere_in_the_image_are_not_context() -> None:
    rows = random_rows(0, images=1, users=4)
    image, user, clicks = rows[0]
    alone = density_of_others(trials_of(rows))[: len(clicks)]
    again = density_of_others(trials_of([*rows, (image, user, [(3, 3)] * 50)]))[: len(clicks)]
    np.testing.assert_array_equal(alone, again)
    # but what others click there is
    other = density_of_others(trials_of([*rows, (image, "new", [clicks[0]] * 50)]))
    assert other[0] > alone[0]


def test_density_is_nan_without_others_and_1_for_uniform_others() -> None:
    rows = [("a.png", "u", [(1, 1)]), ("a.png", "u", [(2, 2)]), ("b.png", "v", [(1, 1)])]
    assert np.isnan(density_of_others(trials_of(rows))).all()
    everywhere = [(x, y) for x in range(64) for y in range(64)]
    flat = trials_of([("a.png", "u", everywhere), ("a.png", "v", [(0, 0), (31, 40)])], (64, 64))
    np.testing.assert_allclose(density_of_others(flat)[-2:], 1.0)


def test_a_table_without_clicks() -> None:
    assert len(density_of_others(trials_of([("a.png", "u", [])]))) == 0
