"""What a person sees of a job on a data set."""

from __future__ import annotations

from typing import Any

from clickmap_cli.services.data.tools import Made


def lines(made: Made) -> list[str]:
    """What was written, and where."""
    counted = ", ".join(f"{count:,} {what}" for what, count in made.counts.items())
    return [f"{made.folder}: {counted}."]


def as_json(made: Made) -> dict[str, Any]:
    """The same as one JSON value."""
    return {
        "folder": str(made.folder),
        "counts": dict(made.counts),
        "problems": list(made.problems),
    }
