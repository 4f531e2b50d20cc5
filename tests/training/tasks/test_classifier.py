"""The task of classifiers: its losses, its memory, and what it learns through the real loop."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.simulation.reading_study import ReadingStudy
from clickmap_cli.datasets.classifier_images import LabelledImage, image_folder
from clickmap_cli.models.classifier import build_classifier
from clickmap_cli.models.weights import read_state
from clickmap_cli.training.checkpoints import load
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.folds import nested_folds
from clickmap_cli.training.tasks.base import Cache
from clickmap_cli.training.tasks.classifier import ClassifierTask, read_planes
from tests.training.tiny import make_stage

SIZE = (16, 18)


class Counted:
    """Pixels in memory, and how often they were asked for."""

    def __init__(self, seed: int, colour: bool = False) -> None:
        shape = (*SIZE, 3) if colour else SIZE
        self.pixels = np.random.default_rng(seed).random(shape).astype(np.float32)
        self.reads = 0

    def __call__(self) -> np.ndarray:
        self.reads += 1
        return self.pixels


def items(labels, colour=False) -> list[LabelledImage]:
    return [
        LabelledImage(f"{label}/p/{at}", "p", label, Counted(at, colour))
        for at, label in enumerate(labels)
    ]


def network(channels=1, classes=2) -> torch.nn.Module:
    return build_classifier(SIZE, channels, classes, in_size=2, dropout=0.2)


def task_of(labels="CCCP", classes=("C", "P"), **given) -> ClassifierTask:
    images = items(labels)
    return ClassifierTask(network(1, len(classes)), images, images, classes, **given)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=9), st.booleans())
def test_losses_are_weighed_cross_entropies(labels, weighted) -> None:
    task = task_of(labels, ("A", "B", "C"), weighted=weighted)
    task.network.eval()
    batch = [task.read(item, None) for item in task.train]
    with torch.no_grad():
        losses, outputs = task.losses(batch, "fp32")
    assert losses.dtype == torch.float32
    present = len(set(labels))
    for label, example, loss, output in zip(labels, batch, losses, outputs, strict=True):
        scores = task.network(example.planes[None])[0].detach().double().tolist()
        np.testing.assert_allclose(output, scores, atol=1e-5)
        wanted = math.log(sum(math.exp(s) for s in scores)) - scores["ABC".index(label)]
        if weighted:
            wanted *= len(labels) / (present * labels.count(label))
        assert float(loss) == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    used = [float(task.weights["ABC".index(label)]) for label in labels]
    assert np.mean(used) == pytest.approx(1, abs=1e-6)


def test_losses_have_gradients_and_halves_keep_them_in_single() -> None:
    task = task_of()
    batch = [task.read(item, 1) for item in task.train]
    for precision in ("fp32", "bf16"):
        task.network.zero_grad()
        losses, _ = task.losses(batch, precision)
        assert losses.dtype == torch.float32
        losses.sum().backward()
        assert all(float(p.grad.abs().sum()) > 0 for p in task.network.parameters())


def test_accuracy_is_that_of_the_highest_score() -> None:
    task = task_of(classes=("C", "P"))
    control, pseudo = task.read(task.train[0], None), task.read(task.train[3], None)
    assert (control.label, pseudo.label) == (0, 1)
    for output, example, wanted in (
        ([2.0, 1.0], control, 1), ([1.0, 2.0], control, 0), ([-3.0, -2.0], pseudo, 1),
    ):  # fmt: skip
        assert task.scores(example, torch.tensor(output)) == {"accuracy": wanted}
    assert task.watched == ("accuracy",)


def test_colour_and_grey_come_as_planes() -> None:
    grey, colour = items("C")[0], items("C", colour=True)[0]
    cache = Cache()
    assert read_planes(grey, cache).shape == (1, *SIZE)
    other = replace(colour, image_id="C/p/colour")
    planes = read_planes(other, cache)
    assert planes.shape == (3, *SIZE)
    np.testing.assert_array_equal(planes.numpy(), np.moveaxis(colour.source.pixels, -1, 0))
    task = ClassifierTask(network(3), [other], [], ("C", "P"))
    assert task.alike(task.read(other, None)) == (3, *SIZE)


def test_images_are_kept_while_they_fit() -> None:
    images = items("CCPP")
    size = 4 * SIZE[0] * SIZE[1]
    cache = Cache(2 * size + 1)
    for _ in range(3):
        for item in images:
            np.testing.assert_array_equal(read_planes(item, cache)[0], item.source.pixels)
    assert [item.source.reads for item in images] == [1, 1, 3, 3]
    one, two = (ClassifierTask(network(), images, [], "CP", cache=cache) for _ in range(2))
    for task in (one, two):
        task.read(images[0], 1)
    assert images[0].source.reads == 1  # folds share what was read
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(partial(read_planes, cache=Cache(10**6)), images * 20))
    for item, planes in zip(images * 20, found, strict=True):
        np.testing.assert_array_equal(planes[0], item.source.pixels)


def test_probabilities_never_depend_on_the_batch_and_leave_the_network_alone() -> None:
    task = task_of("CPCPC")
    task.network.train()
    before = {key: value.clone() for key, value in task.network.state_dict().items()}
    found = task.probabilities(task.train, 2)
    assert found.dtype == np.float64
    assert found.shape == (5, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(task.probabilities(task.train, 5), found, atol=1e-6)
    np.testing.assert_allclose(task.probabilities(task.train[::-1], 3)[::-1], found, atol=1e-6)
    assert task.probabilities([], 2).shape == (0, 2)
    assert all(v.equal(before[k]) for k, v in task.network.state_dict().items())


# --- through the loop ---------------------------------------------------------------------------

SETTINGS = FitSettings(
    (make_stage("train", 12, 0.01, schedule="cosine", weight_decay=0.01),), batch_size=4,
    monitor="val_accuracy", monitor_max=True, keep_bests="model_epoch_{}.pt",
)  # fmt: skip


def study(folder, **given):
    """A study that is easy: small maps with a high bump."""
    plain = {"n_participants": 8, "n_maps": 6, "side": 32, "peak": 4, "sigma_px": 6, "wander": 2}
    ReadingStudy(**(plain | given)).write(folder)
    return image_folder(folder)


def trained(images, train, validation, folder, resume=False) -> ClassifierTask:
    made = build_classifier((32, 32), 1, 2, in_size=4, dropout=0.2, seed=1)
    about = {"network": "base", "in_size": 4}
    task = ClassifierTask(made, train, validation, images.classes, about=about)
    fit(FitJob(task, SETTINGS, folder), resume)
    task.network.load_state_dict(load(folder / "best.pth")["state_dict"])
    return task


def right(images, task, some) -> float:
    return float(np.mean(task.probabilities(some).argmax(axis=1) == images.codes(some)))


def by_people(images, names):
    return [item for item in images.items if item.participant in names]


def test_it_learns_what_holds_for_people_it_has_not_seen(tmp_path) -> None:
    images = study(tmp_path / "data", n_participants=12)
    fold = nested_folds(images.participants, 3, 4, 0)[0]
    train, validation = (
        by_people(images, names) for names in (fold.inner[0].train, fold.inner[0].validation)
    )
    task = trained(images, train, validation, tmp_path / "run")
    assert right(images, task, by_people(images, fold.test)) >= 0.9
    kept = load(tmp_path / "run/best.pth")["about"]
    assert kept["classes"] == ["C", "P"]
    assert (kept["network"], kept["in_size"]) == ("base", 4)
    bests = sorted((tmp_path / "run").glob("model_epoch_*.pt"))
    assert bests
    assert f"model_epoch_{kept['best_epoch']}.pt" in [path.name for path in bests]


def test_a_watermark_of_each_participant_helps_nobody_who_is_held_out(tmp_path) -> None:
    """It gives the class away within participants, and nothing about others."""
    marks = {"peak": 0, "one_class": True, "watermark": 3.0}
    images = study(tmp_path / "data", **marks, n_participants=24)
    everybody = list(images.items)
    leaky = trained(images, everybody[::2], [], tmp_path / "leaky")
    assert right(images, leaky, everybody[1::2]) >= 0.85
    found = []
    for fold in nested_folds(images.participants, 2, 2, 0):
        rest = by_people(images, fold.train)
        task = trained(images, rest, [], tmp_path / fold.name)
        assert right(images, task, rest) >= 0.85
        found.append(right(images, task, by_people(images, fold.test)))
    assert np.mean(found) <= 0.7  # 24 people, each of whom is a coin's toss


def test_a_resumed_training_equals_one_never_killed(tmp_path) -> None:
    images = study(tmp_path / "data")
    train, validation = list(images.items)[::2], list(images.items)[1::2]
    whole = trained(images, train, validation, tmp_path / "whole")
    made = build_classifier((32, 32), 1, 2, in_size=4, dropout=0.2, seed=1)
    task = ClassifierTask(made, train, validation, images.classes)

    read, reads = task.read, []

    def dying(item, epoch):
        reads.append(item)
        if len(reads) > 5 * len(images.items) // 2:
            raise KeyboardInterrupt
        return read(item, epoch)

    task.read = dying
    with pytest.raises(KeyboardInterrupt):
        fit(FitJob(task, SETTINGS, tmp_path / "killed"))
    again = trained(images, train, validation, tmp_path / "killed", resume=True)
    for one, other in zip(
        whole.network.state_dict().values(), again.network.state_dict().values(), strict=True
    ):
        assert one.equal(other)
    first, second = (
        read_state(tmp_path / name / "final.pth") for name in ("whole", "killed")
    )  # fmt: skip
    assert all(first[key].equal(second[key]) for key in first)
