"""Platt's calibration against a plain minimisation of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from clickmap_cli.metrics.classification import Platt, fit_platt


def cross_entropy(a: float, b: float, scores, positive) -> float:
    n_positive, n_negative = positive.sum(), (~positive).sum()
    total = 0.0
    for s, p in zip(scores, positive, strict=True):
        target = (n_positive + 1) / (n_positive + 2) if p else 1 / (n_negative + 2)
        z = a * s + b
        log_p, log_q = -np.logaddexp(0, -z), -np.logaddexp(0, z)
        total -= target * log_p + (1 - target) * log_q
    return total


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(2, 40))
    positive = np.arange(n) < draw(st.integers(1, n - 1))
    apart = draw(st.sampled_from([0.0, 1.0, 5.0, -2.0]))
    scores = rng.normal(size=n) + apart * positive
    return np.round(scores, draw(st.sampled_from([0, 1, 8]))), positive


@settings(max_examples=60, deadline=None)
@given(problems())
def test_nothing_fits_better(problem) -> None:
    scores, positive = problem
    found = fit_platt(scores, positive)
    least = minimize(
        lambda w: cross_entropy(w[0], w[1], scores, positive), [0.0, 0.0], method="BFGS"
    ).fun
    assert cross_entropy(found.slope, found.offset, scores, positive) <= least + 1e-9
    # at the optimum the mean probability is the mean target
    n_positive, n = positive.sum(), len(positive)
    targets = n_positive * (n_positive + 1) / (n_positive + 2) + (n - n_positive) / (
        n - n_positive + 2
    )
    assert found.probabilities(scores).sum() == pytest.approx(targets, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(problems(), st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_units_and_origin_of_scores_do_not_matter(problem, scale, shift) -> None:
    scores, positive = problem
    wanted = fit_platt(scores, positive).probabilities(scores)
    moved = scale * scores + shift
    np.testing.assert_allclose(fit_platt(moved, positive).probabilities(moved), wanted, atol=1e-6)


def test_scores_that_say_nothing_give_the_share_of_positives() -> None:
    """The fit starts at its optimum, which scikit-learn reports as not converged."""
    scores = np.array([1.2, -1.7, 0.1, 0.4, 1.2, -1.7, 0.1, 0.4])
    found = fit_platt(scores, np.arange(8) < 4)
    np.testing.assert_allclose(found.probabilities(scores), 0.5, atol=1e-9)


def test_separated_scores_have_a_finite_slope() -> None:
    scores = np.array([-3.0, -2.5, -2.0, 4.0, 4.5])
    found = fit_platt(scores, scores > 0)
    assert 0 < found.slope < 10
    probability = found.probabilities(scores)
    assert (probability[:3] < 0.5).all()
    assert (probability[3:] > 0.5).all()
    assert probability.max() < 1
    far = fit_platt(np.array([-1e9, 0.0, 1e9]), np.array([False, False, True]))
    assert np.isfinite([far.slope, far.offset]).all()


def test_equal_scores_say_how_many_are_positive() -> None:
    found = fit_platt(np.full(5, 7.0), np.array([True, False, False, False, False]))
    share = (2 / 3 + 4 / 6) / 5
    np.testing.assert_allclose(found.probabilities(np.array([7.0, -100.0])), share)


def test_probabilities_stay_within_their_range_and_nan_stays() -> None:
    given = np.array([-1e308, -800.0, 0.0, 800.0, 1e308, np.nan])
    found = Platt(1.0, 0.0).probabilities(given)
    np.testing.assert_array_equal(found, [0, 0, 0.5, 1, 1, np.nan])


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        ([1.0, np.nan], [True, False]),
        ([1.0, np.inf], [True, False]),
        ([1.0, 2.0], [True, True]),
        ([1.0, 2.0], [False, False]),
        ([1.0], [True, False]),
    ],
)
def test_probabilities_that_cannot_be_calibrated(scores, positive) -> None:
    with pytest.raises(ValueError, match="items"):
        fit_platt(np.array(scores), np.array(positive))
