"""Scores of classifiers against plain loops and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from clickmap_cli.metrics.classification import (
    accuracy,
    bootstrap_f1,
    class_weights,
    confusion_matrix,
    f1,
    f1_of_classes,
    map_statistics,
    permutation_p,
    reliability,
    roc_auc,
    shuffle_within,
)
from clickmap_cli.metrics.uncertainty import percentile_interval

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def split(pairs) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(pairs).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_confusion_and_accuracy_are_counts(pairs) -> None:
    truth, predicted = split(pairs)
    found = confusion_matrix(truth, predicted, 4)
    for row, column in itertools.product(range(4), range(4)):
        assert found[row, column] == sum(pair == (row, column) for pair in pairs)
    assert np.array_equal(found, sklearn_confusion(truth, predicted, labels=range(4)))
    wanted = sum(a == b for a, b in pairs) / len(pairs)
    assert accuracy(found) == pytest.approx(wanted, abs=1e-15)


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.sampled_from(["macro", "weighted"]))
def test_f1_of_several_classes_is_scikit_learns(pairs, average) -> None:
    truth, predicted = split(pairs)
    found = f1(confusion_matrix(truth, predicted, 4), average)
    wanted = f1_score(truth, predicted, average=average, zero_division=0)
    assert float(found) == pytest.approx(wanted, abs=1e-12)
    if average == "macro":
        assert float(f1(confusion_matrix(truth, predicted, 4))) == float(found)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_f1_of_two_classes_is_that_of_the_second(pairs) -> None:
    truth, predicted = split(pairs)
    hits = sum(pair == (1, 1) for pair in pairs)
    wrong = sum(a != b for a, b in pairs)
    wanted = 2 * hits / (2 * hits + wrong) if hits + wrong else 0.0
    found = f1(confusion_matrix(truth, predicted, 2))
    assert float(found) == pytest.approx(wanted, abs=1e-15)
    assert wanted == pytest.approx(f1_score(truth, predicted, zero_division=0), abs=1e-15)


def test_zero_divisions_and_nothing_at_all() -> None:
    only_negatives = np.array([[5, 0], [0, 0]])
    assert float(f1(only_negatives)) == 0
    np.testing.assert_array_equal(f1_of_classes(only_negatives), [1, 0])
    assert float(f1(only_negatives, "macro")) == 1  # the other class is nowhere
    for average in ("binary", "macro", "weighted"):
        assert math.isnan(f1(np.zeros((2, 2)), average))
    assert math.isnan(accuracy(np.zeros((2, 2), dtype=np.int64)))
    with pytest.raises(ValueError, match="no average 'micro'"):
        f1(only_negatives, "micro")
    with pytest.raises(ValueError, match="'binary' of 3 classes"):
        f1(np.zeros((3, 3)), "binary")


def test_f1_of_a_stack_is_that_of_each() -> None:
    stack = np.random.default_rng(0).integers(0, 9, (5, 3, 3))
    stack[2] = 0
    for average in ("macro", "weighted"):
        found = f1(stack, average)
        np.testing.assert_array_equal(found, [f1(one, average) for one in stack])


def test_codes_outside_the_classes_are_errors() -> None:
    with pytest.raises(ValueError, match="outside 0 to 1"):
        confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="2 true classes and 1 predicted"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)


# --- ROC ----------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(-2, 2), st.floats(-1e300, 1e300)), st.booleans()),
        min_size=1, max_size=25,
    )
)  # fmt: skip
def test_roc_auc_is_the_share_of_pairs_in_order(scored) -> None:
    above = [float(score) for score, positive in scored if positive]
    below = [float(score) for score, positive in scored if not positive]
    found = roc_auc(np.array([float(s) for s, _ in scored]), np.array([p for _, p in scored]))
    if not above or not below:
        assert math.isnan(found)
        return
    wins = sum(1.0 if a > b else 0.5 * (a == b) for a in above for b in below)
    assert found == pytest.approx(wins / (len(above) * len(below)), abs=1e-12)
    wanted = roc_auc_score([p for _, p in scored], [float(s) for s, _ in scored])
    assert found == pytest.approx(wanted, abs=1e-12)


def test_roc_of_scores_that_are_none() -> None:
    with pytest.raises(ValueError, match="some NaN"):
        roc_auc(np.array([0.1, math.nan]), np.array([True, False]))


# --- chance and intervals -----------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=20),
       st.integers(0, 5))  # fmt: skip
def test_shuffled_labels_stay_with_their_participant(rows, seed) -> None:
    groups, labels = [name for name, _ in rows], np.array([label for _, label in rows])
    kept = labels.copy()
    found = shuffle_within(labels, groups, np.random.default_rng(seed))
    np.testing.assert_array_equal(labels, kept)
    for name in set(groups):
        mine = [at for at, group in enumerate(groups) if group == name]
        assert sorted(found[mine]) == sorted(labels[mine])
    again = shuffle_within(labels, groups, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, found)


def test_shuffles_give_every_order_as_often() -> None:
    rng = np.random.default_rng(0)
    labels, groups = np.array([0, 1, 2, 7]), ["a", "a", "a", "b"]
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        order = tuple(shuffle_within(labels, groups, rng).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert set(seen) == {(*order, 7) for order in itertools.permutations((0, 1, 2))}
    assert min(seen.values()) > 850
    assert max(seen.values()) < 1150


def test_permutation_p_counts_the_observed_order() -> None:
    assert permutation_p(1.0, [0.0] * 99) == pytest.approx(0.01)
    assert permutation_p(0.5, [0.5, 0.4, 0.6]) == pytest.approx(3 / 4)
    assert permutation_p(0.1 + 0.2, [0.3]) == 1  # equal but for rounding
    assert permutation_p(0.3, []) == 1
    with pytest.raises(ValueError, match="NaN"):
        permutation_p(math.nan, [0.1])


def test_bootstrap_is_that_of_a_plain_loop_over_the_same_draws() -> None:
    rng = np.random.default_rng(3)
    people = rng.integers(0, 5, (7, 2, 2)) + 1
    found = bootstrap_f1(people, np.random.default_rng(7), 50)
    drawn = np.random.default_rng(7).integers(0, 7, (50, 7))
    for at in range(50):
        together = sum(people[person] for person in drawn[at])
        assert found[at] == pytest.approx(float(f1(together)), abs=1e-12)
    low, high = percentile_interval(found)
    assert low < float(f1(people.sum(axis=0))) < high
    assert np.isnan(bootstrap_f1(people[:0], np.random.default_rng(0), 4)).all()


def test_an_interval_shows_that_folds_differ() -> None:
    """Four folds of people who are alike within them: F1 of 0.9, 0, 0.84 and 0.75."""
    folds = [[[9, 1], [1, 9]], [[10, 0], [10, 0]], [[8, 2], [1, 8]], [[7, 2], [3, 7]]]
    people = np.repeat(np.array(folds), 3, axis=0)
    low, high = percentile_interval(bootstrap_f1(people, np.random.default_rng(0), 1000))
    # resampled within folds, every draw would be the same
    assert low < 0.6
    assert high > 0.8


def test_bootstrap_of_participants_who_are_alike_is_certain() -> None:
    fold = np.array([[[3, 1], [0, 4]]] * 5)
    found = bootstrap_f1(fold, np.random.default_rng(0), 20)
    np.testing.assert_allclose(found, float(f1(fold[0])), atol=1e-15)


# --- calibration --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]),
                                 st.floats(0, 1)), st.booleans()), min_size=1, max_size=25),
    st.integers(1, 12),
)  # fmt: skip
def test_reliability_equals_plain_loops(predicted, bins) -> None:
    probabilities = np.array([p for p, _ in predicted])
    positive = np.array([b for _, b in predicted])
    found = reliability(probabilities, positive, bins)
    error = 0.0
    total = 0
    for at in range(bins):
        low, high = at / bins, (at + 1) / bins
        mine = [
            (p, b) for p, b in predicted if low <= p < high or (at == bins - 1 and p == 1)
        ]  # fmt: skip
        total += len(mine)
        assert found.counts[at] == len(mine)
        if not mine:
            assert math.isnan(found.predicted[at])
            assert math.isnan(found.observed[at])
            continue
        mean, share = (sum(part) / len(mine) for part in zip(*mine, strict=True))
        assert found.predicted[at] == pytest.approx(mean, abs=1e-12)
        assert found.observed[at] == pytest.approx(share, abs=1e-12)
        error += len(mine) / len(predicted) * abs(mean - share)
    assert total == len(predicted)
    assert found.error == pytest.approx(error, abs=1e-12)


def test_calibration_of_no_items_and_of_invalid_probabilities() -> None:
    nothing = np.array([]), np.array([], dtype=bool)
    assert math.isnan(reliability(*nothing).error)
    with pytest.raises(ValueError, match="outside 0 to 1"):
        reliability(np.array([math.nan]), np.array([True]))
    with pytest.raises(ValueError, match="2 probabilities of 1 items"):
        reliability(np.array([0.2, 0.3]), np.array([True]))
    with pytest.raises(ValueError, match="0 bins"):
        reliability(np.array([0.5]), np.array([True]), 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_class_weights_have_mean_one_over_the_images(labels) -> None:
    found = class_weights(labels, 5)
    assert np.mean([found[label] for label in labels]) == pytest.approx(1, abs=1e-12)
    present = sorted(set(labels))
    wanted = compute_class_weight("balanced", classes=np.array(present), y=np.array(labels))
    np.testing.assert_allclose(found[present], wanted, rtol=1e-12)
    assert found[[label for label in range(5) if label not in present]].sum() == 0


MAPS = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-9, 9).map(float))
)


def plain(values) -> list[float]:
    """The definitions, pixel by pixel."""
    pixels = [(x, y, float(v)) for y, row in enumerate(values) for x, v in enumerate(row)]
    least, most = min(v for *_, v in pixels), max(v for *_, v in pixels)
    flat = least == most
    mass = [1.0 if flat else v - least for *_, v in pixels]
    p = [m / sum(mass) for m in mass]
    covered = 0 if flat else sum(v - least >= (most - least) / 2 for *_, v in pixels)
    cx = sum(q * x for q, (x, _, _) in zip(p, pixels, strict=True))
    cy = sum(q * y for q, (_, y, _) in zip(p, pixels, strict=True))
    away = sum(q * ((x - cx) ** 2 + (y - cy) ** 2) for q, (x, y, _) in zip(p, pixels, strict=True))
    entropy = -sum(q * math.log(q) for q in p if q > 0)
    return [covered / len(pixels), entropy, cx, cy, math.sqrt(away)]


@settings(max_examples=80, deadline=None)
@given(MAPS)
def test_statistics_equal_their_definitions(values) -> None:
    np.testing.assert_allclose(map_statistics(values), plain(values), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(MAPS, st.sampled_from([0.25, 1.0, 8.0]), st.sampled_from([-4.0, 0.0, 64.0]))
def test_scale_and_shift_of_the_values_change_nothing(values, scale, shift) -> None:
    np.testing.assert_allclose(
        map_statistics(values * scale + shift), map_statistics(values), atol=1e-12
    )


def test_a_single_pixel_and_a_constant_map() -> None:
    spot = np.zeros((3, 4))
    spot[2, 1] = 5
    assert map_statistics(spot).tolist() == [1 / 12, 0, 1, 2, 0]
    flat = map_statistics(np.full((3, 4), 7.0))
    assert flat[:4] == pytest.approx([0, math.log(12), 1.5, 1.0])


def test_a_gaussian_has_the_numbers_of_its_formulas() -> None:
    y, x = np.mgrid[0:81, 0:81]
    blob = np.exp(-((x - 30) ** 2 + (y - 45) ** 2) / (2 * 5.0**2))
    coverage, entropy, *centroid, dispersion = map_statistics(blob)
    assert centroid == pytest.approx((30, 45), abs=1e-6)
    assert dispersion == pytest.approx(5 * math.sqrt(2), rel=1e-4)
    assert entropy == pytest.approx(math.log(2 * math.pi * math.e * 25), rel=1e-4)
    assert coverage * 81**2 == pytest.approx(2 * math.pi * 25 * math.log(2), rel=0.02)


def test_colours_are_averaged_and_arrays_that_are_not_maps_are_refused() -> None:
    rgb = np.random.default_rng(0).random((4, 5, 3))
    np.testing.assert_array_equal(map_statistics(rgb), map_statistics(rgb.mean(axis=2)))
    extremes = np.array([[-1.7e308, 1.7e308], [0, 5e-324]])
    assert np.isfinite(map_statistics(extremes)).all()
    assert np.isfinite(map_statistics(np.array([[0, 5e-324]]))).all()
    for bad in (np.zeros((0, 3)), np.zeros(3), np.array([[math.nan, 1]])):
        with pytest.raises(ValueError, match="statistics of a map"):
            map_statistics(bad)
