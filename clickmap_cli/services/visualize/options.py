"""Options of `visualize`: the images, the figures and their look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.runtime.errors import ConfigError, did_you_mean

KINDS = ("overlay", "participants", "clicks", "bins", "sheet", "distributions")
"""Kinds of figures: the first four are of one image, then contact sheets and distributions."""

BY = ("participants", "agreement", "disagreement")
"""Criteria by which `--top` sorts images."""

COLORMAPS = ("inferno", "viridis", "magma", "plasma", "cividis", "jet", "turbo", "gray")
"""Colour maps that completion offers; any of matplotlib's is allowed."""

NORMALIZE = ("max", "sum", "none", "rank")
"""Scalings of a map for display; `reports/overlays.py` describes each."""

CLICKS = ("points", "path")
"""Ways to draw the order of clicks."""

PARTICIPANTS = ("auto", "all", "none")
"""Choices of the participants' maps that a gallery has in addition to the means."""

MOST_BINS = 100


@dataclass(frozen=True)
class Look:
    """The look of figures; `reports/` interprets the words.

    Attributes:
        colormap: a colour map of matplotlib.
        alpha: opacity of the hottest pixel, 0..1.
        normalize: `max`, `sum`, `none` or `rank`.
        colour_bar: True to draw a colour bar.
        by_participants: True to multiply heat by the image's number of participants, divided by the
            largest number of any image that is drawn.
        preset: `screen`, `paper` or `paper-wide`.
        order: drawing of the order of clicks, `points` or `path`.
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
    """The choice of images and figures.

    Attributes:
        look: look of the figures.
        top: number of images to draw, the first ones by `by`; None = `random` or the configuration
            chooses images.
        by: criterion of `top`, one of `BY`; None = participants.
        random: number of images to draw at random, with the experiment's seed; None = no random
            choice.
        kinds: some of `KINDS`.
        formats: file formats of each figure, such as `png`.
        bins: number of cumulative maps per image; None = `click_bins` of the configuration, or 8.
        classes: file with the class of each category; None = group by category.
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
    """Raise unless every option is valid and the options fit together.

    Raises:
        ConfigError: an option is outside its range, or two options contradict each other.
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
