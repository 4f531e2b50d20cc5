"""Logistic regression against its optimality conditions, a plain minimisation and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from clickmap_cli.models.logistic import fit_logistic
from clickmap_cli.runtime.errors import DataError


def data(n=40, features=3, classes=2, seed=0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unlike scales, labels that follow them in part, weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (n, features)) * 10.0 ** np.arange(features) + 5
    towards = rng.normal(0, 1, (features, classes))
    scores = ((x - x.mean(0)) / x.std(0)) @ towards + rng.gumbel(0, 1, (n, classes))
    labels = scores.argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return x, labels, rng.uniform(0.5, 2, n)


def plain_loss(flat, x, labels, weights, classes, l2) -> float:
    """What is least, in loops: one difference for two classes, a column each for more."""
    columns = 1 if classes == 2 else classes
    w = flat.reshape(x.shape[1] + 1, columns)
    total = 0.0
    for row, label, weight in zip(x, labels, weights, strict=True):
        free = [float(row @ w[:-1, k] + w[-1, k]) for k in range(columns)]
        scores = [0.0, free[0]] if classes == 2 else free
        top = max(scores)
        total -= weight * (
            scores[label] - top - math.log(sum(math.exp(s - top) for s in scores))
        )  # fmt: skip
    return total + l2 / 2 * float((w[:-1] ** 2).sum())


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l2", [0.1, 1.0, 30.0])
def test_it_is_the_minimum_of_what_is_stated(classes, l2) -> None:
    x, labels, weights = data(30, 2, classes)
    found = fit_logistic(x, labels, classes, l2, weights)
    np.testing.assert_allclose(found.mean, x.mean(axis=0))
    np.testing.assert_allclose(found.scale, x.std(axis=0))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    columns = 1 if classes == 2 else classes
    mine = found.weights[:, 1:] if classes == 2 else found.weights
    here = plain_loss(mine.ravel(), z, labels, weights, classes, l2)
    arguments = (z, labels, weights, classes, l2)
    least = minimize(plain_loss, np.zeros(3 * columns), arguments, "BFGS", options={"gtol": 1e-7})
    assert here == pytest.approx(least.fun, abs=1e-7)
    for at in range(mine.size):  # no direction goes down
        step = np.zeros(mine.size)
        step[at] = 1e-4
        for sign in (1, -1):
            moved = plain_loss(mine.ravel() + sign * step, *arguments)
            assert moved >= here - 1e-10
        slope = (
            plain_loss(mine.ravel() + step, *arguments)
            - plain_loss(mine.ravel() - step, *arguments)
        ) / 2e-4
        assert slope == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("l2", [0.5, 2.0])
def test_it_is_scikit_learns(classes, l2) -> None:
    x, labels, weights = data(60, 3, classes, seed=1)
    found = fit_logistic(x, labels, classes, l2, weights)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=2000)
    theirs.fit(z, labels, sample_weight=weights)
    np.testing.assert_allclose(found.probabilities(x), theirs.predict_proba(z), atol=1e-5)
    np.testing.assert_array_equal(found.predict(x), theirs.predict(z))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(0, 20), st.sampled_from([1e-3, 1.0, 100.0]))
def test_probabilities_sum_to_one_and_their_means_are_the_shares(classes, seed, l2) -> None:
    """Constants are free, so at the optimum every class is foretold as often as it is there."""
    x, labels, weights = data(25, 2, classes, seed)
    found = fit_logistic(x, labels, classes, l2, weights).probabilities(x)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    shares = [weights[labels == k].sum() / weights.sum() for k in range(classes)]
    np.testing.assert_allclose(weights @ found / weights.sum(), shares, atol=1e-6)


def test_scale_order_and_shift_of_the_features_change_nothing() -> None:
    x, labels, _ = data(30, 3, 3)
    found = fit_logistic(x, labels, 3).probabilities(x)
    changed = x[:, ::-1] * [3.0, 1e-6, 1e4] - [1, 2, 3]
    np.testing.assert_allclose(
        fit_logistic(changed, labels, 3).probabilities(changed), found, atol=1e-7
    )
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(
        fit_logistic(x[order], labels[order], 3).probabilities(x), found, atol=1e-9
    )


def test_standardisation_knows_the_training_data_alone() -> None:
    x, labels, _ = data()
    found = fit_logistic(x, labels, 2)
    elsewhere = x * 100 - 7
    probabilities = found.probabilities(elsewhere)
    scores = (elsewhere - x.mean(axis=0)) / x.std(axis=0) @ found.weights[:-1] + found.weights[-1]
    plain = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, plain / plain.sum(axis=1, keepdims=True), atol=1e-12)


def test_a_feature_that_never_changes_and_classes_that_are_apart() -> None:
    x = np.array([[0.1, -3.0], [0.1, -2.0], [0.1, 2.0], [0.1, 3.0]])
    found = fit_logistic(x, np.array([0, 0, 1, 1]), 2, l2=1e-6)
    assert found.predict(x).tolist() == [0, 0, 1, 1]
    assert np.isfinite(found.weights).all()
    np.testing.assert_allclose(found.weights[0], 0, atol=1e-9)
    assert found.scale[0] == 1


def test_what_cannot_be_learnt() -> None:
    x, labels, _ = data()
    with pytest.raises(DataError, match="class 2 has no image"):
        fit_logistic(x, labels, 3)
    x[3, 1] = math.nan
    with pytest.raises(DataError, match="not finite"):
        fit_logistic(x, labels, 2)
