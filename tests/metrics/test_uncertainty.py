from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr, ttest_rel

from clickmap_cli.metrics.map_scores import rsa, similarity_matrix
from clickmap_cli.metrics.uncertainty import (
    DRAWS,
    bootstrap_grouped_means,
    bootstrap_means,
    bootstrap_normalised,
    compare_paired,
    holm,
    participants_needed,
    percentile_interval,
    robust_z,
    sign_flip_p,
    spearman_brown,
    spearman_brown_fit,
)


def test_bootstrap_means_have_the_theorys_mean_and_spread() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    samples = bootstrap_means(values, np.random.default_rng(1), 4000)
    assert samples.mean() == pytest.approx(values.mean(), abs=0.02)
    assert samples.std() == pytest.approx(values.std() / 20, rel=0.05)
    low, high = percentile_interval(samples)
    assert (low, high) == tuple(np.percentile(samples, [2.5, 97.5]))


def test_unknown_values_are_left_out() -> None:
    rng = np.random.default_rng(0)
    assert (bootstrap_means(np.array([1.0, np.nan, 1.0]), rng) == 1).all()
    assert np.isnan(bootstrap_means(np.array([np.nan]), rng)).all()
    assert all(math.isnan(end) for end in percentile_interval(np.array([np.nan])))


def test_intervals_cover_the_true_mean() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        low, high = percentile_interval(bootstrap_means(rng.normal(0, 1, 60), rng))
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_grouped_means_carry_the_participants_spread() -> None:
    # scores that depend on the participant alone: images add nothing, participants everything
    rng = np.random.default_rng(0)
    people, images = 40, 50
    ability = rng.normal(0, 1, people)
    image, user = (a.ravel() for a in np.mgrid[0:images, 0:people])
    scores = ability[user]
    by_people = bootstrap_grouped_means(scores, image, user, rng, images=False)
    crossed = bootstrap_grouped_means(scores, image, user, rng, images=True)
    theory = ability.std() / math.sqrt(people)
    assert by_people.std() == pytest.approx(theory, rel=0.1)
    assert crossed.std() == pytest.approx(theory, rel=0.1)
    # scores that depend on the image alone: participants add nothing
    scores = rng.normal(0, 1, images)[image]
    assert bootstrap_grouped_means(scores, image, user, rng, images=False).std() < 1e-12
    assert bootstrap_grouped_means(scores, image, user, rng, images=True).std() > 0.05


@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.integers(0, 2**32 - 1))
def test_grouped_means_are_those_of_the_copies_of_trials(people, images, crossed, seed) -> None:
    """Every trial written out as often as its participant and its image came up."""
    rng = np.random.default_rng(seed)
    there = rng.random((images, people)) < 0.6
    image, user = np.nonzero(there)
    scores = rng.normal(0, 1, len(image))
    found = bootstrap_grouped_means(
        scores, image, user, np.random.default_rng(seed), images=crossed, resamples=8
    )
    if not len(scores):
        assert np.isnan(found).all()
        return
    draws = np.random.default_rng(seed)
    known_images, known_people = np.unique(image), np.unique(user)
    for value in found:
        came = known_people[draws.integers(0, len(known_people), len(known_people))]
        seen = known_images
        if crossed:
            seen = known_images[draws.integers(0, len(known_images), len(known_images))]
        means = []
        for one in seen:
            copies = [s for p in came for s in scores[(image == one) & (user == p)]]
            if copies:
                means.append(np.mean(copies))
        assert value == pytest.approx(np.mean(means) if means else math.nan, nan_ok=True)


def test_spearman_brown_and_its_fit() -> None:
    assert spearman_brown(0.5) == pytest.approx(2 / 3)
    assert spearman_brown(0.2, 5) == pytest.approx(5 * 0.2 / (1 + 4 * 0.2))
    assert math.isnan(spearman_brown(-1))
    sizes = np.array([1, 2, 4, 8, 16])
    for single in (0.03, 0.4, 0.9):
        curve = sizes * single / (1 + (sizes - 1) * single)
        assert spearman_brown_fit(sizes, curve) == pytest.approx(single, abs=1e-6)
    assert math.isnan(spearman_brown_fit(sizes, np.full(5, np.nan)))


@pytest.mark.parametrize("single", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("target", [0.5, 0.9, 0.99])
def test_participants_needed_is_the_least_number_that_reaches_it(single, target) -> None:
    k = participants_needed(single, target)
    assert spearman_brown(single, k) >= target - 1e-9
    assert k == 1 or spearman_brown(single, k - 1) < target
    assert participants_needed(0, 0.9) == math.inf
    assert participants_needed(1, 0.9) == 1


def test_robust_z() -> None:
    values = np.array([1.0, 2, 3, 4, 100, np.nan])
    z = robust_z(values)
    assert z[2] == 0
    assert z[4] == pytest.approx(97 / 1.4826)
    assert math.isnan(z[5])
    assert robust_z(np.array([1.0, 1, 1, 0])).tolist() == [0, 0, 0, -math.inf]
    assert np.isnan(robust_z(np.array([np.nan]))).all()


def test_rsa_is_the_spearman_correlation_of_upper_triangles() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 30))
    first, second = (
        similarity_matrix(
            (m - m.mean(1, keepdims=True))
            / np.linalg.norm(m - m.mean(1, keepdims=True), axis=1, keepdims=True)
        )
        for m in (a, b)
    )
    np.testing.assert_allclose(first, np.corrcoef(a), atol=1e-12)
    upper = np.triu_indices(7, 1)
    assert rsa(first, second) == pytest.approx(spearmanr(first[upper], second[upper])[0])
    keep = np.ones((7, 7), dtype=bool)
    keep[0] = False
    kept = [(i, j) for i, j in zip(*upper, strict=True) if i != 0]
    x, y = (rankdata([m[ij] for ij in kept]) for m in (first, second))
    assert rsa(first, second, keep) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert math.isnan(rsa(first[:2, :2], second[:2, :2]))
    for few in (2, 3):  # pairs
        keep = np.zeros((7, 7), dtype=bool)
        keep[0, 1 : 1 + few] = True
        assert math.isnan(rsa(first, second, keep)) == (few < 3)
    assert math.isnan(rsa(np.ones((5, 5)), second[:5, :5]))


def test_normalised_gold_is_1_and_normalised_null_is_0() -> None:
    rng = np.random.default_rng(0)
    ceiling, null = rng.normal(0.7, 0.1, 40), rng.normal(0.3, 0.1, 40)
    assert (bootstrap_normalised(ceiling, ceiling, null, rng) == 1).all()
    assert (bootstrap_normalised(null, ceiling, null, rng) == 0).all()
    half = bootstrap_normalised((ceiling + null) / 2, ceiling, null, rng)
    np.testing.assert_allclose(half, 0.5, atol=1e-12)
    # joint resampling: a model that is off by the same everywhere keeps nearly no spread
    joint = bootstrap_normalised(ceiling - 0.1, ceiling, null, rng).std()
    apart = bootstrap_normalised(rng.permutation(ceiling - 0.1), ceiling, null, rng).std()
    assert joint < apart / 3


def test_normalised_scores_are_never_clipped() -> None:
    rng = np.random.default_rng(1)
    ceiling, null = np.full(9, 0.5), np.full(9, 0.1)
    assert bootstrap_normalised(np.full(9, 0.9), ceiling, null, rng) == pytest.approx(2)
    assert bootstrap_normalised(np.full(9, -0.3), ceiling, null, rng) == pytest.approx(-1)
    # lower is better: the same arithmetic
    assert bootstrap_normalised(np.full(9, 0.2), null, ceiling, rng) == pytest.approx(0.75)


def test_images_that_lack_one_of_three_are_left_out() -> None:
    model = np.array([0.5, np.nan, 0.6, 0.7, 0.9])
    ceiling = np.array([0.9, 0.9, np.nan, 0.8, 0.9])
    null = np.array([0.1, 0.2, 0.3, 0.1, np.nan])
    keep = [0, 3]
    found = bootstrap_normalised(model, ceiling, null, np.random.default_rng(0), 50)
    wanted = bootstrap_normalised(
        model[keep], ceiling[keep], null[keep], np.random.default_rng(0), 50
    )
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == (50,)
    assert np.isnan(
        bootstrap_normalised(model[1:3], ceiling[1:3], null[1:3], np.random.default_rng(0))
    ).all()
    same = np.full(4, 0.5)
    assert np.isnan(bootstrap_normalised(same + 1, same, same, np.random.default_rng(0))).all()


def test_normalised_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        image = rng.normal(0, 0.1, 60)  # easy and hard images move all three
        null = 0.2 + image + rng.normal(0, 0.05, 60)
        ceiling = 0.6 + image + rng.normal(0, 0.05, 60)
        model = 0.5 + image + rng.normal(0, 0.05, 60)
        low, high = percentile_interval(bootstrap_normalised(model, ceiling, null, rng))
        assert high - low < 0.2
        covered += low <= 0.75 <= high
    assert 180 <= covered <= 198


@pytest.mark.parametrize("n", [3, 5000])
def test_resamples_are_drawn_one_after_the_other(n) -> None:
    values = np.random.default_rng(0).random((3, n))
    rng = np.random.default_rng(1)
    drawn = [rng.integers(0, n, n) for _ in range(1000)]
    means = np.array([values[:, at].mean(axis=1) for at in drawn])
    found = bootstrap_means(values[0], np.random.default_rng(1))
    np.testing.assert_allclose(found, means[:, 0], rtol=1e-12)
    m, c, z = means.T
    found = bootstrap_normalised(*values, np.random.default_rng(1))
    np.testing.assert_allclose(found, (m - z) / (c - z), rtol=1e-9)


def test_infinite_scores_stay_in_means_and_intervals() -> None:
    rng = np.random.default_rng(0)
    means = bootstrap_means(np.array([-math.inf, 2.0, 2.0, 2.0, math.nan]), rng)
    # without the infinite one by (3/4)^4 = 0.316; the NaN is no item at all
    assert set(means.tolist()) == {-math.inf, 2.0}
    assert np.mean(np.isfinite(means)) == pytest.approx(0.316, abs=0.06)
    assert percentile_interval(means) == (-math.inf, 2.0)
    assert percentile_interval(np.array([-math.inf] * 10 + [1.0] * 990)) == (1.0, 1.0)
    assert percentile_interval(np.full(9, -math.inf)) == (-math.inf, -math.inf)
    shares = bootstrap_normalised(
        np.array([-math.inf, 1.0]), np.array([1.0, 1.0]), np.array([0.0, 0.0]), rng
    )
    assert set(shares.tolist()) == {-math.inf, 1.0}


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
