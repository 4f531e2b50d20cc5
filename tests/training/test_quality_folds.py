"""Folds of participants: everybody held out once, both kinds in each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.participants import BAD, GOOD, UNLISTED
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.training.quality_folds import NO_FOLD, quality_folds


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


def test_too_few_people_are_said() -> None:
    users, labels = np.array(list("abcdefg")), np.array([GOOD] * 5 + [BAD] * 2, dtype=np.int8)
    with pytest.raises(
        ConfigError, match="bad_users lists 2 participants with trials, so one of 3"
    ):
        quality_folds(users, labels, 3, 0)
    with pytest.raises(ConfigError, match="good_users lists 5"):
        quality_folds(users, labels, 6, 0)
    with pytest.raises(ConfigError, match="1 folds hold nobody out"):
        quality_folds(users, labels, 1, 0)
