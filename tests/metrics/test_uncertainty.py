from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from clickmap_cli.metrics.rsa import rsa, similarity_matrix
from clickmap_cli.metrics.uncertainty import (
    bootstrap_grouped_means,
    bootstrap_means,
    bootstrap_normalised,
    participants_needed,
    percentile_interval,
    robust_z,
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
@pytest.mark.parametrize("wished", [0.5, 0.9, 0.99])
def test_participants_needed_is_the_least_number_that_reaches_it(single, wished) -> None:
    k = participants_needed(single, wished)
    assert spearman_brown(single, k) >= wished - 1e-9
    assert k == 1 or spearman_brown(single, k - 1) < wished
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
