"""A viewer for Jupyter that shows an experiment's maps and a benchmark's predictions.

In a notebook: `from clickmap_cli.reports.viewer import view`, then `view("assets/cats")`.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.reports.html_parts import escape_html
from clickmap_cli.reports.overlays import colour_map, overlay_map, placeholder, scale_map
from clickmap_cli.runtime.errors import ClickmapError, ConfigError, DataError, MissingExtraError
from clickmap_cli.services.visualize.browse import Seen, Source, Table, open_source
from clickmap_cli.services.visualize.experiment import resize_pixels
from clickmap_cli.services.visualize.options import COLORMAPS, NORMALIZE, Look
from clickmap_cli.storage.atomic import write_bytes
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import load_manifest
from clickmap_cli.storage.prediction_cache import PredictionCache

MOST_NAMES = 500
"""Most names offered at once; searching for a part of a name finds the others."""

PICTURES = "viewer_pictures"
"""Folder for saved pictures, beside the notebook."""

_DISPLAY_SIDE = 420  # pixels of a panel on the screen; a saved picture is as large as its map
_GAP = 8
_START = Path.cwd()

Bytes = NDArray[np.uint8]


def go_to(place: str) -> None:
    """Make `place` the working folder, so that relative paths in configurations are found.

    Args:
        place: path relative to the working folder when this module was first imported; a second
            call with the same path therefore changes nothing.
    """
    os.chdir(_START / place)


def view(*folders: str | Path) -> Viewer:
    """Return a viewer of folders written by `prepare` or `benchmark`.

    Raises:
        DataError: a folder holds neither, or is damaged.
        MissingExtraError: ipywidgets is not installed.
    """
    return Viewer([open_source(Path(folder)) for folder in folders])


def panels(seen: Seen, look: Look, side: int | None = None) -> Bytes:
    """Draw image, heat and overlay beside each other, in the image's proportions.

    Args:
        seen: an image and a map of it; a missing one is replaced by an empty panel.
        look: `colormap`, `normalize` and `alpha`.
        side: longest side of a panel, in pixels; None keeps the size of the map.

    Returns:
        (h, w, 3) uint8.
    """
    given = seen.heat if seen.heat is not None else seen.pixels
    height, width = (64, 64) if given is None else given.shape[:2]
    tall = height * seen.pixel_aspect
    scale = 1.0 if side is None else side / max(tall, width)
    size = max(round(tall * scale), 1), max(round(width * scale), 1)
    empty = placeholder(*size)
    image = empty if seen.pixels is None else resize_pixels(seen.pixels, size)
    if seen.heat is None:
        heat = overlay = empty
    else:
        values = np.asarray(seen.heat, dtype=np.float32)
        if not np.all(np.isfinite(values)):  # resizing would spread values that are not finite
            values = np.nan_to_num(values, posinf=0, neginf=0)
        scaled = scale_map(resize(values, size), look.normalize)
        heat = colour_map(scaled, look.colormap)
        overlay = overlay_map(image, scaled, look.colormap, look.alpha)
    gap = np.full((size[0], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([image, gap, heat, gap, overlay], axis=1)


def encode_png(pixels: Bytes) -> bytes:
    """Encode (h, w, 3) uint8 as PNG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


class Viewer:
    """Widgets that show one map of one image at a time.

    Args:
        sources: experiments and benchmarks to show.
        pictures: folder for saved pictures; None is `viewer_pictures` beside the notebook.

    Attributes:
        look: current colours, scale and alpha.
        seen: current image and map.
        box: box of all widgets.

    Raises:
        MissingExtraError: ipywidgets is not installed.
    """

    def __init__(self, sources: Sequence[Source], pictures: Path | None = None) -> None:
        self._sources = sources
        self._pictures = _START / PICTURES if pictures is None else pictures
        self._busy = False
        self.look = Look()
        self.seen = Seen(None, None)
        self._make(_widgets())
        self._listen()
        self._fill_groups()

    def _make(self, w: Any) -> None:
        """Create and arrange all widgets."""
        wide = {"description_width": "6em"}
        titles = [(source.title, at) for at, source in enumerate(self._sources)]
        self.source = w.Dropdown(options=titles, value=0, description="Look at", style=wide)
        self.group = w.Dropdown(description="Group", style=wide)
        self.search = w.Text(placeholder="part of a name", description="Search", style=wide)
        self.image = w.Dropdown(description="Image", style=wide)
        self.previous = w.Button(description="Previous", icon="arrow-left")
        self.next = w.Button(description="Next", icon="arrow-right")
        self.layer = w.Dropdown(description="Map of", style=wide)
        self.colormap = w.ToggleButtons(
            options=COLORMAPS, value=self.look.colormap, description="Colours",
            style={"button_width": "5.5em", **wide},
        )  # fmt: skip
        self.normalize = w.ToggleButtons(
            options=NORMALIZE, value=self.look.normalize, description="Normalize",
            style={"button_width": "5.5em", **wide},
        )  # fmt: skip
        self.alpha = w.FloatSlider(
            value=self.look.alpha, min=0, max=1, step=0.01, description="Alpha",
            continuous_update=True, style=wide,
        )  # fmt: skip
        self.save = w.Button(description="Save PNG", icon="save")
        self.picture = w.Image(format="png")
        self.facts = w.HTML()
        self.said = w.HTML()
        only = "none" if len(self._sources) < 2 else None
        self.source.layout.display = only
        self.box = w.VBox([
            w.HBox([self.source, self.group, self.search]),
            w.HBox([self.image, self.previous, self.next, self.layer]),
            self.colormap,
            self.normalize,
            w.HBox([self.alpha, self.save]),
            self.said,
            self.picture,
            self.facts,
        ])  # fmt: skip

    def _listen(self) -> None:
        """Connect each widget to its action."""
        for widget, act in (
            (self.source, self._fill_groups),
            (self.group, self._fill_images),
            (self.search, self._fill_images),
            (self.image, self._fill_layers),
            (self.layer, self._open),
            (self.colormap, self._draw),
            (self.normalize, self._draw),
            (self.alpha, self._draw),
        ):
            widget.observe(lambda _change, act=act: self._unless_busy(act), names="value")
        self.previous.on_click(lambda _button: self._step(-1))
        self.next.on_click(lambda _button: self._step(1))
        self.save.on_click(lambda _button: self._save())

    def _unless_busy(self, act: Any) -> None:
        # filling a widget here also reports a new value
        if not self._busy:
            act()

    def _fill(self, widget: Any, options: Sequence[str]) -> None:
        """Set new options, and keep the chosen one if it is among them."""
        before = widget.value
        self._busy = True
        try:
            widget.options = options
            widget.value = before if before in options else next(iter(options), None)
        finally:
            self._busy = False

    @property
    def _now(self) -> Source:
        return self._sources[int(self.source.value)]

    def _fill_groups(self) -> None:
        self.group.description = self._now.group_word
        self._fill(self.group, self._now.groups())
        self._fill_images()

    def _fill_images(self) -> None:
        words = self.search.value.casefold().split()
        self.matching = [
            name
            for name in self._now.images(self.group.value)
            if all(word in name.casefold() for word in words)
        ]
        self._fill(self.image, self.matching[:MOST_NAMES])
        self._fill_layers()

    def _fill_layers(self) -> None:
        name = self.image.value
        self._fill(self.layer, [] if name is None else self._now.layers(self.group.value, name))
        self._open()

    def _open(self) -> None:
        """Read the chosen map, and show it."""
        name, layer = self.image.value, self.layer.value
        self.seen = Seen(None, None)
        known: Table = (), ()
        notes: list[str] = []
        if name is None or layer is None:
            notes.append("No image has such a name.")
        else:
            try:
                self.seen = self._now.see(self.group.value, name, layer)
                known = self._now.table(self.group.value, name)
            except (ClickmapError, OSError) as error:
                notes.append(str(error))
        more = len(self.matching) - MOST_NAMES
        if more > 0:
            notes.append(f"{more:,} more images: a part of a name finds them.")
        self._say([*self._now.notices, *self.seen.notes, *notes])
        self.facts.value = _table(known)
        self._draw()

    def _draw(self) -> None:
        self.look = Look(
            colormap=self.colormap.value, alpha=self.alpha.value, normalize=self.normalize.value
        )
        self.picture.value = encode_png(panels(self.seen, self.look, _DISPLAY_SIDE))

    def _step(self, by: int) -> None:
        if self.image.value is None:
            return
        at = self.matching.index(self.image.value) + by
        if not 0 <= at < len(self.matching):
            return
        if self.matching[at] not in self.image.options:
            first = max(min(at - MOST_NAMES // 2, len(self.matching) - MOST_NAMES), 0)
            self._fill(self.image, self.matching[first : first + MOST_NAMES])
        self.image.value = self.matching[at]

    def _save(self) -> None:
        """Write the current picture, as large as its map, into `viewer_pictures/`."""
        words = [self.group.value, self.image.value, self.layer.value, self.look.colormap]
        name = "__".join(str(word) for word in [*words, self.look.normalize])
        # names of the cache are safe as file names, whatever they contain
        path = PredictionCache(self._pictures).path(name).with_suffix(".png")
        try:
            write_bytes(path, encode_png(panels(self.seen, self.look)))
        except ClickmapError as error:
            self._say([str(error)])
            return
        self._say([f"Saved {path}."])

    def _say(self, texts: Sequence[str]) -> None:
        self.said.value = "<br>".join(escape_html(text) for text in dict.fromkeys(texts))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return the widgets, and the picture for readers that cannot show widgets."""
        bundle = dict(self.box._repr_mimebundle_(**kwargs) or {})
        bundle["image/png"] = base64.b64encode(self.picture.value).decode("ascii")
        bundle["text/plain"] = f"Viewer of {', '.join(source.title for source in self._sources)}"
        return bundle


def _table(table: Table) -> str:
    """Return a table as HTML."""
    head, rows = table
    cell = "<{0} style='text-align:right;padding:0 .6em'>{1}</{0}>"
    lines = ["".join(cell.format("th", escape_html(name)) for name in head)]
    lines += ["".join(cell.format("td", escape_html(text)) for text in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>" if head else ""


def _widgets() -> Any:
    try:
        return importlib.import_module("ipywidgets")
    except ImportError as error:
        raise MissingExtraError("notebook", "The viewer") from error


_OPENABLE = {"prepare": "experiment", "benchmark": "benchmark"}

_INTRODUCTION = """\
# Looking at clickmaps

Run every cell (in Jupyter: *Run*, *Run All Cells*). It needs clickmap with its extra `notebook`:
`pip install 'clickmap[notebook]'`.

- **Search** takes a part of a name; **Previous** and **Next** step through what it finds.
- **Map of** chooses whose map: everyone's or one participant's of an experiment, people's or a
  model's of a benchmark. Only predictions that were kept, and still hold, can be shown.
- **Colours** and **Normalize** choose how values become colours: `max` divides by the map's
  maximum, `sum` by its sum, `none` shows 0 to 1 as it is, `rank` the share of pixels at or below.
- **Alpha** covers the image with heat: 0 is the image alone, 1 the heat alone.
- **Save PNG** writes what is shown, as large as its map, into `viewer_pictures/`
  beside this notebook.
"""


def write_notebook(
    path: Path, folders: Sequence[Path], when: WhenPresent = WhenPresent.STOP
) -> bool:
    """Write a notebook that opens the viewer on folders.

    Args:
        path: the notebook, `.ipynb`.
        folders: folders written by `prepare` or `benchmark`.
        when: treatment of an existing notebook; `RESUME` leaves it unchanged, because a person may
            have worked in it.

    Returns:
        True if the notebook was written.

    Raises:
        ConfigError: the path does not end in `.ipynb`, no folder is given, or the notebook exists.
        DataError: a folder holds no finished run of `prepare` or `benchmark`.
    """
    if path.suffix != ".ipynb":
        raise ConfigError(f"{path}: a notebook's name ends in .ipynb.")
    if not folders:
        raise ConfigError("A notebook needs a folder to look at.")
    kinds = [_kind(folder) for folder in folders]
    if path.exists():
        if when is WhenPresent.RESUME:
            return False
        if when is WhenPresent.STOP:
            raise ConfigError(
                f"{path} is there already; add --resume to keep it, or --overwrite for a new one."
            )
    text = json.dumps(_notebook(path, folders, kinds), indent=1, ensure_ascii=True) + "\n"
    write_bytes(path, text.encode("ascii"))
    return True


def _kind(folder: Path) -> str:
    manifest = load_manifest(folder)
    if manifest is None or manifest.command not in _OPENABLE:
        raise DataError(
            f"{folder} holds no finished run of prepare or benchmark; a notebook has nothing to "
            "show of it."
        )
    return _OPENABLE[manifest.command]


def _notebook(path: Path, folders: Sequence[Path], kinds: Sequence[str]) -> dict[str, Any]:
    """Return the notebook, in version 4.5 of its format."""
    cells = [_markdown(_INTRODUCTION), _code(_start(path))]
    for folder, kind in zip(folders, kinds, strict=True):
        name = folder.as_posix().replace("`", "'")
        cells += [_markdown(f"## The {kind} in `{name}`"), _code(f"view({str(folder)!r})")]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _start(path: Path) -> str:
    """Return the first code cell, which enters the folder that paths in configurations refer to."""
    here, there = Path.cwd(), path.absolute().parent
    try:
        place = Path(os.path.relpath(here, there)).as_posix()
    except ValueError:  # another drive
        place = str(here)
    return (
        "from clickmap_cli.reports.viewer import go_to, view\n\n"
        f"go_to({place!r})  # the folder clickmap was called in, seen from this notebook"
    )


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
        "source": text.splitlines(keepends=True),
    }  # fmt: skip
