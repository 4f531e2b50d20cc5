"""Read items in the order of training, while the previous step is computed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from clickmap_cli.training.tasks.base import Task


def read_ahead(
    task: Task, steps: Sequence[Sequence[Any]], epoch: int | None, threads: int
) -> Iterator[list[Any]]:
    """Yield the examples of each step, reading the next step's in the background.

    Args:
        task: the task that reads items.
        steps: the items of every step.
        epoch: as in `Task.read`.
        threads: number of reading threads.

    Raises:
        DataError: as in `Task.read`.
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
    """Return the items of every optimiser step of an epoch."""
    items = task.items(epoch, seed)
    return [items[first : first + items_a_step] for first in range(0, len(items), items_a_step)]


def batches(task: Task, examples: Sequence[Any], batch_size: int) -> list[list[Any]]:
    """Group examples that can share a batch, at most `batch_size` per batch."""
    groups: dict[Hashable, list[Any]] = {}
    for example in examples:
        groups.setdefault(task.alike(example), []).append(example)
    return [
        alike[first : first + batch_size]
        for alike in groups.values()
        for first in range(0, len(alike), batch_size)
    ]
