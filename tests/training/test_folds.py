"""Folds: every image in exactly one test fold, and never in its own training."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.training.folds import FoldSettings, divide
from tests.training.tiny import Spot, spots


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 30), k=st.integers(2, 5), categories=st.integers(1, 6),
    group=st.sampled_from(["image", "category"]), share=st.sampled_from([0.0, 0.1, 0.4]),
    seed=st.integers(0, 3),
)  # fmt: skip
def test_every_image_is_held_out_once(n, k, categories, group, share, seed) -> None:
    images = [Spot(f"i{at}", at, category=f"c{at % categories}") for at in range(n)]
    wanted = FoldSettings(k, group, val_share=share, seed=seed)
    try:
        division = divide(images, wanted)
    except ConfigError:
        few = min(n, categories) if group == "category" else n
        assert few < k or n - -(-n // k) - max(1, round(share * n)) < 1 or group == "category"
        return
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


def test_people_are_held_out_instead_of_images() -> None:
    division = divide(spots(4), FoldSettings(3, "participant", val_share=0))
    assert sorted(p for fold in division.folds for p in fold.test_people) == ["ann", "bob", "cy"]
    for fold in division.folds:
        assert len(fold.train_people) == 2
        assert not set(fold.train_people) & set(fold.test_people)
        assert fold.train == fold.test == ("s0", "s1", "s2", "s3")
    with pytest.raises(ConfigError, match=r"3 are named, so one of 4 folds would be empty"):
        divide(spots(4), FoldSettings(4, "participant"))


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
