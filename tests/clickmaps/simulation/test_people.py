"""The simulation has the truth that it says it has."""

from __future__ import annotations

import numpy as np
import pytest

from clickmap_cli.clickmaps.simulation.people import Simulation


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
    settings = MapSettings.of(load_experiment(None, words).config)
    density = np.random.default_rng(0).random((12, 12))
    density /= density.sum()
    total = np.zeros((8, 10))
    for y in range(12):
        for x in range(12):
            one = ImageClicks(np.array([x]), np.array([y]), np.array([0, 1]), (12, 12))
            total += density[y, x] * mean_map(one, settings)
    np.testing.assert_allclose(expected_map(density, settings), total, atol=1e-7)
