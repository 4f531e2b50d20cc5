"""Output of a job on a data set."""

from __future__ import annotations

from typing import Any

from clickmap_cli.services.data.tools import Made


def lines(made: Made) -> list[str]:
    """Return a line with the folder and the counts of what was written."""
    counted = ", ".join(f"{count:,} {what}" for what, count in made.counts.items())
    return [f"{made.folder}: {counted}."]


def as_json(made: Made) -> dict[str, Any]:
    """Return the same as one JSON value."""
    return {
        "folder": str(made.folder),
        "counts": dict(made.counts),
        "problems": list(made.problems),
    }
