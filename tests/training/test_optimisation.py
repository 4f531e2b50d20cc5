"""Optimisers and schedules against their formulas, written out in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clickmap_cli.config.saliency import Stage
from clickmap_cli.runtime.errors import RunError
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.optimisation import Schedule
from clickmap_cli.training.tasks.base import Task
from tests.training.tiny import make_stage

RNG = np.random.default_rng(4)
X, Y = RNG.normal(0, 1, (5, 3)), RNG.normal(0, 1, 5)
START = np.array([0.5, -1.0, 0.25])
EPOCHS, BATCH = 4, 2


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))


class Regression(Task):
    """Half the squared residual of every item, in their order."""

    def __init__(self) -> None:
        self.network = Line()
        self.train, self.validation = range(5), ()

    def name(self, item) -> str:
        return str(item)

    def read(self, item, epoch):
        return item

    def items(self, epoch, seed):
        return list(self.train)

    def losses(self, batch, precision):
        found = torch.tensor(X[batch]) @ self.network.slopes
        return 0.5 * (found - torch.tensor(Y[batch])) ** 2, batch


def gradients(w: np.ndarray, items: list[int]) -> np.ndarray:
    return sum((X[at] @ w - Y[at]) * X[at] for at in items) / len(items)


def plain(optimizer: str, clip: float | None, decay: float, stage: Stage) -> np.ndarray:
    w, moved, squares, t = START.copy(), np.zeros(3), np.zeros(3), 0
    steps = [[0, 1], [2, 3], [4]] * EPOCHS
    for t, items in enumerate(steps):
        rate = stage.lr * (1 - t / len(steps))
        g = gradients(w, items)
        length = math.sqrt((g**2).sum())
        if clip is not None and length > clip:
            g = g * clip / length
        if optimizer == "adamw":
            w = w - rate * decay * w
        else:
            g = g + decay * w
        if optimizer == "sgd":
            moved = 0.7 * moved + g
            w = w - rate * moved
            continue
        moved, squares = 0.9 * moved + 0.1 * g, 0.999 * squares + 0.001 * g**2
        m, v = moved / (1 - 0.9 ** (t + 1)), squares / (1 - 0.999 ** (t + 1))
        w = w - rate * m / (np.sqrt(v) + 1e-8)
    return w


def test_gradients_that_are_not_numbers_stop_before_they_move_anything(tmp_path) -> None:
    class Steep(Regression):
        def losses(self, batch, precision):
            found, names = super().losses(batch, precision)
            return found + (self.network.slopes - self.network.slopes).sum().abs().sqrt(), names

    task = Steep()
    settings = FitSettings(stages=(make_stage("s", 1, 0.1),), batch_size=BATCH)
    with pytest.raises(RunError, match=r"a gradient became NaN or infinite in step 1 of epoch 1"):
        fit(FitJob(task=task, folder=tmp_path, settings=settings))
    np.testing.assert_array_equal(task.network.slopes.detach().numpy(), START)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weights_are_what_the_formulas_give(tmp_path, optimizer, clip, decay, precision) -> None:
    stage = make_stage("s", EPOCHS, 0.2, weight_decay=decay, schedule="linear")
    task = Regression()
    fit(
        FitJob(
            task=task, folder=tmp_path,
            settings=FitSettings(
                stages=(stage,), batch_size=BATCH, optimizer=optimizer, momentum=0.7,
                clip_norm=clip, precision=precision, loss_scale=1024.0,
            ),
        )
    )  # fmt: skip
    found = task.network.slopes.detach().numpy()
    # torch adds 1e-6 to the length that it clips by
    np.testing.assert_allclose(found, plain(optimizer, clip, decay, stage), rtol=1e-4)
    assert np.abs(found - START).max() > 0.05


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
        made.validated(loss)
        found.append(made.factor(0))
        again = Schedule(stage, 1)
        again.restore(made.state())
        made = again
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
