"""Held-out scores: nobody's own label is in their probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.participants import BAD, GOOD, UNLISTED
from clickmap_cli.metrics.classification import fit_platt
from clickmap_cli.training.folds import NO_FOLD, quality_folds
from clickmap_cli.training.tasks.participant_quality import score_held_out


def study(seed: int, n: int = 40, apart: float = 2.0):
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(n) % 5 == 0, BAD, GOOD).astype(np.int8)
    labels[rng.integers(0, n, 2)] = UNLISTED
    users = np.array([f"u{k}" for k in range(n)])
    folds = quality_folds(users, labels, 3, seed)
    scores = np.round(rng.normal(size=n) + apart * (labels == BAD), 1)
    scores[labels == UNLISTED] = np.nan
    return scores, labels, folds


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_are_their_definitions(seed) -> None:
    scores, labels, folds = study(seed)
    found = score_held_out(scores, labels, folds, 0.5, seed)
    people = np.flatnonzero(labels != UNLISTED)
    assert found.user.tolist() == people.tolist()
    assert found.bad.tolist() == (labels[people] == BAD).tolist()
    for at, user in enumerate(people):
        others = [other for other in people if folds[other] != folds[user]]
        calibration = fit_platt(scores[others], labels[others] == BAD)
        wanted = calibration.probabilities(scores[[user]])[0]
        assert found.probability[at] == pytest.approx(wanted, rel=1e-9)
    p, bad = found.probability, found.bad
    pairs = [(b > g) + 0.5 * (b == g) for b in p[bad] for g in p[~bad]]
    assert found.auc == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found.brier == pytest.approx(np.mean((p - bad) ** 2))
    assert found.accuracy == pytest.approx(np.mean((p >= 0.5) == bad))
    assert found.reliability.counts.sum() == len(people)
    low, high = found.auc_ci
    assert 0 <= low <= high <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_fold_is_judged_without_its_labels(seed, which) -> None:
    scores, labels, folds = study(seed)
    before = score_held_out(scores, labels, folds, 0.5, 0)
    held = np.flatnonzero(folds == which % 3)
    swapped = labels.copy()
    swapped[held] = np.where(labels[held] == BAD, GOOD, BAD)
    after = score_held_out(scores, swapped, folds, 0.5, 0)
    own = np.isin(before.user, held)
    np.testing.assert_array_equal(after.probability[own], before.probability[own])


def test_the_interval_holds_the_truth_and_is_drawn_from_the_seed() -> None:
    scores, labels, folds = study(3, n=60, apart=1.0)
    found = score_held_out(scores, labels, folds, 0.5, 0)
    assert found.auc_ci[0] < found.auc < found.auc_ci[1]
    assert score_held_out(scores, labels, folds, 0.5, 0).auc_ci == found.auc_ci
    assert score_held_out(scores, labels, folds, 0.5, 1).auc_ci != found.auc_ci
    clear = np.where(labels == BAD, 5.0, -5.0)
    clear[labels == UNLISTED] = np.nan
    certain = score_held_out(clear, labels, folds, 0.5, 0)
    assert (certain.auc, certain.auc_ci, certain.accuracy) == (1.0, (1.0, 1.0), 1.0)


def test_people_without_a_score_are_left_out() -> None:
    scores, labels, folds = study(1)
    listed = np.flatnonzero(labels != UNLISTED)
    scores[listed[3]] = np.nan
    folds[listed[5]] = NO_FOLD
    found = score_held_out(scores, labels, folds, 0.5, 0)
    assert set(listed) - set(found.user) == {listed[3], listed[5]}
