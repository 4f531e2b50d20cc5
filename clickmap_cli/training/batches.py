"""Images and their targets, in the order a training takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.distributed import Group
from clickmap_cli.training.losses import Pixels
from clickmap_cli.training.targets import Targets

_KEPT_BYTES = 1 << 30
"""Images and targets that are kept in memory between epochs."""


@dataclass(frozen=True)
class Example:
    """An image as the network takes it, and what it should predict.

    Attributes:
        stimulus: the image.
        planes: (3, h, w) normalised, on the CPU.
        target: (H, W) density of the image's size; None for `nll_fixations`.
        points: fixated pixels; None for `kl`.
    """

    stimulus: Stimulus
    planes: torch.Tensor
    target: torch.Tensor | None
    points: Pixels | None

    @property
    def shapes(self) -> tuple[tuple[int, ...], Size]:
        """What must be equal in a batch."""
        return tuple(self.planes.shape), self.stimulus.size


class Examples:
    """Reads images and targets, several at a time, and keeps what fits.

    Args:
        model: brings images to its network; it must be built.
        targets: ground truth.
        loss: `kl` or `nll_fixations`.
        threads: that read.
    """

    def __init__(
        self, model: TorchSaliencyModel, targets: Targets, loss: str, threads: int = 1
    ) -> None:
        self._model = model
        self._targets = targets
        self._loss = loss
        self._threads = threads
        self._kept: dict[tuple[str, bool], Example] = {}
        self._bytes = 0

    def groups(
        self, steps: Sequence[Sequence[Stimulus]], epoch: int | None
    ) -> Iterator[list[Example]]:
        """The examples of each step, read while the step before is at work.

        Raises:
            DataError: an image is missing or damaged, or has no ground truth.
        """
        with ThreadPoolExecutor(self._threads) as pool:

            def begin(step: Sequence[Stimulus]) -> list[Future[Example]]:
                return [pool.submit(self.read, stimulus, epoch) for stimulus in step]

            waiting = begin(steps[0]) if steps else []
            for at in range(len(steps)):
                found = [future.result() for future in waiting]
                waiting = begin(steps[at + 1]) if at + 1 < len(steps) else []
                yield found

    def read(self, stimulus: Stimulus, epoch: int | None) -> Example:
        """One image with the target of an epoch; None = of validation.

        Raises:
            DataError: the image is missing or damaged, or has no ground truth.
        """
        changes = epoch is not None and self._targets.changes(stimulus)
        place = (stimulus.image_id, epoch is None)
        if not changes and place in self._kept:
            return self._kept[place]
        planes = self._model.batch([stimulus])[0].cpu()
        target, points = None, None
        if self._loss == "kl":
            target = torch.from_numpy(self._targets.density(stimulus, epoch))
        else:
            pixels = torch.from_numpy(self._targets.points(stimulus, epoch))
            points = (pixels[:, 0], pixels[:, 1])
        example = Example(stimulus, planes, target, points)
        size = 4 * (planes.numel() + (0 if target is None else target.numel()))
        if not changes and self._bytes + size <= _KEPT_BYTES:
            self._kept[place] = example
            self._bytes += size
        return example


def epoch_steps(
    stimuli: Sequence[Stimulus], images_a_step: int, seed: int, epoch: int
) -> list[list[Stimulus]]:
    """The images of every optimiser's step of an epoch, shuffled by (seed, epoch)."""
    order = generator(seed, "order", str(epoch)).permutation(len(stimuli))
    return [
        [stimuli[at] for at in order[first : first + images_a_step]]
        for first in range(0, len(stimuli), images_a_step)
    ]


def shares(steps: Sequence[Sequence[Stimulus]], group: Group) -> list[list[Stimulus]]:
    """What one process does of every step."""
    return [group.share(step) for step in steps]


def batches(examples: Sequence[Example], batch_size: int) -> list[list[Example]]:
    """Examples of equal sizes together, at most so many at once."""
    by_shape: dict[tuple[tuple[int, ...], Size], list[Example]] = {}
    for example in examples:
        by_shape.setdefault(example.shapes, []).append(example)
    return [
        alike[first : first + batch_size]
        for alike in by_shape.values()
        for first in range(0, len(alike), batch_size)
    ]
