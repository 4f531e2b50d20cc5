"""The simulation has the truth that it says it has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.simulation import people as simulated
from clickmap_cli.clickmaps.simulation.people import (
    BLOCK,
    CARELESS_UNIFORM,
    LargeStudy,
    Simulation,
    TrialBlock,
)


def test_counts_are_those_of_the_design() -> None:
    study = Simulation()
    assert (study.n_images, study.n_users, study.users_per_image, study.side) == (60, 40, 12, 256)
    roles = study.roles()
    assert {role: roles.count(role) for role in set(roles)} == {
        "careful": 32, "careless": 5, "cheating": 3,
    }  # fmt: skip
    trials = study.trials()
    assert len(trials) == 60 * 12
    assert np.bincount(trials.image).tolist() == [12] * 60
    # 20 + Poisson(25): mean 45, variance 25; the mean of 720 stays within five standard errors
    assert trials.n_clicks.mean() == pytest.approx(45, abs=5 * 5 / np.sqrt(720))
    assert trials.n_clicks.min() >= 20


def test_density_is_nine_tenths_mixture_and_one_tenth_uniform() -> None:
    for image in Simulation(n_images=5).images():
        assert image.density.sum() == pytest.approx(1, abs=1e-12)
        assert image.density.min() >= 0.1 / 256**2
        assert image.density.min() == pytest.approx(0.1 / 256**2, rel=0.01)
        assert image.pixels.shape == (256, 256, 3)


def test_careful_users_click_where_the_density_is() -> None:
    study = Simulation(seed=1, n_images=8, n_users=12)
    roles = dict(zip(study.user_names(), study.roles(), strict=True))
    share = {"careful": [], "careless": [], "cheating": []}
    for image in study.images():
        dense = image.density > np.quantile(image.density, 0.9)
        expected = image.density[dense].sum()
        for user, clicks in study.trials_of(image):
            share[roles[user]].append(dense[clicks[:, 1], clicks[:, 0]].mean() / expected)
    assert np.mean(share["careful"]) == pytest.approx(1, abs=0.05)
    assert np.mean(share["careless"]) < 0.8


def test_cheaters_draw_the_same_on_every_image() -> None:
    study = Simulation(seed=2, n_images=6, n_users=12)
    cheat = study.user_names()[study.roles().index("cheating")]
    drawn = [c for image in study.images() for user, c in study.trials_of(image) if user == cheat]
    spans = [(clicks[0].tolist(), clicks[-1].tolist()) for clicks in drawn]
    assert len(spans) == 6
    assert all(span == spans[0] for span in spans)


def test_the_same_seed_gives_the_same_study() -> None:
    one, two, other = (Simulation(seed=s, n_images=3).trials() for s in (4, 4, 5))
    np.testing.assert_array_equal(one.x, two.x)
    assert len(other.x) != len(one.x) or bool((other.x != one.x).any())


def test_the_expected_map_is_the_mean_of_very_many_single_clicks() -> None:
    """Every pixel's blurred click, weighed with its probability: linear, so the sum is the map."""
    from clickmap_cli.clickmaps.maps import ImageClicks, mean_map
    from clickmap_cli.clickmaps.settings import MapSettings
    from clickmap_cli.clickmaps.simulation.people import expected_map
    from clickmap_cli.config.loading import load_experiment

    words = ["image_shape=[12,12]", "blur_size=5", "center_crop=[8,10]"]
    settings = MapSettings.from_config(load_experiment(None, words).config)
    density = np.random.default_rng(0).random((12, 12))
    density /= density.sum()
    total = np.zeros((8, 10))
    for y in range(12):
        for x in range(12):
            one = ImageClicks(np.array([x]), np.array([y]), np.array([0, 1]), (12, 12))
            total += density[y, x] * mean_map(one, settings)
    np.testing.assert_allclose(expected_map(density, settings), total, atol=1e-7)


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


def test_a_block_does_not_depend_on_other_draws(block) -> None:
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
        patch.setattr(simulated, "BLOCK", 64)
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
    monkeypatch.setattr(simulated, "SCENES", 4)
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
        wanted = small.scribble(STUDY.user_names[block.user[row]])(int(last - first))
        pixel = block.pixel[first:last]
        np.testing.assert_array_equal(np.stack((pixel % 64, pixel // 64), axis=1), wanted)
