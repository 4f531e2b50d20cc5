"""Run under torchrun: a training shared by processes; the first one writes what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from clickmap_cli.config.saliency import Freeze
from clickmap_cli.training.distributed import join_processes
from clickmap_cli.training.fitting import fit
from clickmap_cli.training.trackers import CsvTracker
from tests.training.test_fitting import sizes_mixed
from tests.training.tiny import TinyModel, job_for, make_stage


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    stages = [
        make_stage("head", 1, 0.02, freeze=Freeze("train_blocks", ["head"])),
        make_stage("all", 2, 0.05, weight_decay=0.01),
    ]
    with join_processes() as group:
        fit(
            job_for(
                folder, stages, train=sizes_mixed()[:5], model=TinyModel(norm=False), group=group,
                optimizer="sgd",
                trackers=[CsvTracker(folder / "history.csv")],
            )
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
