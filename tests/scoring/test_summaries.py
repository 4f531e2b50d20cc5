"""The numbers of a benchmark from the scores of its images, held against plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickmap_cli.metrics.uncertainty import bootstrap_means, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.scoring.results import ImageScore, ModelResult, PeopleScore
from clickmap_cli.scoring.summaries import compare_models, normalised, summarise

NAN = math.nan


def image(name: str, score: float, people: float = NAN) -> ImageScore:
    return ImageScore(name, "all", {"CC": score}, {"CC": people})


def people(name: str, ceiling: float, null: float) -> PeopleScore:
    return PeopleScore(name, 3, {"CC": ceiling}, {"CC": null})


VALUES = st.one_of(st.just(NAN), st.floats(-1, 1).map(lambda value: round(value, 3)))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, st.booleans()), min_size=1, max_size=8))
def test_a_summary_is_that_of_the_images_that_have_all_of_it(rows) -> None:
    images = [image(f"{at}", row[0], row[1]) for at, row in enumerate(rows)]
    known = [people(f"{at}", row[2], row[3]) for at, row in enumerate(rows) if row[4]]
    (found,) = summarise("set", ["CC"], images, known, seed=5)
    scores = [row[0] for row in rows if not math.isnan(row[0])]
    assert (found.n_images, found.n_undefined) == (len(scores), len(rows) - len(scores))
    assert found.mean == pytest.approx(np.mean(scores) if scores else NAN, nan_ok=True)
    three = np.array([row[1:4] for row in rows if row[4] and not np.isnan(row[1:4]).any()])
    assert found.n_people_images == len(three)
    if not len(three):
        assert math.isnan(found.normalised)
        return
    m, c, z = three.mean(axis=0)
    assert (found.people, found.ceiling, found.null) == pytest.approx((m, c, z))
    # of the mean scores, not the mean of ratios, and never clipped
    if c - z < -1e-9:
        ends = (found.normalised, found.normalised_low, found.normalised_high)
        assert all(math.isnan(end) for end in ends)
    elif c - z > 1e-6:
        assert found.normalised == pytest.approx((m - z) / (c - z), rel=1e-6)
    for name, values, ends in (
        ("score", [row[0] for row in rows], (found.low, found.high)),
        ("ceiling", three[:, 1], (found.ceiling_low, found.ceiling_high)),
        ("null", three[:, 2], (found.null_low, found.null_high)),
    ):
        draws = bootstrap_means(np.array(values), generator(5, "set", "CC", name))
        assert ends == pytest.approx(percentile_interval(draws), nan_ok=True)


def test_a_model_beyond_the_ceiling_or_below_the_null_is_told_so() -> None:
    assert normalised(0.9, 0.5, 0.1) == pytest.approx(2)
    assert normalised(-0.3, 0.5, 0.1) == pytest.approx(-1)
    # lower is better: the same arithmetic
    assert normalised(0.2, 0.1, 0.5) == pytest.approx(0.75)
    assert math.isnan(normalised(0.2, 0.1, 0.1))
    assert math.isnan(normalised(0.2, NAN, 0.1))
    images = [image(f"{at}", 0.5, 0.8 + at / 100) for at in range(9)]
    persons = [people(f"{at}", 0.5 + at / 200, 0.1) for at in range(9)]
    (found,) = summarise("set", ["CC"], images, persons, 0)
    assert found.normalised > 1.5
    assert 1.5 < found.normalised_low <= found.normalised <= found.normalised_high
    # the model itself is no part of the ceiling's interval, and m, c and z are resampled together
    same = [image(f"{at}", 0.5, 0.5 + at / 200) for at in range(9)]
    (found,) = summarise("set", ["CC"], same, persons, 0)
    assert (found.normalised_low, found.normalised_high) == pytest.approx((1, 1))


def test_nothing_lies_between_a_null_and_a_ceiling_that_is_not_better() -> None:
    def found(metric: str, ceiling: float, null: float):
        images = [
            ImageScore(f"{at}", "all", {metric: 0.3}, {metric: 0.3 + at / 100}) for at in range(5)
        ]
        known = [PeopleScore(f"{at}", 3, {metric: ceiling}, {metric: null}) for at in range(5)]
        return summarise("set", [metric], images, known, 0)[0]

    for metric, better, worse in (("CC", 0.5, 0.1), ("KL", 0.1, 0.5)):
        fine = found(metric, better, worse)
        assert fine.normalised == pytest.approx((0.32 - worse) / (better - worse))
        assert fine.normalised_low <= fine.normalised <= fine.normalised_high
        for ceiling, null in ((worse, better), (better, better)):
            row = found(metric, ceiling, null)
            assert (row.ceiling, row.null) == pytest.approx((ceiling, null))
            assert row.n_people_images == 5
            assert math.isnan(row.normalised)
            assert math.isnan(row.normalised_low)
            assert math.isnan(row.normalised_high)


def test_models_share_their_resamples_and_data_sets_do_not() -> None:
    images = [image(f"{at}", value) for at, value in enumerate((0.1, 0.4, 0.2, 0.9))]
    one, again, other, seed = (
        summarise(name, ["CC"], images, (), number)[0]
        for name, number in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    )
    assert repr(one) == repr(again)
    assert (one.low, one.high) != (other.low, other.high)
    assert (one.low, one.high) != (seed.low, seed.high)


def result(model: str, scores: dict[str, float], dataset: str = "set") -> ModelResult:
    return ModelResult(dataset, model, tuple(image(k, v) for k, v in scores.items()), (), 0)


def test_models_are_compared_on_the_images_that_both_have() -> None:
    a = result("a", {"1": 0.9, "2": 0.8, "3": NAN, "4": 0.7, "5": 0.9, "6": 0.9, "8": 0.8})
    b = result("b", {"2": 0.5, "1": 0.4, "3": 0.9, "4": 0.6, "5": 0.4, "6": NAN, "7": 0.1})
    (row,) = compare_models([a, b], ["CC"], 0)
    assert (row.model_a, row.model_b, row.n_images) == ("a", "b", 4)
    assert row.mean_a == pytest.approx((0.9 + 0.8 + 0.7 + 0.9) / 4)
    assert row.mean_b == pytest.approx((0.4 + 0.5 + 0.6 + 0.4) / 4)
    assert row.difference == pytest.approx(row.mean_a - row.mean_b)
    assert row.low <= row.difference <= row.high
    # all four differences have one sign: 2 of 16 patterns
    assert row.p == row.p_holm == pytest.approx(2 / 16)


def test_p_values_are_corrected_over_the_pairs_of_one_data_set_and_metric() -> None:
    def made(dataset, **levels):
        return [
            result(name, {f"{at}": level + at / 1000 for at in range(8)}, dataset)
            for name, level in levels.items()
        ]

    rows = compare_models(made("x", a=0.1, b=0.2, c=0.3) + made("y", a=0.1, b=0.2), ["CC"], 0)
    assert [(row.dataset, row.model_a, row.model_b) for row in rows] == [
        ("x", "a", "b"), ("x", "a", "c"), ("x", "b", "c"), ("y", "a", "b"),
    ]  # fmt: skip
    assert [row.p for row in rows] == pytest.approx([2 / 256] * 4)
    assert [row.p_holm for row in rows] == pytest.approx([6 / 256] * 3 + [2 / 256])


def test_an_infinite_score_is_not_a_missing_one() -> None:
    known = [people(f"{at}", 1.0, 0.0) for at in range(4)]
    scores = {"bad": (-math.inf, -math.inf, 2.0, 1.9), "good": (1.0, 1.0, 1.5, 1.4)}
    results = [
        ModelResult("set", name, tuple(image(f"{i}", v, v) for i, v in enumerate(values)), (), 0)
        for name, values in scores.items()
    ]
    (bad,) = summarise("set", ["CC"], results[0].images, known, seed=1)
    assert (bad.n_images, bad.n_undefined, bad.n_people_images) == (4, 0, 4)
    assert (bad.mean, bad.low, bad.normalised) == (-math.inf, -math.inf, -math.inf)
    (row,) = compare_models(results, ["CC"], seed=1)
    assert (row.n_images, row.difference) == (4, -math.inf)
    assert math.isnan(row.p_holm)
