"""Folds: every image in exactly one test fold, and never in its own training."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.participants import BAD, GOOD, UNLISTED
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.classifier_images import folds_fault
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.training.folds import NO_FOLD, FoldSettings, divide, nested_folds, quality_folds
from tests.training.tiny import Spot, spots


def plain_loads(sizes: list[int], k: int) -> list[int]:
    """Images of every fold: the largest group first, each to the fold that has the fewest."""
    loads = [0] * k
    for size in sorted(sizes, reverse=True):
        loads[loads.index(min(loads))] += size
    return loads


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 30), k=st.integers(2, 5), categories=st.integers(1, 6),
    group=st.sampled_from(["image", "category"]), share=st.sampled_from([0.0, 0.1, 0.4]),
    seed=st.integers(0, 3),
)  # fmt: skip
def test_every_image_is_held_out_once(n, k, categories, group, share, seed) -> None:
    images = [Spot(f"i{at}", at, category=f"c{at % categories}") for at in range(n)]
    wanted = FoldSettings(k, group, val_share=share, seed=seed)
    sizes = [len(range(at, n, categories)) for at in range(min(n, categories))]
    loads = plain_loads(sizes if group == "category" else [1] * n, k)
    trained = [n - load for load in loads]
    left = [m - (max(1, round(share * m)) if share else 0) for m in trained]
    if min(loads) == 0 or min(left) < 1:
        with pytest.raises(ConfigError, match=r"cv\.folds"):
            divide(images, wanted)
        return
    division = divide(images, wanted)
    assert sorted(len(fold.test) for fold in division.folds) == sorted(loads)
    tested = [image_id for fold in division.folds for image_id in fold.test]
    assert sorted(tested) == sorted(image.image_id for image in images)
    for fold in division.folds:
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(map(len, parts)) == n == len(set().union(*parts))
        assert fold.train
        assert fold.test
        assert bool(fold.validation) == (share > 0)
        if group == "category":
            held = {int(i[1:]) % categories for i in fold.test}
            assert not held & {int(i[1:]) % categories for i in fold.train}
    if group == "image":
        sizes = [len(fold.test) for fold in division.folds]
        assert max(sizes) - min(sizes) <= 1
    assert divide(list(reversed(images)), wanted) == division


def test_whole_categories_go_to_the_fold_with_the_fewest_images() -> None:
    sizes = {"a": 5, "b": 1, "c": 3, "d": 3}
    images = [Spot(f"{c}{at}", at, category=c) for c, size in sizes.items() for at in range(size)]
    found = set()
    for seed in range(8):
        folds = divide(images, FoldSettings(2, "category", val_share=0, seed=seed)).folds
        held = sorted("".join(sorted({name[0] for name in fold.test})) for fold in folds)
        assert held == ["ab", "cd"]  # the largest first: 5 | 3, 5 | 3 + 3, 5 + 1 | 3 + 3
        found.add(folds[0].test)
    two = {"a": 2, "b": 2, "c": 2, "d": 2}
    images = [Spot(f"{c}{at}", at, category=c) for c, size in two.items() for at in range(size)]
    settings = [FoldSettings(2, "category", val_share=0, seed=seed) for seed in range(8)]
    assert len({divide(images, each).folds for each in settings}) > 2


def test_other_seeds_divide_and_validate_otherwise(tmp_path) -> None:
    def divided(seed, share):
        return divide(spots(30), FoldSettings(3, val_share=share, seed=seed)).folds

    assert len({tuple(fold.test for fold in divided(seed, 0)) for seed in range(5)}) == 5
    (held,) = lists(tmp_path, "s0 s1")
    found = [
        divide(spots(30), FoldSettings(1, holdout=held, val_share=0.3, seed=seed)).folds[0]
        for seed in (0, 1, 0)
    ]
    assert found[0] == found[2]
    assert found[0].validation != found[1].validation


def test_people_are_held_out_instead_of_images() -> None:
    division = divide(spots(4), FoldSettings(3, "participant", val_share=0))
    assert sorted(p for fold in division.folds for p in fold.test_people) == ["ann", "bob", "cy"]
    for fold in division.folds:
        assert len(fold.train_people) == 2
        assert not set(fold.train_people) & set(fold.test_people)
        assert fold.train == fold.test == ("s0", "s1", "s2", "s3")
    with pytest.raises(ConfigError, match=r"3 are named, so one of 4 folds would be empty"):
        divide(spots(4), FoldSettings(4, "participant"))


@dataclass
class Seen(Spot):
    """An image that only some of the three looked at."""

    who: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        p = self.points
        kept = np.isin(p.subject, self.who)
        self.points = Points(p.x[kept], p.y[kept], p.subject[kept], p.subjects)


def test_images_train_where_somebody_of_the_others_looked_at_them() -> None:
    who = {"a": (0,), "b": (0, 1), "c": (1, 2), "d": (2,), "e": (0, 2)}
    images = [Seen(name, at, who=people) for at, (name, people) in enumerate(who.items())]
    division = divide(images, FoldSettings(3, "participant", val_share=0))
    tested = {fold.test_people: (fold.train, fold.test) for fold in division.folds}
    assert tested == {
        ("ann",): (("b", "c", "d", "e"), ("a", "b", "e")),
        ("bob",): (("a", "b", "c", "d", "e"), ("b", "c")),
        ("cy",): (("a", "b", "c", "e"), ("c", "d", "e")),
    }


def lists(tmp_path, *parts: str) -> tuple[Path, ...]:
    paths = []
    for at, part in enumerate(parts):
        paths.append(tmp_path / f"{at}.txt")
        paths[-1].write_text("\n".join(part.split()))
    return tuple(paths)


def test_lists_make_folds_and_a_holdout(tmp_path) -> None:
    one, two, held = lists(tmp_path, "s0 s1", "s2", "s3")
    division = divide(spots(4), FoldSettings(4, files=(one, two), holdout=held, val_share=0))
    assert [fold.test for fold in division.folds] == [("s0", "s1"), ("s2",)]
    assert division.holdout == ("s3",)
    assert all("s3" not in fold.train + fold.validation for fold in division.folds)
    alone = divide(spots(4), FoldSettings(1, holdout=held)).folds
    assert [fold.test for fold in alone] == [("s3",)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("s0 s1", "s1 s2 s3"), "'s1' stands in .*0.txt and in .*1.txt"),
        (("s0", "s1"), "2 images are in no fold, such as 's2'"),
        (("s0 s1", "s2 s3 nobody"), "lists 'nobody', which is not in the data set"),
    ],
)
def test_lists_that_are_wrong(tmp_path, parts, message) -> None:
    with pytest.raises(ConfigError, match=message):
        divide(spots(4), FoldSettings(2, files=lists(tmp_path, *parts)))


def test_empty_folds_and_a_single_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="Fold 3 is empty; use fewer"):
        divide(spots(2), FoldSettings(3, val_share=0))
    with pytest.raises(ConfigError, match=r"no cv.holdout, so nothing is held out"):
        divide(spots(2), FoldSettings(1))
    with pytest.raises(ConfigError, match="there are 1 of them"):
        divide(spots(4), FoldSettings(2, "category"))


NAMES = st.sets(st.text("abcxyz019_é", min_size=1, max_size=4), min_size=2, max_size=23)


@settings(max_examples=150, deadline=None)
@given(NAMES, st.integers(2, 6), st.integers(2, 5), st.integers(0, 3), st.randoms())
def test_everybody_is_tested_once_and_never_learnt_from(names, outer, inner, seed, mix) -> None:
    people = dict.fromkeys(names, ("C", "P"))
    if folds_fault(len(names), outer, inner) is not None:
        with pytest.raises(DataError, match="participants"):
            nested_folds(people, outer, inner, seed)
        return
    folds = nested_folds(people, outer, inner, seed)
    assert [fold.name for fold in folds] == [f"fold_{k}" for k in range(1, outer + 1)]
    assert sorted(name for fold in folds for name in fold.test) == sorted(names)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        rest = set(names) - set(fold.test)
        assert set(fold.train) == rest
        assert list(fold.train) == sorted(rest)
        assert [part.name for part in fold.inner] == [f"inner_{k}" for k in range(1, inner + 1)]
        assert sorted(n for part in fold.inner for n in part.validation) == sorted(rest)
        counts = [len(part.validation) for part in fold.inner]
        assert max(counts) - min(counts) <= 1
        for part in fold.inner:
            three = [set(part.train), set(part.validation), set(fold.test)]
            assert all(three)
            assert sum(map(len, three)) == len(names) == len(set().union(*three))
    shuffled = list(people)
    mix.shuffle(shuffled)
    assert nested_folds(dict.fromkeys(shuffled, ("P", "C")), outer, inner, seed) == folds


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(4, 9), min_size=2, max_size=3), st.integers(2, 5), st.integers(2, 3),
    st.integers(0, 3),
)  # fmt: skip
def test_classes_of_one_class_participants_are_spread_evenly(counts, outer, inner, seed) -> None:
    people = {
        f"{label}{at}": (label,)
        for label, count in zip("CPF", counts, strict=False)
        for at in range(count)
    }
    refused = ""
    try:
        folds = nested_folds(people, outer, inner, seed)
    except DataError as error:
        refused, folds = str(error), ()
    if refused:
        assert "is left to learn from" in refused
        assert min(counts) <= -(-min(counts) // outer) + -(-min(counts) // inner)
    for label in set("CPF"[: len(counts)]) if folds else ():
        shares = [sum(name[0] == label for name in fold.test) for fold in folds]
        assert max(shares) - min(shares) <= 1
        for fold in folds:
            own = [sum(n[0] == label for n in part.validation) for part in fold.inner]
            assert max(own) - min(own) <= 1
            assert all(any(n[0] == label for n in part.train) for part in fold.inner)


def test_other_seeds_and_other_people_give_other_folds() -> None:
    people = {f"p{at}": ("C", "P") for at in range(20)}
    found = {nested_folds(people, 5, 4, seed) for seed in range(6)}
    assert len(found) == 6
    first = nested_folds(people, 5, 4, 0)
    assert first == nested_folds(people, 5, 4, 0)
    # validation folds are no copies of the other test folds
    tests = [set(fold.test) for fold in first]
    assert any(set(p.validation) not in tests for fold in first for p in fold.inner)


def test_over_seeds_every_pair_is_tested_together_about_as_often() -> None:
    names = [f"p{at}" for at in range(6)]
    people = dict.fromkeys(names, ("C", "P"))
    together = {(a, b): 0 for a in names for b in names if a < b}
    for seed in range(600):
        for fold in nested_folds(people, 3, 2, seed):
            a, b = fold.test
            together[a, b] += 1
    # of 15 pairs, 3 a seed: 120 expected each
    assert min(together.values()) > 80
    assert max(together.values()) < 165


def test_a_class_that_one_participant_has_alone_cannot_be_learnt() -> None:
    people = {"c1": ("C",), "c2": ("C",), "c3": ("C",), "c4": ("C",), "p": ("P",)}
    with pytest.raises(DataError, match=r"Fold 1, inner fold 1: nobody .* class P is left"):
        nested_folds(people, 2, 2, 0)


def test_too_few_people() -> None:
    people = {f"p{at}": ("C", "P") for at in range(4)}
    with pytest.raises(DataError, match="4 participants cannot be divided into 5 test folds"):
        nested_folds(people, 5, 2, 0)
    with pytest.raises(DataError, match="leaves 2 of 4 participants, too few for 3 validation"):
        nested_folds(people, 2, 3, 0)
    with pytest.raises(DataError, match="outer_kfolds is 1; it must be 2 or more"):
        nested_folds(people, 1, 2, 0)
    random.seed(0)  # the global generator plays no part
    first = nested_folds(people, 2, 2, 0)
    random.seed(1)
    assert nested_folds(people, 2, 2, 0) == first


@st.composite
def people(draw):
    folds = draw(st.integers(2, 6))
    kinds = [GOOD] * draw(st.integers(folds, 30)) + [BAD] * draw(st.integers(folds, 12))
    kinds += [UNLISTED] * draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = rng.permutation(np.array(kinds, dtype=np.int8))
    return np.array([f"u{n}" for n in range(len(labels))]), labels, folds


@settings(max_examples=80, deadline=None)
@given(people(), st.integers(0, 99))
def test_each_fold_holds_both_kinds_evenly(study, seed) -> None:
    users, labels, folds = study
    found = quality_folds(users, labels, folds, seed)
    assert ((found == NO_FOLD) == (labels == UNLISTED)).all()
    for kind in (GOOD, BAD):
        sizes = np.bincount(found[labels == kind], minlength=folds)
        assert len(sizes) == folds
        assert sizes.min() >= 1
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(found[found >= 0], minlength=folds)
    assert sizes.max() - sizes.min() <= 1


@settings(max_examples=30, deadline=None)
@given(people(), st.integers(0, 99))
def test_folds_follow_names_not_places(study, seed) -> None:
    users, labels, folds = study
    order = np.random.default_rng(seed).permutation(len(users))
    wanted = quality_folds(users, labels, folds, seed)
    found = quality_folds(users[order], labels[order], folds, seed)
    np.testing.assert_array_equal(found, wanted[order])


def test_other_seeds_divide_otherwise() -> None:
    users, labels = np.array([f"u{n}" for n in range(20)]), np.array([GOOD] * 12 + [BAD] * 8)
    divisions = {tuple(quality_folds(users, labels, 4, seed).tolist()) for seed in range(10)}
    assert len(divisions) == 10


def test_too_few_people_are_reported() -> None:
    users, labels = np.array(list("abcdefg")), np.array([GOOD] * 5 + [BAD] * 2, dtype=np.int8)
    with pytest.raises(
        ConfigError, match="bad_users lists 2 participants with trials, so one of 3"
    ):
        quality_folds(users, labels, 3, 0)
    with pytest.raises(ConfigError, match="good_users lists 5"):
        quality_folds(users, labels, 6, 0)
    with pytest.raises(ConfigError, match="1 folds hold nobody out"):
        quality_folds(users, labels, 1, 0)
