"""Options of `visualize`: the images, the figures and their look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
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

    def __post_init__(self) -> None:
        """Raise ConfigError if `normalize`, `order` or `alpha` is not allowed."""
        require_known("--normalize", [self.normalize], NORMALIZE)
        require_known("--clicks", [self.order], CLICKS)
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"--alpha is {self.alpha:g}; it must be between 0 and 1.")


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

    look: Look = field(default_factory=Look)
    top: int | None = None
    by: str | None = None
    random: int | None = None
    kinds: tuple[str, ...] = KINDS
    formats: tuple[str, ...] = ("png",)
    bins: int | None = None
    classes: Path | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError unless every option is valid and the options fit together."""
        if self.top is not None and self.random is not None:
            raise ConfigError("--top and --random both choose images; give one of them.")
        if self.by is not None and self.top is None:
            raise ConfigError(f"--by {self.by} needs --top, the number of images.")
        require_known("--by", [self.by or BY[0]], BY)
        require_known("--figures", self.kinds, KINDS)
        for name in ("top", "random", "bins"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} is {value}; the least allowed is 1.")
        if self.bins is not None and self.bins > MOST_BINS:
            raise ConfigError(f"--bins is {self.bins}; the most allowed is {MOST_BINS}.")


def require_known(option: str, words: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError unless an option knows every word."""
    for word in words:
        if word not in known:
            raise ConfigError(f"{option} names '{word[:40]}'. {did_you_mean(word, known)}")
