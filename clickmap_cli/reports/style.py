"""Plotting style of all figures; sizes, fonts and colours are defined only here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clickmap_cli.storage.atomic import replacing

HEAT = "inferno"
"""Colour map of heat: dark to light in grey print too, and safe for colour-blind readers."""

COLOURS = {
    "data": "#0072B2",
    "null": "#999999",
    "accent": "#D55E00",
    "second": "#009E73",
    "third": "#CC79A7",
    "text": "#222222",
    "quiet": "#6E6E6E",
    "empty": "#E4E4E4",
}
"""Colours by role, from Okabe and Ito's colour-blind-safe palette."""

OVERLAY_ALPHA = 0.6
"""Share of the hottest pixel that its colour covers."""


@dataclass(frozen=True)
class Preset:
    """Size and resolution of a figure.

    Attributes:
        width: width of the whole figure, in inches.
        dpi: pixels per inch of a PNG.
        font: size of text, in points.
        line: width of axes and thin lines, in points.
    """

    width: float
    dpi: int
    font: float
    line: float


FEW_VALUES = 15
"""Number of values from which a box is drawn without them; fewer are drawn one by one too."""

PRESETS = {
    "screen": Preset(width=7.2, dpi=110, font=9, line=0.8),
    "paper": Preset(width=3.35, dpi=300, font=7, line=0.6),
    "paper-wide": Preset(width=7.0, dpi=300, font=8, line=0.6),
}
"""`paper` is one column of a journal (85 mm), `paper-wide` its whole width (178 mm)."""

WIDTH = PRESETS["screen"].width
NARROW = 4.2
HEIGHT = 3.2
"""Size on a screen, in inches: width of two panels with axes, width of one, and height."""

GOLDEN = HEIGHT / NARROW
"""Height of one panel with axes, as a multiple of its width."""

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["text"],
    "axes.labelcolor": COLOURS["text"],
    "text.color": COLOURS["text"],
    "xtick.color": COLOURS["text"],
    "ytick.color": COLOURS["text"],
    "legend.frameon": False,
    "image.interpolation": "nearest",
    "svg.hashsalt": "clickmap",
    "pdf.fonttype": 42,  # text stays text, as journals require
}

_NOTHING_THAT_CHANGES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}

FORMATS = tuple(_NOTHING_THAT_CHANGES)
"""File formats of figures."""


def matplotlib_settings(preset: Preset) -> dict[str, Any]:
    """Return matplotlib's settings for a preset."""
    small = preset.font - 1
    return _RC | {
        "font.size": preset.font,
        "axes.titlesize": preset.font,
        "axes.labelsize": preset.font,
        "figure.titlesize": preset.font,
        "legend.fontsize": small,
        "xtick.labelsize": small,
        "ytick.labelsize": small,
        "axes.linewidth": preset.line,
        "xtick.major.width": preset.line,
        "ytick.major.width": preset.line,
        "figure.dpi": preset.dpi,
        "savefig.dpi": preset.dpi,
    }


@contextmanager
def styled(preset: str = "screen") -> Iterator[Any]:
    """Yield `matplotlib.pyplot` in the project's style, drawing to files only.

    Args:
        preset: one of `PRESETS`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(matplotlib_settings(PRESETS[preset])), warnings.catch_warnings():
        # a key may contain letters that the font lacks; they are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield plt


def headline(figure: Any, text: str) -> None:
    """Draw the title of a whole figure at its left; dollar signs in a key are plain text."""
    figure.suptitle(text, x=0.01, ha="left", fontsize="medium", parse_math=False)


def chart_title(axis: Any, text: str) -> None:
    """Draw the title of a chart at its left; dollar signs in a name are plain text."""
    axis.set_title(text, loc="left", fontsize="medium", parse_math=False)


def draw_boxes(axis: Any, groups: Sequence[ArrayLike], rows: Sequence[int], **look: Any) -> None:
    """Draw a horizontal box for each group; a small group shows each of its values as a point.

    Args:
        axis: axes of matplotlib.
        groups: values of each box; groups of fewer than `FEW_VALUES` are drawn as points too.
        rows: position of each box on the y axis.
        look: more arguments of matplotlib's `boxplot`.
    """
    drawn = axis.boxplot(
        groups, positions=rows, widths=0.6, orientation="horizontal", patch_artist=True, **look
    )
    for box in drawn["boxes"]:
        box.set(facecolor=COLOURS["data"], alpha=0.5)
    for median in drawn["medians"]:
        median.set(color=COLOURS["text"])
    for group, row, outliers in zip(groups, rows, drawn["fliers"], strict=True):
        values = np.asarray(group)
        if len(values) < FEW_VALUES:
            outliers.set_visible(False)  # they are drawn among the points
            # multiples of the golden ratio keep neighbours apart, the same in every run
            away = [(0.618 * at) % 1 - 0.5 for at in range(len(values))]
            axis.plot(
                values, [row + 0.4 * share for share in away], linestyle="", marker="o", ms=3,
                color=COLOURS["text"], markeredgewidth=0, alpha=0.8, zorder=3,
            )  # fmt: skip


def save(figure: Any, paths: Path | Mapping[str, Path]) -> None:
    """Write a figure with identical bytes in equal runs, each file whole or not at all; close it.

    Args:
        figure: figure of matplotlib.
        paths: file of a PNG; or format, one of `FORMATS`, -> file.
    """
    from matplotlib import pyplot as plt

    for kind, path in (paths if isinstance(paths, Mapping) else {"png": paths}).items():
        with replacing(path) as partial:
            figure.savefig(partial, format=kind, metadata=_NOTHING_THAT_CHANGES[kind])
    plt.close(figure)
