"""The one plotting style of all figures: sizes, fonts and colours are named here only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEAT = "inferno"
"""Colour map of heat: dark to light in grey print too, and safe for colour-blind readers."""

COLOURS = {
    "data": "#0072B2",
    "null": "#999999",
    "accent": "#D55E00",
    "second": "#009E73",
    "text": "#222222",
}
"""Colours by role, from Okabe and Ito's colour-blind-safe palette."""

OVERLAY_ALPHA = 0.6
"""How much of the hottest pixel's colour covers the image."""

DPI = 110
_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["text"],
    "text.color": COLOURS["text"],
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "image.interpolation": "nearest",
    "svg.hashsalt": "clickmap",
}


@contextmanager
def styled() -> Iterator[Any]:
    """`matplotlib.pyplot` in the project's style, drawing to files only."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(_RC):
        yield plt


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG with nothing in it that differs between equal runs, and close it."""
    from matplotlib import pyplot as plt

    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)
