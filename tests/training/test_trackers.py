"""Trackers: what they need, and that Weights & Biases runs without a network."""

from __future__ import annotations

import importlib.util

import pytest

from clickmap_cli.runtime.errors import MissingExtraError
from clickmap_cli.training.trackers import TensorBoardTracker, WandbTracker

ROW = {"epoch": 1, "stage": "head", "train_loss": 0.5, "val_NSS": 1.25}


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("tensorboard", TensorBoardTracker),
        ("wandb", lambda folder: WandbTracker(folder, mode="offline")),
    ],
)
def test_what_is_not_installed_names_its_extra(tmp_path, monkeypatch, package, make) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'clickmap\[{package}\]'"):
        make(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_offline_keeps_the_rows(tmp_path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    tracker = WandbTracker(
        tmp_path, name="one", group="several", mode="offline", project="clickmap"
    )
    tracker.begin([ROW])
    tracker.log({**ROW, "epoch": 2})
    tracker.end()
    assert list(tmp_path.rglob("*.wandb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_keeps_the_rows(tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    tracker = TensorBoardTracker(tmp_path)
    tracker.begin([])
    tracker.log(ROW)
    tracker.end()
    assert list(tmp_path.glob("events.out.tfevents.*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_rows_at_their_steps_where_there_are_steps(tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = [{**ROW, "epoch": epoch, "step": step} for epoch, step in ((1, 3), (1, 5), (2, 6))]
    for begin, log in ((0, 3), (1, 3)):  # a killed run, and one that goes on after its first row
        tracker = TensorBoardTracker(tmp_path)
        tracker.begin(rows[:begin])
        for row in rows[begin:log]:
            tracker.log(row)
        tracker.end()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(event.step for event in events.Scalars("train_loss")) == [3, 5, 6]
