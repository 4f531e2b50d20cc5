"""Nested folds: nobody on both sides, everybody tested once, whatever the numbers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.datasets.classifier_images import folds_fault
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.training.nested_folds import nested_folds

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
