"""A network small enough to train in a test, and images with a bright spot that people look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clickmap_cli.config.saliency import Freeze, Stage
from clickmap_cli.datasets.base import Points, Stimulus
from clickmap_cli.datasets.people import FixationPeople
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.training.fitting import FitJob, FitSettings
from clickmap_cli.training.tasks.saliency import SaliencyTask, Targets

SIZE = (10, 12)


def make_stage(name: str, epochs: int, lr: float, **more: Any) -> Stage:
    """A stage whose rate does not change unless `more` says so."""
    return Stage(name=name, epochs=epochs, lr=lr, **{"schedule": "constant", **more})


class TinyNetwork(torch.nn.Module):
    """A backbone with BatchNorm and Dropout, and a readout."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, padding=1),
            torch.nn.BatchNorm2d(4) if norm else torch.nn.Identity(),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2) if norm else torch.nn.Identity(),
            torch.nn.Conv2d(4, 4, 3, padding=1),
        )
        self.readout = torch.nn.Conv2d(4, 1, 1)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.readout(self.features(images))[:, 0] * self.scale

    def blocks(self) -> dict[str, list[torch.nn.Parameter]]:
        return {
            "backbone": list(self.features.parameters()),
            "saliency": list(self.readout.parameters()),
            "fixation_selection": [],
            "finalizer": [self.scale],
        }


class TinyModel(TorchSaliencyModel):
    output = "log_density"

    def __init__(self, norm: bool = True, **kwargs: Any) -> None:
        super().__init__(device="cpu", **kwargs)
        self.norm = norm

    def build(self) -> torch.nn.Module:
        return TinyNetwork(self.norm)

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        return network(images)


@dataclass
class Spot(Stimulus):
    """Three people look near a bright spot."""

    image_id: str
    at: int
    size: tuple[int, int] = SIZE
    category: str = "all"
    named: bool = True

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.at)
        height, width = self.size
        self.spot = rng.uniform(2, 8, 2)
        x = np.clip(self.spot[1] + rng.normal(0, 1, 9), 0, width - 1)
        y = np.clip(self.spot[0] + rng.normal(0, 1, 9), 0, height - 1)
        subject = np.repeat(np.arange(3), 3).astype(np.int32) if self.named else None
        self.points = Points(x, y, subject, ("ann", "bob", "cy") if self.named else ())

    def image(self) -> np.ndarray:
        rng = np.random.default_rng(self.at)
        y, x = np.mgrid[0 : self.size[0], 0 : self.size[1]]
        blob = np.exp(-((y - self.spot[0]) ** 2 + (x - self.spot[1]) ** 2) / 4)
        grey = 0.8 * blob + 0.2 * rng.random(self.size)
        return np.stack([grey] * 3, axis=-1).astype(np.float32)

    def truth(self) -> np.ndarray:
        return self.points.counts(self.size).astype(np.float64) + 0.01

    def people(self) -> FixationPeople | None:
        if not self.named:
            return None
        return FixationPeople(self.points, self.size, 1.5)

    def image_digest(self) -> str:
        return f"{self.at}"

    def truth_digest(self) -> str:
        return f"{self.at}"


def spots(n: int = 6, **kwargs: Any) -> list[Spot]:
    return [Spot(f"s{at}", at, **kwargs) for at in range(n)]


def job_for(folder: Path, stages: list[Stage] | None = None, **kwargs: Any) -> FitJob:
    """A training of two stages: the head, then everything."""
    stages = stages or [
        make_stage(
            "head",
            2,
            0.02,
            freeze=Freeze("train_blocks", ["head"]),
            schedule="cosine",
        ),
        make_stage("all", 3, 0.01, warmup_steps=2, weight_decay=0.01, schedule="constant"),
    ]
    job_keys = ("trackers", "watch", "group")
    of_job = {name: kwargs.pop(name) for name in job_keys if name in kwargs}
    images = spots(8)
    made = {"model": TinyModel(), "train": images[:6], "validation": images[6:],
            "targets": Targets(aggregate="random"), "loss": "kl"}  # fmt: skip
    task = SaliencyTask(**{name: kwargs.pop(name, value) for name, value in made.items()})
    settings = FitSettings(**{"stages": tuple(stages), "batch_size": 2, "accumulate": 2} | kwargs)
    return FitJob(task=task, settings=settings, folder=folder, identity="me", **of_job)
