"""Ceilings of one image against a plain double-precision implementation: SciPy and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

from clickmap_cli.clickmaps.agreement import (
    OtherImages,
    random_groups,
    random_halves,
    score_halves,
    score_held_out,
    score_pairs,
)
from clickmap_cli.clickmaps.maps import ClickStack, trial_maps
from clickmap_cli.metrics.map_scores import MAP_SCORES
from tests.clickmaps.test_maps import clicks_of, settings_of
from tests.helpers.map_stack import MapStack
from tests.metrics.test_map_scores import DEFINITIONS

SCORES = [MAP_SCORES[name] for name in ("spearman", "pearson", "auc")]


def plain(name: str, prediction: np.ndarray, target: np.ndarray, clicks: np.ndarray) -> float:
    p, t = prediction.ravel(), target.ravel()
    if name == "spearman":
        return float(spearmanr(p, t)[0])
    if name == "pearson":
        return float(pearsonr(p.astype(float), t.astype(float))[0])
    weight = clicks.ravel()
    return float(((rankdata(p) * weight).sum() / weight.sum() - 0.5) / p.size)


def mean_of(maps: np.ndarray) -> np.ndarray:
    return maps.astype(np.float64).mean(axis=0).astype(np.float32)


def some_maps(seed: int, n: int = 7):
    """Sparse maps with ties, and clicks where they are above zero."""
    rng = np.random.default_rng(seed)
    maps = rng.random((n, 11, 9)).astype(np.float32)
    maps[rng.random(maps.shape) < 0.6] = 0
    maps[:, 0, 0] = 0.25
    return maps, (maps > 0.5).astype(int) + (maps == 0.25)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_held_out_participants_of_given_maps(seed, n) -> None:
    maps, clicks = some_maps(seed, n)
    found, upper = score_held_out(MapStack(maps, clicks), SCORES)
    assert set(upper) == {"spearman", "pearson"}
    ranks = mean_of(np.stack([rankdata(m).reshape(m.shape) for m in maps]))
    z_scored = mean_of(np.stack([(m - m.mean(dtype=float)) / m.std(dtype=float) for m in maps]))
    for i in range(n):
        others = mean_of(np.delete(maps, i, axis=0))
        for score in SCORES:
            wanted = plain(score.name, others, maps[i], clicks[i])
            assert found[score.name][i] == pytest.approx(wanted, abs=1e-9)
        assert upper["spearman"][i] == pytest.approx(
            plain("spearman", ranks, maps[i], clicks[i]), abs=1e-9
        )
        assert upper["pearson"][i] == pytest.approx(
            plain("pearson", z_scored, maps[i], clicks[i]), abs=1e-6
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_upper_bounds_pool_maps_as_the_metric_asks(seed, n) -> None:
    maps, clicks = some_maps(seed, n)
    maps *= np.random.default_rng(seed).uniform(0.1, 9, (n, 1, 1)).astype(np.float32)
    exact = maps.astype(np.float64)
    flat = exact.reshape(n, -1)
    to_one = exact / flat.sum(axis=1)[:, None, None]
    of_length_1 = exact / np.sqrt((flat**2).sum(axis=1))[:, None, None]
    names = ("kl", "crossentropy", "cosine", "sim", "auc")
    _, upper = score_held_out(MapStack(maps, clicks), [MAP_SCORES[name] for name in names])
    assert set(upper) == {"kl", "crossentropy", "cosine"}
    for name, parts in (("kl", to_one), ("crossentropy", to_one), ("cosine", of_length_1)):
        pooled = parts.mean(axis=0).astype(np.float32)
        wanted = [DEFINITIONS[name](pooled, one, None) for one in maps]
        np.testing.assert_allclose(upper[name], wanted, atol=1e-6)


@pytest.mark.parametrize("keep", [1, 3, 100])
def test_how_many_maps_are_held_changes_nothing(keep) -> None:
    maps, clicks = some_maps(3, 6)
    names = ("spearman", "pearson", "cosine", "kl", "crossentropy")
    wanted, found = (
        score_held_out(MapStack(maps, clicks), [MAP_SCORES[n] for n in names], k) for k in (6, keep)
    )
    for a, b in zip(wanted, found, strict=True):
        assert set(a) == set(names)
        for name in names:
            np.testing.assert_array_equal(a[name], b[name])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_halves_of_given_maps(seed, n) -> None:
    maps, clicks = some_maps(seed, n)
    halves = random_halves(np.arange(n), 4, 0, "k")
    found, _ = score_halves(MapStack(maps, clicks), halves, SCORES)
    for split, (a, b) in enumerate(halves):
        for score in SCORES:
            wanted = plain(score.name, mean_of(maps[a]), mean_of(maps[b]), clicks[b].sum(0))
            assert found[score.name][split] == pytest.approx(wanted, abs=1e-9)


@st.composite
def image(draw):
    native = (draw(st.integers(8, 24)), draw(st.integers(8, 24)))
    own_size = draw(st.booleans())
    s = settings_of(
        shape=(16, 16) if own_size else native,
        crop=(7, 8) if draw(st.booleans()) else None,
        kind=draw(st.sampled_from(["circle", "gaussian", "none"])),
        size=draw(st.integers(1, 9)),
        tau=draw(st.sampled_from([None, None, 3.0])),
    )
    click = st.tuples(st.integers(0, native[1] - 1), st.integers(0, native[0] - 1))
    trials = draw(st.lists(st.lists(click, min_size=6, max_size=25), min_size=2, max_size=6))
    return clicks_of(trials, native), s


@settings(max_examples=80, deadline=None)
@given(image())
def test_clicks_give_the_scores_of_their_maps(drawn) -> None:
    """From clicks to scores in one go, against the finished maps scored by SciPy."""
    clicks, s = drawn
    maps = trial_maps(clicks, s)
    geometry = s.geometry(clicks.native)
    counts = np.zeros(maps.shape, dtype=int)
    for i in range(len(clicks)):
        x, y = geometry.move(*clicks.trial(i))
        np.add.at(counts[i], (y, x), 1)
    stack = ClickStack(clicks, s)
    held, _ = score_held_out(stack, SCORES)
    halves = random_halves(np.arange(len(clicks)), 3, 0, "k")
    split, _ = score_halves(stack, halves, SCORES)
    # a map of clicks is exact, so only maps of floats may break a tie otherwise; pearson has none
    size = s.kernel(clicks.native).size
    at = np.arange(size) - size // 2
    disk = int((np.hypot(at[:, None], at) <= size // 2).sum())
    unit = float(disk**2) if s.kernel_type == "circle" else 1.0
    exact = (
        s.kernel_type != "gaussian" and s.decay_tau is None and geometry.resized == clicks.native
    )
    for score in SCORES if exact else [MAP_SCORES["pearson"]]:
        for i in range(len(clicks)):
            if np.ptp(maps[i]) == 0 or (score.name == "auc" and not counts[i].sum()):
                assert np.isnan(held[score.name][i])
                continue
            others = ranked_mean(np.delete(maps, i, axis=0), score.name, unit)
            if np.ptp(others) == 0:
                continue
            wanted = plain(score.name, others, maps[i], counts[i])
            assert held[score.name][i] == pytest.approx(wanted, abs=1e-6)
        for k, (a, b) in enumerate(halves):
            first, second = (ranked_mean(maps[half], score.name, unit) for half in (a, b))
            points = counts[b].sum(0)
            if np.ptp(first) and np.ptp(second) and (score.name != "auc" or points.sum()):
                wanted = plain(score.name, first, second, points)
                assert split[score.name][k] == pytest.approx(wanted, abs=1e-6)


def ranked_mean(maps: np.ndarray, name: str, unit: float) -> np.ndarray:
    """The mean; where it is ranked, as the whole numbers it is a multiple of, so that ties are."""
    mean = maps.astype(np.float64).mean(axis=0)
    return mean if name == "pearson" else np.rint(mean * unit * len(maps))


def test_halves_are_halves_and_depend_on_seed_and_key_alone() -> None:
    for n in (2, 3, 8, 9):
        for a, b in random_halves(np.arange(n), 5, 0, "k"):
            assert len(a) == n // 2
            assert sorted([*a, *b]) == list(range(n))
    one, again, other_key, other_seed = (
        [a.tolist() for a, _ in random_halves(np.arange(30), 6, seed, key)]
        for seed, key in ((0, "k"), (0, "k"), (0, "l"), (1, "k"))
    )
    assert one == again
    assert one != other_key
    assert one != other_seed


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=12), st.permutations(range(20)),
    st.integers(0, 9),
)  # fmt: skip
def test_halves_depend_on_the_order_people_came_in_and_not_on_their_names(who, names, seed) -> None:
    people = np.array(who, dtype=np.int32)
    renamed = np.array([names[code] for code in who], dtype=np.int32)
    for one, other in zip(
        random_halves(people, 3, seed, "k"), random_halves(renamed, 3, seed, "k"), strict=True
    ):
        assert [half.tolist() for half in one] == [half.tolist() for half in other]


def test_groups_differ_for_every_size_key_and_seed() -> None:
    def first(size, seed=0, key="k"):
        return [set(a.tolist()) for a, _ in random_groups(np.arange(40), size, 30, seed, key)]

    # a group of 4 is not a group of 2 and two others
    inside = [two < four for two, four in zip(first(2), first(4), strict=True)]
    assert sum(inside) < 5  # one in 130 by chance
    assert first(2) == first(2)
    assert first(2) != first(2, seed=1)
    assert first(2) != first(2, key="l")


@settings(max_examples=60)
@given(image(), st.integers(0, 99))
def test_the_stack_of_clicks_gives_means_of_maps(drawn, seed) -> None:
    """Their height too, which the scores above do not see."""
    clicks, s = drawn
    maps = trial_maps(clicks, s).astype(np.float64)
    n = len(maps)
    stack = ClickStack(clicks, s)

    def check(view, which) -> None:
        wanted = maps[which].mean(axis=0)
        np.testing.assert_allclose(view.pixels.reshape(view.shape), wanted, atol=1e-6, rtol=1e-5)

    for trial in range(n):
        check(stack.one(trial), [trial])
        check(stack.others(trial), [at for at in range(n) if at != trial])
    for a, b in random_halves(np.arange(n), 2, seed, "k"):
        first, second = stack.halves(a, b)
        check(first, a)
        check(second, b)
        check(stack.mean(a), a)


def test_all_trials_of_a_person_go_to_one_half_and_leave_together() -> None:
    people = np.array([4, 7, 4, 9, 7, 2])
    for a, b in random_halves(people, 20, 0, "k"):
        assert not set(people[a]) & set(people[b])
        assert sorted([*a, *b]) == list(range(6))
        assert len(set(people[a])) == 2
    trials = [[(i, j), (j, i), (5, i)] for i, j in zip(range(6), range(3, 9), strict=True)]
    clicks, s = clicks_of(trials, (12, 12)), settings_of((12, 12), size=3)
    stack = ClickStack(clicks, s, people.astype(np.int32))
    alone = ClickStack(
        clicks_of([t for t, p in zip(trials, people, strict=True) if p != 4], (12, 12)), s
    )
    np.testing.assert_array_equal(stack.others(0).pixels, alone.mean(np.arange(4)).pixels)
    np.testing.assert_array_equal(stack.others(2).pixels, stack.others(0).pixels)


def test_groups_have_no_common_trial_and_equal_halves_when_they_are_all() -> None:
    for a, b in random_groups(np.arange(9), 3, 20, 0, "k"):
        assert len(a) == len(b) == 3
        assert not set(a) & set(b)
    maps, clicks = some_maps(0, 4)
    stack = MapStack(maps, clicks)
    pairs = random_groups(np.arange(4), 2, 3, 0, "k")
    by_group = score_pairs(((stack.mean(a), stack.mean(b)) for a, b in pairs), SCORES)
    by_half, _ = score_halves(stack, pairs, SCORES)
    for name, values in by_group.items():
        np.testing.assert_array_equal(values, by_half[name])


def drawn_from(keys, categories, usable=None, draws=400):
    codes = np.unique(categories, return_inverse=True)[1].astype(np.int32)
    usable = np.ones(len(keys), dtype=bool) if usable is None else np.array(usable)
    others = OtherImages(keys, codes, usable, 0)
    return others, [others.draw(i, draws) for i in range(len(keys))]


def test_other_images_are_of_other_categories_and_all_of_them() -> None:
    categories = ["a", "b", "a", "c", "b", "a"]
    others, drawn = drawn_from(list("uvwxyz"), categories)
    assert others.by_category
    for i, codes in enumerate(drawn):
        assert set(codes) == {j for j, c in enumerate(categories) if c != categories[i]}


def test_with_one_category_any_other_image_will_do() -> None:
    others, drawn = drawn_from(list("uvwx"), ["a"] * 4)
    assert not others.by_category
    for i, codes in enumerate(drawn):
        assert set(codes) == {0, 1, 2, 3} - {i}


def test_images_without_halves_are_not_drawn_and_one_image_has_no_other() -> None:
    _, drawn = drawn_from(list("uvwx"), ["a", "b", "a", "b"], usable=[True, True, False, True])
    assert set(drawn[1]) == {0}
    assert set(drawn[0]) == {1, 3}
    _, alone = drawn_from(["u"], ["a"])
    assert alone == [[]]


def test_one_category_that_may_be_drawn_is_one_category() -> None:
    others, drawn = drawn_from(list("uvwx"), ["a", "a", "a", "b"], usable=[True, True, True, False])
    assert not others.by_category
    assert [set(codes) for codes in drawn[:3]] == [{1, 2}, {0, 2}, {0, 1}]


def test_every_image_and_seed_has_its_own_draws() -> None:
    keys = [f"{at}.png" for at in range(40)]
    category = np.repeat([0, 1], 20).astype(np.int32)
    one, other = (OtherImages(keys, category, np.ones(40, dtype=bool), seed) for seed in (0, 1))
    drawn = [tuple(one.draw(image, 10)) for image in range(40)]
    assert len(set(drawn)) == 40
    assert all(tuple(other.draw(image, 10)) != drawn[image] for image in range(40))
    assert one.draw(3, 4) == list(drawn[3][:4])


def test_draws_do_not_depend_on_the_order_of_images() -> None:
    _, one = drawn_from(["u", "v", "w"], ["a", "b", "c"], draws=5)
    names = [["u", "v", "w"][i] for i in one[0]]
    assert len(names) == 5
    assert set(names) <= {"v", "w"}
