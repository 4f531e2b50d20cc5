"""Ground truth from people's maps, recomputed; what is missing is named."""

from __future__ import annotations

import numpy as np
import pytest

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.training.targets import Targets
from tests.training.tiny import SIZE, Spot


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
