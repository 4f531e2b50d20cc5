"""Floor 3: images with their ground truth. What a user's own data set needs is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clickmap_cli.datasets.base import DATASETS, DataSet, Points, Problem, Stimulus

if TYPE_CHECKING:
    from clickmap_cli.datasets.clickmap_dataset import ClickmapDataset

register_dataset = DATASETS.register
"""A decorator: the name a config uses for the function below it."""

__all__ = [
    "DATASETS", "ClickmapDataset", "DataSet", "Points", "Problem", "Stimulus", "register_dataset",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """`ClickmapDataset` on demand: it needs torch, which most commands do without."""
    if name == "ClickmapDataset":
        from clickmap_cli.datasets.clickmap_dataset import ClickmapDataset

        return ClickmapDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
