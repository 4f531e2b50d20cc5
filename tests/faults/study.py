"""A small study on disk, the commands that work on it, and what each leaves undisturbed."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults import forked
from tests.faults.changed import OPENED, RENAMED, Counted, SmallShards
from tests.helpers.studies import random_rows, write_csv

SIDE = 32
_READOUT = "name: readout, backbone: test_resnet, layers: [layer1], weights: none, widths: [4]"


@dataclass(frozen=True)
class Command:
    """A command that fills `<out>/study`.

    Attributes:
        name: of the command.
        words: what it is called with (inputs, out), `--resume` and the like aside.
    """

    name: str
    words: Callable[[Path, Path], list[str]]


def _trials(inputs: Path, out: Path) -> list[str]:
    return [f"assets={out}", "experiment_name=study", f"image_shape=[{SIDE},{SIDE}]",
            "blur_size=5", "min_subjects=2"]  # fmt: skip


def _prepare(inputs: Path, out: Path) -> list[str]:
    return [
        "prepare", f"clickme_data={inputs / 'trials.csv'}", *_trials(inputs, out),
        f"image_dir={inputs / 'images'}", "display_image_keys=[cat0/0.png]", "save_maps=both",
        "click_bins=2", "backend=threading", "n_jobs=2",
    ]  # fmt: skip


def _ceiling(inputs: Path, out: Path) -> list[str]:
    return [
        "ceiling", "split-half", f"clickme_data={inputs / 'prepared' / 'study'}",
        *_trials(inputs, out),
        "metric=[spearman,pearson]", "randomization_iters=3", "null_iterations=3", "n_jobs=1",
    ]  # fmt: skip


def _data(inputs: Path) -> str:
    images = inputs / "images"
    given = f"label: toy, csv: {inputs / 'fix.csv'}, images: {images}, sigma_px: 3"
    return f"datasets=[{{name: fixations_csv, {given}}}]"


def _benchmark(inputs: Path, out: Path) -> list[str]:
    return [
        "benchmark", _data(inputs), "models=[blur_baseline,center_bias]",
        f"output_dir={out / 'study'}", "metrics=[NSS,CC,KL]", "null_iterations=2", "n_jobs=1",
        "heatmaps_png.enabled=true", "report_images=2",
    ]  # fmt: skip


def _finetune(inputs: Path, out: Path) -> list[str]:
    return [
        "finetune", _data(inputs),
        f"model={{{_READOUT}}}",
        f"output_dir={out / 'study'}", "metrics=[NSS,CC]", "n_jobs=1", "device=cpu", "cv.folds=2",
        "training.lr=0.01", "training.epochs=2", "freeze.blocks=[head]",
    ]  # fmt: skip


PREPARE = Command("prepare", _prepare)
CEILING = Command("ceiling", _ceiling)
BENCHMARK = Command("benchmark", _benchmark)
FINETUNE = Command("finetune", _finetune)
COMMANDS = {command.name: command for command in (PREPARE, CEILING, BENCHMARK, FINETUNE)}


def is_hidden(name: str) -> bool:
    """Return True for a lock, a journal, or a manifest, which has times."""
    return ".clickmap" in name.split("/") or name.endswith("manifest.json")


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below that is not hidden."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not is_hidden(name)
    }


class Study:
    """Inputs, and what each command makes of them.

    Args:
        root: a folder of its own.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inputs = root / "inputs"
        self._seconds: dict[str, float] = {}
        write_csv(self.inputs / "trials.csv", random_rows(0, images=24, users=6, side=SIDE))
        self._write_pictures()
        words = _prepare(self.inputs, self.inputs / "prepared")
        ended = forked.run(words, root)
        assert ended.code == 0, ended.said
        self.digests = tree(self.inputs)

    def _write_pictures(self) -> None:
        """Pictures with a bright blob, and people who look near it."""
        rng = np.random.default_rng(0)
        rows = []
        for i in range(6):
            centre = rng.uniform(8, 24, 2)
            y, x = np.mgrid[0:SIDE, 0:SIDE]
            blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 30)
            grey = (blob * 190 + rng.uniform(0, 60, (SIDE, SIDE))).astype(np.uint8)
            key = f"cat{i % 2}/{i}.png"
            path = self.inputs / "images" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.stack([grey] * 3, axis=-1)).save(path)
            rows += [
                (key, f"p{p}", order, *np.round(centre[::-1] + rng.normal(0, 3, 2), 2))
                for p in range(4)
                for order in range(6)
            ]
        with (self.inputs / "fix.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "subject", "order", "x", "y"), *rows])

    def whole(self, command: Command) -> Path:
        """The folder of a run that nothing disturbed."""
        out = self._whole(command)
        if not out.exists():
            counted = [
                Counted(moment, place, self._moments(command, moment))
                for moment, place in ((RENAMED, out), (OPENED, self.inputs))
            ]
            words = command.words(self.inputs, out)
            ended = forked.run(words, self.root, SmallShards(), *counted)
            assert ended.code == 0, ended.said
            self._seconds[command.name] = ended.seconds
        return out / "study"

    def wanted(self, command: Command) -> dict[str, str]:
        """The digests of what a command leaves."""
        return tree(self.whole(command))

    def moments(self, command: Command, moment: str) -> int:
        """Return how often an undisturbed run opens a file of the inputs, or replaces one."""
        self.whole(command)
        return int(self._moments(command, moment).read_text())

    def seconds(self, command: Command) -> float:
        """Return the duration of an undisturbed run."""
        self.whole(command)
        return self._seconds[command.name]

    def _whole(self, command: Command) -> Path:
        return self.root / "whole" / command.name

    def _moments(self, command: Command, moment: str) -> Path:
        return self.root / f"{command.name} {moment}"
