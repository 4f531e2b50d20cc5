"""Items in the order a training takes them, read while the step before is at work."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from clickmap_cli.training.tasks import Task


def read_ahead(
    task: Task, steps: Sequence[Sequence[Any]], epoch: int | None, threads: int
) -> Iterator[list[Any]]:
    """The examples of each step.

    Args:
        task: reads them.
        steps: the items of every step.
        epoch: as in `Task.read`.
        threads: that read.

    Raises:
        DataError: as `Task.read`.
    """
    with ThreadPoolExecutor(threads) as pool:

        def begin(step: Sequence[Any]) -> list[Future[Any]]:
            return [pool.submit(task.read, item, epoch) for item in step]

        waiting = begin(steps[0]) if steps else []
        for at in range(len(steps)):
            found = [future.result() for future in waiting]
            waiting = begin(steps[at + 1]) if at + 1 < len(steps) else []
            yield found


def epoch_steps(task: Task, items_a_step: int, seed: int, epoch: int) -> list[list[Any]]:
    """The items of every optimiser's step of an epoch."""
    items = task.items(epoch, seed)
    return [items[first : first + items_a_step] for first in range(0, len(items), items_a_step)]


def batches(task: Task, examples: Sequence[Any], batch_size: int) -> list[list[Any]]:
    """Examples that are alike together, at most so many at once."""
    groups: dict[Hashable, list[Any]] = {}
    for example in examples:
        groups.setdefault(task.alike(example), []).append(example)
    return [
        alike[first : first + batch_size]
        for alike in groups.values()
        for first in range(0, len(alike), batch_size)
    ]
