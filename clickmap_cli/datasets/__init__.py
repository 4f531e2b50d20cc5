"""Floor 3: images with their ground truth, and everything a user's own data set needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clickmap_cli.datasets.base import DATASETS, DataSet, Points, Problem, Stimulus

if TYPE_CHECKING:
    from clickmap_cli.datasets.clickmap_dataset import ClickmapDataset

register_dataset = DATASETS.register
"""Decorator that registers the function below it under the name a config uses."""

__all__ = [
    "DATASETS", "ClickmapDataset", "DataSet", "Points", "Problem", "Stimulus", "register_dataset",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import `ClickmapDataset` on demand: it needs torch, which most commands do not use."""
    if name == "ClickmapDataset":
        from clickmap_cli.datasets.clickmap_dataset import ClickmapDataset

        return ClickmapDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
