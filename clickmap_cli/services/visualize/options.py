"""What `visualize` is asked for: which images, which figures, and how they look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.runtime.errors import ConfigError, did_you_mean

KINDS = ("overlay", "participants", "clicks", "bins", "sheet", "distributions")
"""Figures that can be drawn: of an image the first four, then contact sheets, then numbers."""

BY = ("participants", "agreement", "disagreement")
"""What `--top` goes by."""

COLORMAPS = ("inferno", "viridis", "magma", "plasma", "cividis", "jet", "turbo", "gray")
"""Colour maps that are offered; any of matplotlib's will do."""

NORMALIZE = ("max", "sum", "none", "rank")
"""How a map is scaled before it is shown; `reports/overlays.py` says what each does."""

CLICKS = ("points", "path")
"""How the order of clicks is drawn."""

PARTICIPANTS = ("auto", "all", "none")
"""Whose maps a gallery has beside the means."""

MOST_BINS = 100


@dataclass(frozen=True)
class Look:
    """How figures look; `reports/` knows what the words mean.

    Attributes:
        colormap: of matplotlib.
        alpha: 0..1, how much of the hottest pixel is covered.
        normalize: `max`, `sum`, `none` or `rank`.
        colour_bar: whether one is drawn.
        by_participants: whether heat is multiplied by the image's participants, in shares of the
            most that any image drawn has.
        preset: `screen`, `paper` or `paper-wide`.
        order: how the order of clicks is drawn, `points` or `path`.
    """

    colormap: str = "inferno"
    alpha: float = 0.6
    normalize: str = "max"
    colour_bar: bool = True
    by_participants: bool = False
    preset: str = "screen"
    order: str = "points"


@dataclass(frozen=True)
class VisualizeOptions:
    """Which images and figures.

    Attributes:
        look: how they look.
        top: that many images, the first by `by`; None = as `random` or the configuration says.
        by: one of `BY`.
        random: that many images drawn at random, by the experiment's seed.
        kinds: some of `KINDS`.
        formats: files of each figure, such as `png`.
        bins: cumulative maps of an image; None = `click_bins` of the configuration, or 8.
        classes: file that says which class each category belongs to; None = categories themselves.
    """

    look: Look = Look()
    top: int | None = None
    by: str | None = None
    random: int | None = None
    kinds: tuple[str, ...] = KINDS
    formats: tuple[str, ...] = ("png",)
    bins: int | None = None
    classes: Path | None = None


def check_options(options: VisualizeOptions) -> None:
    """Options on their own and together, before any work.

    Raises:
        ConfigError: one is out of its range, or two contradict each other.
    """
    if options.top is not None and options.random is not None:
        raise ConfigError("--top and --random both choose images; give one of them.")
    if options.by is not None and options.top is None:
        raise ConfigError(f"--by {options.by} needs --top, the number of images.")
    if options.by is not None and options.by not in BY:
        raise ConfigError(f"--by is '{options.by}'. {did_you_mean(options.by, BY)}")
    for name in ("top", "random", "bins"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; the least allowed is 1.")
    if options.bins is not None and options.bins > MOST_BINS:
        raise ConfigError(f"--bins is {options.bins}; the most allowed is {MOST_BINS}.")
    if not 0 <= options.look.alpha <= 1:
        raise ConfigError(f"--alpha is {options.look.alpha:g}; it must be between 0 and 1.")
    for kind in options.kinds:
        if kind not in KINDS:
            raise ConfigError(f"--figures names '{kind}'. {did_you_mean(kind, KINDS)}")
