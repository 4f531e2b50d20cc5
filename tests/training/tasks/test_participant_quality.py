"""Balance, mirrors and losses by their definitions; nobody who is held out leaves a trace."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.participants import BAD, GOOD, UNLISTED, label_users
from clickmap_cli.clickmaps.simulation.people import Simulation
from clickmap_cli.metrics.classification import fit_platt, roc_auc
from clickmap_cli.models.click_gru import (
    ClickGRU,
    FeatureSettings,
    click_features,
    compute_trial_logits,
)
from clickmap_cli.models.participant_quality import participant_scores
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.folds import NO_FOLD, quality_folds
from clickmap_cli.training.tasks.participant_quality import QualityTask, score_held_out
from tests.helpers.studies import random_rows, trials_of
from tests.training.tiny import make_stage

SETTINGS = FeatureSettings()


def network(seed: int = 0) -> ClickGRU:
    torch.manual_seed(seed)
    return ClickGRU(len(SETTINGS.names), 4)


def study(seed: int = 0, users: int = 9):
    """Nine participants: six good or bad, the last three in no list; some come more often."""
    rng = np.random.default_rng(seed)
    rows = [row for row in random_rows(seed, images=5, users=users) if rng.random() < 0.8]
    rows += [("cat0/0.png", f"u{u}", [(1, 1)]) for u in range(users)]
    trials = trials_of(rows)
    number = np.array([int(name[1:]) for name in trials.users.tolist()])
    labels = np.where(number >= 6, UNLISTED, np.where(number % 3 == 0, BAD, GOOD)).astype(np.int8)
    return trials, labels, number


def task(trials, labels, train, seed=0) -> QualityTask:
    return QualityTask(network(), trials, labels, train, SETTINGS, seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 50))
def test_an_epoch_has_as_many_of_each_kind_and_of_each_person(seed, epoch) -> None:
    trials, labels, _ = study(seed)
    made = task(trials, labels, labels != UNLISTED)
    items = made.items(epoch, seed)
    assert items == made.items(epoch, seed)
    assert set(items) <= set(made.train)
    kinds = Counter(int(labels[trials.user[item]]) for item in items)
    assert kinds[GOOD] == kinds[BAD] == math.ceil(len(made.train) / 2)
    for kind in (GOOD, BAD):
        people = Counter(
            int(trials.user[item]) for item in items if labels[trials.user[item]] == kind
        )
        assert max(people.values()) - min(people.values()) <= 1
        assert set(people) == set(np.flatnonzero(labels == kind))
    came = Counter(items)
    for person in np.flatnonzero(labels != UNLISTED):
        own = [came[item] for item in made.train if trials.user[item] == person]
        assert max(own) - min(own) <= 1


def test_epochs_come_in_other_orders() -> None:
    trials, labels, _ = study()
    made = task(trials, labels, labels != UNLISTED)
    assert made.items(1, 0) != made.items(2, 0)
    assert made.items(1, 0) != made.items(1, 1)


def with_other_clicks(trials, people: np.ndarray, seed: int):
    """The same table, but some people clicked elsewhere."""
    rng = np.random.default_rng(seed)
    changed = np.repeat(people[trials.user], trials.n_clicks)
    x, y = trials.x.copy(), trials.y.copy()
    x[changed] = rng.integers(0, 32, int(changed.sum()))
    y[changed] = rng.integers(0, 32, int(changed.sum()))
    return dataclasses.replace(trials, x=x, y=y)


def examples(made: QualityTask, items, epoch) -> list[torch.Tensor]:
    return [made.read(item, epoch).clicks for item in items]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_learnt_holds_no_trace_of_who_is_held_out(seed) -> None:
    trials, labels, number = study(seed)
    train, held_out = number < 3, np.isin(number, (3, 4, 5))
    made = task(trials, labels, train)
    assert {int(number[trials.user[i]]) for i in made.train} == {0, 1, 2}
    # whatever those who are held out click, what is learnt from stays the same
    other = task(with_other_clicks(trials, held_out, seed), labels, train)
    for epoch in (None, 3):
        for a, b in zip(
            examples(made, made.train, epoch), examples(other, made.train, epoch), strict=True
        ):
            assert torch.equal(a, b)
    assert torch.equal(made.network.centre, other.network.centre)
    assert torch.equal(made.network.spread, other.network.spread)


def test_context_comes_from_everybody_who_is_not_held_out() -> None:
    trials, labels, number = study()
    made = task(trials, labels, number < 3)
    seen = click_features(trials, SETTINGS, among=(number < 3) | (labels == UNLISTED))
    for item in made.train:
        np.testing.assert_array_equal(made.read(item, None).clicks, seen.trial(item))
    everybody = click_features(trials, SETTINGS)
    assert any(
        not np.array_equal(made.read(item, None).clicks, everybody.trial(item))
        for item in made.train
    )


def test_mirrors_turn_positions_and_steps_and_nothing_else() -> None:
    trials, labels, number = study()
    made = task(trials, labels, number < 3, seed=7)
    turned = set()
    for item in made.train:
        plain = made.read(item, None).clicks.numpy()
        for epoch in range(1, 9):
            found = made.read(item, epoch).clicks.numpy()
            np.testing.assert_array_equal(found, made.read(item, epoch).clicks.numpy())
            np.testing.assert_array_equal(found[:, [2, 5, 6]], plain[:, [2, 5, 6]])
            flips = []
            for at, step in ((0, 3), (1, 4)):
                flipped = not np.array_equal(found[:, at], plain[:, at])
                side = 1 - plain[:, at] if flipped else plain[:, at]
                np.testing.assert_array_equal(found[:, at], side)
                sign = -1 if flipped else 1
                np.testing.assert_array_equal(found[:, step], sign * plain[:, step])
                flips.append(flipped)
            turned.add(tuple(flips))
    assert turned == {(a, b) for a in (False, True) for b in (False, True)}
    other = task(trials, labels, number < 3, seed=8)
    drawn = [
        torch.equal(made.read(item, 1).clicks, other.read(item, 1).clicks) for item in made.train
    ]
    assert not all(drawn)


def test_losses_are_cross_entropies_of_the_logits() -> None:
    trials, labels, number = study()
    made = task(trials, labels, number < 3)
    made.network.eval()
    batch = [made.read(item, None) for item in made.train[:6]]
    losses, outputs = made.losses(batch, "fp32")
    for example, loss, logit in zip(batch, losses.tolist(), outputs, strict=True):
        z = float(logit)
        p = 1 / (1 + math.exp(-z))
        wanted = -math.log(p if example.bad else 1 - p)
        assert loss == pytest.approx(wanted, rel=1e-5)
        right = (z > 0) == bool(example.bad)
        assert made.scores(example, logit) == {"accuracy": float(right)}
    losses.sum().backward()
    assert all(p.grad is not None for p in made.network.parameters())
    assert {example.bad for example in batch} <= {0.0, 1.0}
    wanted = [float(labels[trials.user[item]] == BAD) for item in made.train]
    assert [made.read(item, 1).bad for item in made.train] == wanted
    assert made.name(made.train[0]).startswith("u")


def test_trials_without_a_click_in_the_image_teach_nothing() -> None:
    rows = [("a.png", "g", [(1, 1)]), ("a.png", "b", [(2, 2)]), ("b.png", "b", [(-1, 3)])]
    trials = trials_of(rows)
    known, _ = label_users(trials, ["g"], ["b"])
    made = task(trials, known, known != UNLISTED)
    assert made.train == [0, 1]
    without = trials_of([rows[0], rows[2]])
    labels, _ = label_users(without, ["g"], ["b"])
    with pytest.raises(DataError, match="No trial of a bad participant is left"):
        task(without, labels, labels != UNLISTED)
    with pytest.raises(DataError, match="No trial of a good participant is left"):
        task(trials, known, known == BAD)


def test_nobody_without_a_label_trains() -> None:
    trials, labels, number = study()
    with pytest.raises(ValueError, match="without a label"):
        task(trials, labels, number < 7)


def test_a_training_finds_people_it_has_not_seen(tmp_path) -> None:
    simulation = Simulation(seed=5, n_images=24, n_users=30, users_per_image=10, side=64)
    trials, roles = simulation.trials(), simulation.roles()
    labels = np.array([GOOD if role == "careful" else BAD for role in roles], dtype=np.int8)
    held = np.zeros(len(labels), dtype=np.bool_)
    held[np.flatnonzero(labels == GOOD)[::3]] = True
    held[np.flatnonzero(labels == BAD)[::2]] = True
    made = QualityTask(ClickGRU(7, 16), trials, labels, ~held, SETTINGS)
    stage = make_stage("train", 6, 1e-2, schedule="cosine")
    rows = fit(FitJob(made, FitSettings((stage,), batch_size=32, clip_norm=1.0), tmp_path))
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    scores, _ = participant_scores(
        trials, compute_trial_logits(made.network, trials, SETTINGS, Silent())
    )
    assert roc_auc(scores[held], labels[held] == BAD) >= 0.9


# --- held-out people ---------------------------------------------------------------------------


def judged_study(seed: int, n: int = 40, apart: float = 2.0):
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
    scores, labels, folds = judged_study(seed)
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
    scores, labels, folds = judged_study(seed)
    before = score_held_out(scores, labels, folds, 0.5, 0)
    held = np.flatnonzero(folds == which % 3)
    swapped = labels.copy()
    swapped[held] = np.where(labels[held] == BAD, GOOD, BAD)
    after = score_held_out(scores, swapped, folds, 0.5, 0)
    own = np.isin(before.user, held)
    np.testing.assert_array_equal(after.probability[own], before.probability[own])


def test_the_interval_holds_the_truth_and_is_drawn_from_the_seed() -> None:
    scores, labels, folds = judged_study(3, n=60, apart=1.0)
    found = score_held_out(scores, labels, folds, 0.5, 0)
    assert found.auc_ci[0] < found.auc < found.auc_ci[1]
    assert score_held_out(scores, labels, folds, 0.5, 0).auc_ci == found.auc_ci
    assert score_held_out(scores, labels, folds, 0.5, 1).auc_ci != found.auc_ci
    clear = np.where(labels == BAD, 5.0, -5.0)
    clear[labels == UNLISTED] = np.nan
    certain = score_held_out(clear, labels, folds, 0.5, 0)
    assert (certain.auc, certain.auc_ci, certain.accuracy) == (1.0, (1.0, 1.0), 1.0)


def test_people_without_a_score_are_left_out() -> None:
    scores, labels, folds = judged_study(1)
    listed = np.flatnonzero(labels != UNLISTED)
    scores[listed[3]] = np.nan
    folds[listed[5]] = NO_FOLD
    found = score_held_out(scores, labels, folds, 0.5, 0)
    assert set(listed) - set(found.user) == {listed[3], listed[5]}
