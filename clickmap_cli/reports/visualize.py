"""Output of a `visualize` run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.services.visualize.figures import PictureRow, VisualizeRun
from clickmap_cli.services.visualize.gallery import GalleryRun
from clickmap_cli.services.visualize.numbers import Distributions

_MOST_ROWS = 20
_KEY = 48


def images_table(run: VisualizeRun) -> Table:
    """Return a table of the images that were drawn, or of the first ones if there are many."""
    table = Table(title="Images", title_justify="left", box=None, pad_edge=False)
    table.add_column("image", no_wrap=True)
    for name in ("participants", "clicks", "agreement"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("picture", no_wrap=True)
    for row in run.images[:_MOST_ROWS]:
        key = row.image_path if len(row.image_path) <= _KEY else f"…{row.image_path[1 - _KEY :]}"
        score = f"{row.agreement:.3f}" if math.isfinite(row.agreement) else "-"
        counts = (f"{row.n_participants:,}", f"{row.n_clicks:,}", score)
        table.add_row(Text(key), *counts, Text(row.image))
    if len(run.images) > _MOST_ROWS:
        table.add_row(Text(f"and {len(run.images) - _MOST_ROWS:,} more; see images.csv"))
    return table


def summary_lines(run: VisualizeRun) -> list[str]:
    """Return the run in a few lines."""
    images = f"{len(run.images):,} images"
    if not run.written:
        return [f"Would draw {images} into {run.folder}; nothing was written."]
    if run.reused:
        return [f"Already done: {len(run.outputs):,} files in {run.folder}; nothing was changed."]
    return [
        *_number_lines(run.numbers),
        f"{run.folder}: {len(run.outputs):,} files of {images}, in {run.seconds:.1f} s.",
    ]


def _number_lines(numbers: Distributions | None) -> list[str]:
    if numbers is None:
        return []
    parts = [f"{spread.counted} per {spread.unit} {spread.median:g}" for spread in numbers.spreads]
    return [f"Medians: {', '.join(parts)}."]


def as_json(run: VisualizeRun) -> dict[str, Any]:
    """Return the run as one JSON value."""
    return {
        "command": "visualize",
        "folder": str(run.folder),
        "images": [row_json(row) for row in run.images],
        "distributions": None if run.numbers is None else _numbers_json(run.numbers),
        "outputs": list(run.outputs),
        "seconds": run.seconds,
        "reused": run.reused,
        "written": run.written,
    }


def row_json(row: PictureRow) -> dict[str, Any]:
    """Return an image as JSON."""
    return vars(row) | {"agreement": row.agreement if math.isfinite(row.agreement) else None}


def _numbers_json(numbers: Distributions) -> dict[str, Any]:
    return {
        **{
            spread.name: {"n": len(spread.values), "median": spread.median, "mean": spread.mean}
            for spread in numbers.spreads
        },
        "grouped_by": numbers.grouped_by,
        "groups": [
            {"name": group.name, "images": group.images, "trials": group.trials}
            for group in numbers.groups
        ],
    }


def notebook_line(path: Path, written: bool, dry_run: bool) -> str:
    """Describe a notebook in one line."""
    if dry_run:
        return f"Would write {path}; nothing was written."
    if not written:
        return f"{path} was there already; it was not changed."
    return f"{path}: open it with Jupyter and run every cell."


def gallery_lines(run: GalleryRun) -> list[str]:
    """Describe a gallery in one line."""
    what = f"{run.n_images:,} images on {run.n_pages:,} pages"
    if not run.written:
        return [f"Would write {run.page} with {what}; nothing was written."]
    size = f"{run.n_bytes / 1e6:,.1f} MB"
    kept = f", {run.n_kept:,} of them kept" if run.n_kept else ""
    return [f"{run.page}: open it; {what}{kept}, {size}, in {run.seconds:.1f} s."]


def gallery_json(run: GalleryRun) -> dict[str, Any]:
    """Return a gallery as one JSON value."""
    return {
        "command": "visualize --html",
        "page": str(run.page),
        "n_images": run.n_images,
        "n_pages": run.n_pages,
        "n_kept": run.n_kept,
        "participants": run.participants,
        "remarks": [vars(remark) for remark in run.remarks],
        "n_bytes": run.n_bytes,
        "seconds": run.seconds,
        "written": run.written,
    }
