"""Ground truth from people's maps, recomputed; losses against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.models.base import finish_prediction
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.training.tasks.saliency import Targets, kl, log_densities, nll_fixations
from tests.training.tiny import SIZE, Spot

RNG = np.random.default_rng(0)


def gaussian_map(x, y) -> np.ndarray:
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    total = np.zeros(SIZE)
    for px, py in zip(np.floor(x), np.floor(y), strict=True):
        total += np.exp(-((columns - px) ** 2 + (rows - py) ** 2) / (2 * 1.5**2))
    return total / total.sum()


def by_person(spot: Spot) -> list[np.ndarray]:
    x, y, who = spot.points.x, spot.points.y, spot.points.subject
    return [gaussian_map(x[who == person], y[who == person]) for person in range(3)]


@pytest.mark.parametrize(("aggregate", "pool"), [("mean", np.mean), ("median", np.median)])
def test_people_are_pooled_each_with_the_same_weight(aggregate, pool) -> None:
    spot = Spot("s", 1)
    wanted = pool(by_person(spot), axis=0)
    found = Targets(aggregate).density(spot, 3)
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-5)


def test_random_draws_one_person_an_epoch_by_seed_image_and_epoch() -> None:
    spot = Spot("s", 1)
    people = by_person(spot)
    drawn = []
    for epoch in range(40):
        found = Targets("random").density(spot, epoch)
        who = [p for p in range(3) if np.allclose(found, people[p], rtol=1e-4, atol=1e-7)]
        assert len(who) == 1
        drawn.append(who[0])
        assert np.array_equal(found, Targets("random").density(spot, epoch))
        assert len(Targets("random").points(spot, epoch)) == 3
    assert set(drawn) == {0, 1, 2}
    mean = Targets("random").density(spot, None)
    np.testing.assert_allclose(mean, np.mean(people, axis=0), rtol=1e-5)


def test_without_named_people_the_truth_counts() -> None:
    spot = Spot("s", 1, named=False)
    truth = spot.truth()
    np.testing.assert_allclose(Targets().density(spot), truth / truth.sum(), rtol=1e-6)
    assert len(Targets().points(spot)) == 9


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_cached_maps_come_to_the_images_size_and_sum_1(tmp_path, how) -> None:
    np.save(tmp_path / "s.npy", np.eye(5, dtype=np.float32))
    found = Targets("mean", how, tmp_path).density(Spot("s", 1))
    assert found.shape == SIZE
    assert found.min() >= 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(DataError, match=r"other: no other.npy in gt_cache_dir"):
        Targets("mean", how, tmp_path).density(Spot("other", 1))


def test_an_image_without_truth_is_named(monkeypatch) -> None:
    spot = Spot("lonely", 1, named=False)
    monkeypatch.setattr(Spot, "truth", lambda self: None)
    with pytest.raises(DataError, match="lonely: no ground truth"):
        Targets().density(spot)
    monkeypatch.setattr(Spot, "truth", lambda self: np.zeros(SIZE))
    with pytest.raises(DataError, match="lonely: no ground truth"):
        Targets().density(spot)
    spot.points = None
    with pytest.raises(DataError, match="lonely: no fixations"):
        Targets().points(spot)


def test_a_cached_map_of_another_aspect_ratio_is_refused(tmp_path) -> None:
    height, width = SIZE
    np.save(tmp_path / "s.npy", np.ones((height, 3 * width), dtype=np.float32))
    with pytest.raises(DataError, match=rf"s\.npy: a map of {height} x {3 * width} fits neither"):
        Targets("mean", "bilinear", tmp_path).density(Spot("s", 1))


def density(shape=(3, 4)) -> np.ndarray:
    values = RNG.random(shape)
    return values / values.sum()


def test_kl_equals_a_plain_loop() -> None:
    target, predicted = density(), density()
    target[0, 0] = 0
    target /= target.sum()
    wanted = sum(
        float(t) * (math.log(t) - math.log(p))
        for t, p in zip(target.ravel(), predicted.ravel(), strict=True)
        if t > 0
    )
    found = kl(torch.tensor(predicted).log()[None], torch.tensor(target)[None])
    assert float(found[0]) == pytest.approx(wanted, abs=1e-12)
    same = torch.tensor(target)[None]
    assert float(kl(same.clamp_min(1e-300).log(), same)[0]) == pytest.approx(0, abs=1e-12)


def test_nll_equals_a_plain_loop() -> None:
    predicted = density()
    rows, columns = [0, 2, 2], [1, 3, 3]
    wanted = -sum(math.log(predicted[r, c]) for r, c in zip(rows, columns, strict=True)) / 3
    pixels = [(torch.tensor(rows), torch.tensor(columns))]
    found = nll_fixations(torch.tensor(predicted).log()[None], pixels)
    assert float(found[0]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("output", ["map", "density", "log_density"])
@pytest.mark.parametrize("size", [(3, 4), (6, 8), (7, 9), (2, 3)])
def test_densities_are_those_that_are_scored(output, size) -> None:
    values = density().astype(np.float32)
    if output == "log_density":
        values = np.log(values)
    if output == "map":
        values = values * 7 - 0.1
    wanted = finish_prediction(values, output, Geometry(values.shape, size, None), True).astype(
        np.float64
    )
    if output == "log_density":
        wanted = np.exp(wanted)
    found = log_densities(torch.tensor(values)[None], output, size)[0].exp()
    assert found.shape == size
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    # maps are mixed with 1e-6 of uniform
    np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-3, atol=2e-6)


def test_an_empty_map_is_uniform_and_a_zero_has_a_finite_loss() -> None:
    found = log_densities(torch.zeros(1, 2, 2), "map", (2, 2))
    np.testing.assert_allclose(found.exp().numpy(), 0.25, rtol=1e-6)
    one = torch.zeros(1, 2, 2)
    one[0, 0, 0] = 1
    assert torch.isfinite(kl(log_densities(one, "density", (2, 2)), 1 - one)).all()


def test_gradients_reach_the_network_through_resizing() -> None:
    values = torch.randn(1, 4, 4, requires_grad=True)
    loss = kl(log_densities(values, "log_density", (8, 9)), torch.full((1, 8, 9), 1 / 72))
    loss.sum().backward()
    assert values.grad is not None
    assert float(values.grad.abs().sum()) > 0
