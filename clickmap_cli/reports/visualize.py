"""Output of a `visualize` run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.console import dry_line, new_table, number
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.visualize.figures import FiguresSummary
from clickmap_cli.services.visualize.gallery import GallerySummary

_MOST_ROWS = 20
_KEY = 48


def images_table(run: Outcome[FiguresSummary]) -> Table:
    """Return a table of the images that were drawn, or of the first ones if there are many."""
    images = run.summary.images
    table = new_table("Images", ["image"], ["participants", "clicks", "agreement"])
    table.add_column("picture", no_wrap=True)
    for row in images[:_MOST_ROWS]:
        key = row.image_path if len(row.image_path) <= _KEY else f"…{row.image_path[1 - _KEY :]}"
        counts = (f"{row.n_participants:,}", f"{row.n_clicks:,}", number(row.agreement))
        table.add_row(Text(key), *counts, Text(row.image))
    if len(images) > _MOST_ROWS:
        table.add_row(Text(f"and {len(images) - _MOST_ROWS:,} more; see images.csv"))
    return table


def summary_lines(run: Outcome[FiguresSummary]) -> list[str]:
    """Return the run in a few lines."""
    images, numbers = f"{len(run.summary.images):,} images", run.summary.numbers
    if not run.written:
        return [dry_line(f"draw {images}", run.folder)]
    if run.reused:
        return [f"{len(run.outputs):,} files in {run.folder}."]
    lines = [f"{run.folder}: {len(run.outputs):,} files of {images}, in {run.seconds:.1f} s."]
    if numbers is not None:
        medians = [f"{one.counted} per {one.unit} {one.median:g}" for one in numbers.spreads]
        lines.insert(0, f"Medians: {', '.join(medians)}.")
    return lines


def as_json(run: Outcome[FiguresSummary]) -> dict[str, Any]:
    """Return the run as one JSON value."""
    numbers = run.summary.numbers
    return {
        "command": "visualize",
        "folder": run.folder,
        "images": run.summary.images,
        "distributions": None
        if numbers is None
        else {
            **{
                one.name: {"n": len(one.values), "median": one.median, "mean": one.mean}
                for one in numbers.spreads
            },
            "grouped_by": numbers.grouped_by,
            "groups": [
                {"name": group.name, "images": group.images, "trials": group.trials}
                for group in numbers.groups
            ],
        },
        "outputs": run.outputs,
        "seconds": run.seconds,
        "reused": run.reused,
        "written": run.written,
    }


def notebook_line(path: Path, written: bool, dry_run: bool) -> str:
    """Describe a notebook in one line."""
    if dry_run:
        return f"Would write {path}; nothing was written."
    if not written:
        return f"{path} was there already; it was not changed."
    return f"{path}: open it with Jupyter and run every cell."


def gallery_lines(run: Outcome[GallerySummary]) -> list[str]:
    """Describe a gallery in one line."""
    found = run.summary
    what = f"{found.n_images:,} images on {found.n_pages:,} pages"
    if not run.written:
        return [f"Would write {found.page} with {what}; nothing was written."]
    if found.n_kept and not run.reused:
        what += f", {found.n_kept:,} of them kept"
    size = f"{found.n_bytes / 1e6:,.1f} MB"
    return [f"{found.page}: open it; {what}, {size}, in {run.seconds:.1f} s."]


def gallery_json(run: Outcome[GallerySummary]) -> dict[str, Any]:
    """Return a gallery as one JSON value."""
    return {
        "command": "visualize --html",
        **vars(run.summary),
        "seconds": run.seconds,
        "reused": run.reused,
        "written": run.written,
    }
