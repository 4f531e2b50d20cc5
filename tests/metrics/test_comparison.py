"""Two models on the same images: p-values by counting, corrections by the definition."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from clickmap_cli.metrics.comparison import DRAWS, compare_paired, holm, sign_flip_p


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def by_counting(tenths: list[int]) -> Fraction:
    """The share of all patterns of signs whose sum is as far from 0, in whole numbers."""
    observed = abs(sum(tenths))
    patterns = list(product((1, -1), repeat=len(tenths)))
    far = sum(
        abs(sum(s * d for s, d in zip(signs, tenths, strict=True))) >= observed
        for signs in patterns
    )
    return Fraction(far, len(patterns))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
@example([1, 2, -3])
@example([0, 0, 0])
@example([7])
@example([3] * 12)
@example([1, -2, 3, -4, 5, -6, 7, -8, 9, -1, 2, -3])
def test_p_of_few_pairs_is_the_count_of_all_signs(tenths) -> None:
    # tenths have no exact double: sums that are equal in truth differ in their last bits
    found = sign_flip_p(np.array(tenths) / 10, generator())
    assert found == float(by_counting(tenths))


@pytest.mark.parametrize("shift", [0, 1, 2, 4])
def test_p_of_more_pairs_is_near_the_count_of_all_signs(shift) -> None:
    tenths = (np.random.default_rng(3).integers(-9, 10, 14) + shift).tolist()
    wanted = float(by_counting(tenths))
    found = sign_flip_p(np.array(tenths) / 10, generator())
    spread = math.sqrt(wanted * (1 - wanted) / DRAWS)
    assert abs(found - wanted) <= 5 * spread + 1 / DRAWS


def test_p_is_never_0() -> None:
    assert sign_flip_p(np.ones(200), generator()) == 1 / (DRAWS + 1)
    assert sign_flip_p(np.zeros(200), generator()) == 1
    assert sign_flip_p(np.ones(12), generator()) == 2 / 2**12


@pytest.mark.parametrize("n", [12, 40])
def test_p_is_uniform_where_nothing_differs(n) -> None:
    rng = np.random.default_rng(5)
    # heavy tails, unequal spreads: the test needs only symmetry
    found = np.array([
        sign_flip_p(rng.standard_t(2, n) * np.arange(1, n + 1), rng) for _ in range(300)
    ])  # fmt: skip
    for level in (0.05, 0.2, 0.5, 0.8):
        spread = math.sqrt(level * (1 - level) / len(found))
        assert abs(np.mean(found <= level) - level) < 4 * spread


def test_p_is_near_the_t_tests_where_that_one_holds() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.normal(0.25, 1, 80), rng.normal(0, 1, 80)
    wanted = ttest_rel(first, second).pvalue
    assert 0.01 < wanted < 0.5
    assert sign_flip_p(first - second, generator()) == pytest.approx(wanted, rel=0.15)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 20))
def test_swapping_the_models_mirrors_the_difference(seed, n) -> None:
    first, second = np.random.default_rng(seed).normal(0.2, 1, (2, n))
    here, there = (compare_paired(a, b, generator()) for a, b in ((first, second), (second, first)))
    assert here.p == there.p
    assert here.n == there.n == n
    assert here.mean == pytest.approx(-there.mean, abs=1e-12)
    assert here.low == pytest.approx(-there.high, abs=1e-12)
    assert here.high == pytest.approx(-there.low, abs=1e-12)
    assert here.mean == pytest.approx(float(np.mean(first - second)), abs=1e-12)


def test_images_without_both_scores_are_left_out() -> None:
    first = np.array([0.5, np.nan, 0.7, 0.9, -np.inf])
    second = np.array([0.4, 0.3, np.nan, 0.5, -np.inf])
    found = compare_paired(first, second, generator())
    assert found == compare_paired(first[[0, 3]], second[[0, 3]], generator())
    assert found.n == 2
    assert found.mean == pytest.approx(0.25)
    nothing = compare_paired(np.array([np.nan]), np.array([1.0]), generator())
    assert nothing.n == 0
    assert all(math.isnan(v) for v in (nothing.mean, nothing.low, nothing.high, nothing.p))


def test_a_model_against_itself() -> None:
    scores = np.random.default_rng(1).random(30)
    found = compare_paired(scores, scores, generator())
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_interval_covers_the_true_difference() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        image = rng.normal(0, 3, 60)  # what both models share cancels
        found = compare_paired(
            image + rng.normal(0.3, 1, 60), image + rng.normal(0, 1, 60), np.random.default_rng(0)
        )
        covered += found.low <= 0.3 <= found.high
        assert found.high - found.low < 1.2
    assert 180 <= covered <= 198


def by_holms_words(p_values: list[float]) -> list[float]:
    """Smallest p times n, the next times n - 1, ...; never less than one before, at most 1."""
    known = sorted((p, at) for at, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for before, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - before)))
        corrected[at] = highest
    return corrected


probabilities = st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.05, 1.0, math.nan]))


@settings(max_examples=300, deadline=None)
@given(st.lists(probabilities, max_size=12))
@example([])
@example([math.nan])
@example([0.01, 0.01, 0.01])
def test_holm_equals_its_definition(p_values) -> None:
    given_ = np.array(p_values, dtype=float)
    found = holm(given_)
    np.testing.assert_array_equal(given_, np.array(p_values, dtype=float))  # left as it was
    assert found.tolist() == pytest.approx(by_holms_words(p_values), abs=1e-15, nan_ok=True)
    known = np.isfinite(given_)
    assert (found[known] >= given_[known]).all()
    assert (found[known] <= 1).all()


def test_holm_keeps_the_error_of_all_together() -> None:
    rng = np.random.default_rng(2)
    false_alarms = sum(holm(rng.random(8)).min() <= 0.05 for _ in range(2000))
    assert 60 <= false_alarms <= 140  # 5% of 2,000, give or take 4 standard deviations


def test_a_model_without_bound_somewhere_is_infinitely_worse_and_not_better() -> None:
    bad, good = np.array([-math.inf, -math.inf, 2, 1.9]), np.array([1, 1, 1.5, 1.4])
    found = compare_paired(bad, good, generator())
    assert (found.n, found.mean) == (4, -math.inf)
    assert all(math.isnan(value) for value in (found.low, found.high, found.p))
    turned = compare_paired(good, bad, generator())
    assert turned.mean == math.inf
    # where both are without bound there is nothing to compare
    both = compare_paired(bad, np.array([-math.inf, -math.inf, 1, 1]), generator())
    assert (both.n, both.mean) == (2, pytest.approx(0.95))
    mixed = compare_paired(np.array([-math.inf, 1.0]), np.array([1.0, -math.inf]), generator())
    assert mixed.n == 2
    assert math.isnan(mixed.mean)
