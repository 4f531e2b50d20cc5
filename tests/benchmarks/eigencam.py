"""EigenCAM on Faster R-CNN's pyramid against the network's forward pass alone, 640 x 480.

Run it with: python -m tests.benchmarks.eigencam
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.eigencam import DETECTOR_LEVELS, EigenCam
from tests.benchmarks import common

TARGET = 1.3
ROUNDS = 11
FEWER = 5  # of the levels that are there for information
SIZE = (480, 640)


def picture(path: Path) -> FileStimulus:
    """An image with structure at every scale."""
    rng = np.random.default_rng(0)
    pixels = sum(
        gaussian_filter(rng.standard_normal((*SIZE, 3)), (sigma, sigma, 0)) * sigma
        for sigma in (1, 4, 16, 64)
    )
    low, high = pixels.min(), pixels.max()
    Image.fromarray((255 * (pixels - low) / (high - low)).astype(np.uint8)).save(path)
    return FileStimulus(path.stem, SIZE, path)


def main() -> None:
    """Print both times and their ratio for every level; only the default's may end it with 1."""
    torch.set_num_threads(common.THREADS)
    with tempfile.TemporaryDirectory() as folder:
        stimulus = picture(Path(folder) / "image.png")
        models = {
            level: EigenCam(level=level, weights="none", device="cpu") for level in DETECTOR_LEVELS
        }
        default = models[DETECTOR_LEVELS[0]]
        network = default.network()
        for model in models.values():  # one network for all
            model._network, model._on = network, "cpu"
        images = default.batch([stimulus])

        def alone() -> Any:
            with torch.inference_mode():
                return network(images)

        def whole(model: EigenCam) -> Callable[[], Any]:
            return lambda: model.predict(stimulus)

        jobs = {level: whole(model) for level, model in models.items()}
        for job in (alone, *jobs.values()):  # start-up (pages of memory, kernels) is excluded
            job()
        # each beside the pass alone, so that whatever else the machine does meets both
        pairs = {
            name: [
                (common.seconds(alone), common.seconds(job))
                for _ in range(ROUNDS if models[name] is default else FEWER)
            ]
            for name, job in jobs.items()
        }
    median = {name: 1000 * statistics.median(t for _, t in found) for name, found in pairs.items()}
    bare = 1000 * statistics.median(t for t, _ in pairs[DETECTOR_LEVELS[0]])
    ratios = {name: statistics.median(t / a for a, t in found) for name, found in pairs.items()}
    first, *others = DETECTOR_LEVELS
    sys.stdout.write(
        f"EigenCAM of an image of {SIZE[1]} x {SIZE[0]}, from file to map: "
        f"backbone and pyramid alone {bare:.0f} ms, level {first} "
        f"{median[first]:.0f} ms, {ratios[first]:.2f}x (target at most {TARGET}x); "
        + ", ".join(f"level {name} {median[name]:.0f} ms, {ratios[name]:.2f}x" for name in others)
        + "\n"
    )
    if not ratios[first] <= TARGET:
        sys.exit(
            f"EigenCAM takes {ratios[first]:.2f}x the forward pass of its network; "
            f"the target is {TARGET}x"
        )


if __name__ == "__main__":
    main()
