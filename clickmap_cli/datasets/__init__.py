"""Floor 3: images with their ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickmap_cli.datasets.clickmap_dataset import ClickmapDataset

__all__ = ["ClickmapDataset"]


def __getattr__(name: str) -> Any:
    """`ClickmapDataset` on demand: it needs torch, which most commands do without."""
    if name == "ClickmapDataset":
        from clickmap_cli.datasets.clickmap_dataset import ClickmapDataset

        return ClickmapDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
