"""The large simulation draws what the small one draws, whatever the number of trials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.simulation import large as large_simulation
from clickmap_cli.clickmaps.simulation.large import BLOCK, LargeStudy, TrialBlock
from clickmap_cli.clickmaps.simulation.people import CARELESS_UNIFORM, Simulation

STUDY = LargeStudy(seed=3, n_images=6, n_users=6000, side=64)


def gathered(study: LargeStudy, n: int) -> TrialBlock:
    blocks = list(study.blocks(n))
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
    return TrialBlock(
        np.concatenate([block.image for block in blocks]),
        np.concatenate([block.user for block in blocks]),
        np.concatenate(([0], np.cumsum(lengths))),
        np.concatenate([block.pixel for block in blocks]),
    )


def same(one: TrialBlock, two: TrialBlock) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("image", "user", "offsets", "pixel")
    )


@pytest.fixture(scope="module")
def block() -> TrialBlock:
    return STUDY.block(0)


def clicks_of(block: TrialBlock, role: str, image: int | None = None) -> np.ndarray:
    """Pixels of all clicks of users with a role (on one image)."""
    rows = STUDY.roles[block.user] == role
    if image is not None:
        rows &= block.image == image
    return block.pixel[np.repeat(rows, np.diff(block.offsets))]


def test_a_block_does_not_depend_on_what_else_is_drawn(block) -> None:
    other = LargeStudy(seed=3, n_images=6, n_users=6000, side=64)
    later = other.block(1)
    assert same(other.block(0), block)
    assert same(STUDY.block(1), later)
    assert not np.array_equal(later.pixel[:1000], block.pixel[:1000])
    assert not same(LargeStudy(seed=4, n_images=6, n_users=6000, side=64).block(0), block)


def test_fewer_trials_are_the_first_of_more(block) -> None:
    for n in (1, 17, BLOCK - 1):
        assert same(gathered(STUDY, n), block.first(n))
    more = gathered(STUDY, BLOCK + 5)
    assert len(more) == BLOCK + 5
    assert same(more.first(BLOCK), block)
    assert len(more.pixel) == more.offsets[-1]


@settings(max_examples=40, deadline=None)
@given(
    n_images=st.integers(1, 12), n_users=st.integers(1, 30), seed=st.integers(0, 5),
    share=st.floats(0.01, 1),
)  # fmt: skip
def test_images_take_turns_and_nobody_sees_one_twice(n_images, n_users, seed, share) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_simulation, "BLOCK", 64)
        study = LargeStudy(seed, n_images, n_users, side=16)
        n = max(n_images, int(share * n_images * n_users))
        drawn = gathered(study, n)
    counts = np.bincount(drawn.image, minlength=n_images)
    assert counts.max() - counts.min() <= 1
    for first in range(0, n, n_images):  # in a round every image comes once
        some = drawn.image[first : first + n_images]
        assert len(set(some.tolist())) == len(some)
    pairs = set(zip(drawn.image.tolist(), drawn.user.tolist(), strict=True))
    assert len(pairs) == n
    assert 0 <= drawn.user.min() <= drawn.user.max() < n_users


def test_users_of_an_image_are_spread_over_all() -> None:
    users = LargeStudy(0, 300, 1000, side=16).block(0).user
    seen = np.bincount(users[:30_000], minlength=1000)
    # 30 draws a user on average: none of a thousand is ten standard deviations away
    assert seen.min() > 0
    assert seen.max() < 30 + 10 * np.sqrt(30)


def test_keys_names_and_roles_are_those_of_the_simulation() -> None:
    small = Simulation(3, n_images=6, n_users=6000, side=64)
    assert STUDY.image_keys == [image.key for image in small.images()]
    assert STUDY.user_names == small.user_names()
    assert STUDY.roles.tolist() == small.roles()


def test_beyond_the_scenes_images_repeat_under_names_of_their_own(monkeypatch) -> None:
    monkeypatch.setattr(large_simulation, "SCENES", 4)
    study = LargeStudy(0, 1200, 40, side=16)
    keys = study.image_keys
    assert len(set(keys)) == 1200
    assert keys[0].endswith("/0001.png")
    assert keys[1199].endswith("/1200.png")
    folders = [key.split("/")[0] for key in keys]
    assert folders[:4] * 300 == folders
    assert len(list(study.scenes())) == 4


def test_lengths_are_20_and_a_poisson_of_25(block) -> None:
    lengths = np.diff(block.offsets)
    assert lengths.min() >= 20
    # mean 45, variance 25; five standard errors of each
    assert lengths.mean() == pytest.approx(45, abs=5 * 5 / np.sqrt(BLOCK))
    assert lengths.var() == pytest.approx(25, abs=5 * 25 * np.sqrt(2 / BLOCK))


def test_careful_clicks_follow_the_density_of_their_image(block) -> None:
    for at, image in enumerate(Simulation(3, n_images=6, side=64).images()):
        clicks = clicks_of(block, "careful", at)
        n = len(clicks)
        assert n > 100_000
        # cells of about equal mass, so that no expected count is small
        order = np.argsort(image.density.ravel())[::-1]
        cell = np.empty(64 * 64, dtype=int)
        cell[order] = np.minimum(np.cumsum(image.density.ravel()[order]) * 50, 49).astype(int)
        expected = n * np.bincount(cell, image.density.ravel(), 50)
        observed = np.bincount(cell[clicks], minlength=50)
        chi2 = ((observed - expected) ** 2 / expected).sum()
        # 49 degrees of freedom: s.d. sqrt(98), six of them
        assert chi2 < 49 + 6 * np.sqrt(98)


def test_careless_clicks_are_uniform_by_six_tenths(block) -> None:
    for at, image in enumerate(Simulation(3, n_images=6, side=64).images()):
        clicks = clicks_of(block, "careless", at)
        hot = image.density.ravel() > np.quantile(image.density, 0.9)
        share = CARELESS_UNIFORM * hot.mean()
        share += (1 - CARELESS_UNIFORM) * image.density.ravel()[hot].sum()
        error = np.sqrt(share * (1 - share) / len(clicks))
        assert hot[clicks].mean() == pytest.approx(share, abs=5 * error)


def test_cheaters_draw_their_own_scribble_click_by_click(block) -> None:
    small = Simulation(3, n_users=6000, side=64)
    rows = np.flatnonzero(STUDY.roles[block.user] == "cheating")
    assert len(rows) > 1000
    for row in rows[:200].tolist():
        first, last = block.offsets[row], block.offsets[row + 1]
        wanted = small.scribble(STUDY.user_names[block.user[row]]).points(int(last - first))
        pixel = block.pixel[first:last]
        np.testing.assert_array_equal(np.stack((pixel % 64, pixel // 64), axis=1), wanted)
