"""Losses against plain loops; densities as scores see them; schedules against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.models.base import finished
from clickmap_cli.training.losses import kl, log_densities, nll_fixations
from clickmap_cli.training.schedules import Schedule
from tests.training.tiny import make_stage

RNG = np.random.default_rng(0)


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
    wanted = finished(values, output, Geometry(values.shape, size, None), True).astype(np.float64)
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


def factors(schedule: str, steps: int, **settings) -> list[float]:
    made = Schedule(make_stage("s", 4, 1.0, schedule=schedule, **settings), 5)
    return [made.factor(step) for step in range(steps)]


def test_schedules_follow_their_formulas() -> None:
    assert factors("constant", 20, warmup_steps=4)[:6] == [0.25, 0.5, 0.75, 1, 1, 1]
    wanted = [0.5 * (1 + math.cos(math.pi * (t - 4) / 16)) for t in range(4, 20)]
    assert factors("cosine", 20, warmup_steps=4)[4:] == pytest.approx(wanted, abs=1e-12)
    wanted = [1 - (t - 4) / 16 for t in range(4, 20)]
    assert factors("linear", 20, warmup_steps=4)[4:] == pytest.approx(wanted, abs=1e-12)
    stepped = factors("step", 20, step_epochs=2, gamma=0.1)
    assert stepped == pytest.approx([1.0] * 10 + [0.1] * 10)


def test_plateau_falls_after_epochs_without_a_better_loss_and_goes_on_where_it_was() -> None:
    stage = make_stage("s", 9, 1.0, schedule="plateau", gamma=0.5, plateau_patience=2)
    made = Schedule(stage, 1)
    found = []
    for loss in (3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.0):
        made.epoch_ended(loss)
        found.append(made.factor(0))
        again = Schedule(stage, 1)
        again.restore(made.state())
        made = again
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
