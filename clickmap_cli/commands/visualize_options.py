"""Options that only `clickmap visualize` has, and the forms of output that use each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands.completion import among, some_of
from clickmap_cli.reports.style import FORMATS, PRESETS
from clickmap_cli.services.visualize.options import (
    BY,
    CLICKS,
    COLORMAPS,
    KINDS,
    NORMALIZE,
    PARTICIPANTS,
)

_WHICH = "Which images and figures"
_ELSE = "In place of figures (with --figures: beside them)"
_LOOK = "How they look"


def _option(
    name: str, text: str, panel: str, offered: Callable[[str], list[str]] | None = None
) -> typer.models.OptionInfo:
    """Return an option under a headline of the help; `offered` completes its values."""
    found: typer.models.OptionInfo = typer.Option(
        name, help=text, rich_help_panel=panel, autocompletion=offered
    )
    return found


Top = Annotated[int | None, _option("--top", "So many images, the first --by.", _WHICH)]
By = Annotated[
    str | None,
    _option("--by", "participants (default), agreement or disagreement.", _WHICH, among(*BY)),
]
Random = Annotated[int | None, _option("--random", "So many images at random.", _WHICH)]
Figures = Annotated[
    str | None,
    _option(
        "--figures",
        "all, or some of overlay, participants, clicks, bins, sheet, distributions.",
        _WHICH,
        some_of("all", *KINDS),
    ),
]
Bins = Annotated[
    int | None, _option("--bins", "Cumulative maps an image (click_bins, or 8).", _WHICH)
]
Classes = Annotated[
    Path | None,
    _option(
        "--classes",
        "Category -> class, or the categories of one class (.json, .yaml, .npy, .txt).",
        _WHICH,
    ),
]
Html = Annotated[bool, _option("--html", "A gallery of every image, gallery.html.", _ELSE)]
Participants = Annotated[
    str,
    _option(
        "--participants",
        "Everybody's maps in the gallery: auto, all or none.",
        _ELSE,
        among(*PARTICIPANTS),
    ),
]
Notebook = Annotated[
    Path | None, _option("--notebook", "A viewer for Jupyter, such as viewer.ipynb.", _ELSE)
]
Benchmarks = Annotated[
    list[Path] | None,
    _option("--benchmark", "Folder of a benchmark, also in the notebook; repeatable.", _ELSE),
]
Formats = Annotated[str, _option("--format", "Some of png,svg,pdf.", _LOOK, some_of(*FORMATS))]
Preset = Annotated[
    str,
    _option(
        "--preset",
        "screen, paper (a column at 300 dpi) or paper-wide (a page).",
        _LOOK,
        among(*PRESETS),
    ),
]
Colormap = Annotated[str, _option("--colormap", "Any of matplotlib's.", _LOOK, among(*COLORMAPS))]
Alpha = Annotated[float, _option("--alpha", "Cover of the hottest pixel, 0 to 1.", _LOOK)]
Normalize = Annotated[
    str,
    _option("--normalize", "max, sum, none or rank.", _LOOK, among(*NORMALIZE)),
]
ColourBar = Annotated[bool, _option("--colour-bar/--no-colour-bar", "Draw one.", _LOOK)]
ByCount = Annotated[
    bool, _option("--scale-by-count", "Heat times the image's share of participants.", _LOOK)
]
Order = Annotated[
    str, _option("--clicks", "Order of clicks: points or path.", _LOOK, among(*CLICKS))
]

_FIGURES = "figures"  # the form that is drawn if no other is requested
_HTML, _NOTEBOOK = "--html", "--notebook"
_FITS = {
    "top": (_FIGURES,),
    "by": (_FIGURES,),
    "random": (_FIGURES,),
    "bins": (_FIGURES,),
    "classes": (_FIGURES,),
    "participants": (_HTML,),
    "benchmarks": (_NOTEBOOK,),
    "formats": (_FIGURES,),
    "preset": (_FIGURES,),
    "colormap": (_FIGURES, _HTML),
    "alpha": (_FIGURES, _HTML),
    "normalize": (_FIGURES, _HTML),
    "colour_bar": (_FIGURES,),
    "by_count": (_FIGURES,),
    "order": (_FIGURES,),
    "resume": (_FIGURES, _HTML, _NOTEBOOK),
}
"""Option -> the forms that use it; options that are missing here are for every form."""


def check_fit(context: typer.Context, asked: Sequence[str]) -> None:
    """Raise unless every option that was typed is used by a requested form.

    Args:
        context: the context of the call, which knows the options that were typed.
        asked: requested forms among --html and --notebook.

    Raises:
        ConfigError: no requested form uses an option.
    """
    from clickmap_cli.runtime.errors import ConfigError

    typed = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE":
            off = context.params[str(parameter.name)] is False
            names = parameter.secondary_opts if off else parameter.opts
            typed[str(parameter.name)] = names[0]
    forms = [*asked, *([_FIGURES] if "figures" in typed or not asked else [])]
    for name, fits in _FITS.items():
        if name in typed and not set(fits) & set(forms):
            raise ConfigError(
                f"{typed[name]} is for {' and '.join(fits)}, and {' and '.join(forms)} would not "
                "use it; leave one out."
            )
