"""A gallery's files: the page, its index, and pages of pictures that the page colours itself.

Photographs are JPEG; maps are grey levels with their range, so that scale, colours and cover can
be chosen while looking. The pages are scripts that hand their content over, because a page that was
opened from disk may load scripts and nothing else.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports.html_parts import (
    escaped,
    filled,
    json_text,
    notice_list,
    root_colours,
    rounded,
    script_hash,
    source,
)
from clickmap_cli.reports.overlays import EVEN_SPREADS, palette
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.services.visualize.gallery import Gallery, GalleryFigures
from clickmap_cli.services.visualize.gallery_pages import Opened, SmallPicture
from clickmap_cli.services.visualize.options import COLORMAPS, NORMALIZE, Look

LEVELS = 1023
"""Steps between a map's least and greatest value."""

LARGE_LEVELS = 4095
"""The same in an opened image."""

LISTED = 200
"""Images of each kind that are named at the page's foot, of those not shown as they are."""


_QUALITY = 74
_FOLDER = "gallery_page"
_SCRIPTS = (
    "store.js", "paint.js", "grid.js", "viewer.js", "gallery.js",
)  # fmt: skip


def gallery_figures() -> GalleryFigures:
    """How `services.gallery` has its files drawn."""
    return GalleryFigures(check_look, page_content, opened_content, index_content, shell)


def check_look(look: Look) -> None:
    """Refuse what cannot be drawn.

    Raises:
        ConfigError: there is no such colour map, scale or alpha.
    """
    palette(look.colormap)
    if look.normalize not in NORMALIZE:
        raise ConfigError(f"normalize is '{look.normalize}'; choose one of {', '.join(NORMALIZE)}.")
    if not 0 <= look.alpha <= 1:
        raise ConfigError(f"alpha is {look.alpha:g}; it must be between 0 and 1.")


def page_content(name: str, pictures: Sequence[SmallPicture]) -> bytes:
    """The thumbnails of a page.

    Args:
        name: what the page asks for it by.
        pictures: its images.
    """
    return _handed_over(name, [_picture(picture, LEVELS) for picture in pictures])


def opened_content(name: str, opened: Opened) -> bytes:
    """An opened image, with everybody's map.

    Args:
        name: what the page asks for it by.
        opened: the image.
    """
    people = [
        {"name": person.name, "clicks": person.n_clicks, "map": packed_map(person.heat, LEVELS)}
        for person in opened.people
    ]
    return _handed_over(name, _picture(opened.picture, LARGE_LEVELS) | {"people": people})


def index_content(gallery: Gallery) -> bytes:
    """What the page knows of all images before any is drawn: one place an image in every list."""
    categories = sorted({image.category for image in gallery.images})
    code = {name: at for at, name in enumerate(categories)}
    index = {
        "names": [image.key for image in gallery.images],
        "categories": categories,
        "category": [code[image.category] for image in gallery.images],
        "participants": [image.n_participants for image in gallery.images],
        "clicks": [image.n_clicks for image in gallery.images],
        "agreements": [
            {
                "name": f"{one.metric}, {one.method}",
                "higher": one.higher_is_better,
                "scores": [rounded(score) for score in one.values.tolist()],
            }
            for one in gallery.agreements
        ],
        "page_images": gallery.page_images,
        "pages": gallery.pages,
        "opened": gallery.opened,
        "aspect": rounded(gallery.aspect),
        "remarks": _remarks(gallery),
    }
    return _handed_over("index", index)


def shell(gallery: Gallery, index: str) -> bytes:
    """The page that a person opens.

    Args:
        gallery: all but the pictures.
        index: the index's file in `gallery/`, without its ending.
    """
    look = gallery.look
    names = list(dict.fromkeys([look.colormap, *COLORMAPS]))
    data = {
        "index": index,
        "n_images": len(gallery.images),
        "colormaps": [{"name": name, "colours": _colours(name)} for name in names],
        "normalize": {"names": NORMALIZE, "chosen": look.normalize},
        "even_spreads": EVEN_SPREADS,
        "alpha": look.alpha,
    }
    style = root_colours() + source(_FOLDER, "gallery.css")
    scripts = [source("page", "dom.js"), *(source(_FOLDER, name) for name in _SCRIPTS)]
    script = '"use strict";\n' + "\n".join(scripts)
    parts = {
        "title": escaped(gallery.title),
        "policy": _policy(style, script),
        "style": style,
        "notices": notice_list(gallery.notices),
        "data": json_text(data),
        "script": script,
    }
    return filled(source(_FOLDER, "gallery.html"), parts).encode("utf-8")


def _remarks(gallery: Gallery) -> list[dict[str, Any]]:
    """Images that are not shown as they are: how many of each kind, and the first of them."""
    found = []
    for state in dict.fromkeys(remark.state for remark in gallery.remarks):
        mine = [remark for remark in gallery.remarks if remark.state == state]
        listed = [[remark.key, remark.note] for remark in mine[:LISTED]]
        found.append({"state": state, "n": len(mine), "listed": listed})
    return found


def _policy(style: str, script: str) -> str:
    """A policy under which only this style, this script and the gallery's own scripts act."""
    return (
        "default-src 'none'; img-src blob: data:; "
        f"style-src '{script_hash(style)}'; script-src '{script_hash(script)}' 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )


def _handed_over(name: str, content: Any) -> bytes:
    """A script that hands content to the page that loaded it."""
    return f"clickmapGallery.take({json_text(name)},{json_text(content)});\n".encode("ascii")


def _picture(picture: SmallPicture, levels: int) -> dict[str, Any]:
    return {
        "photo": None if picture.photo is None else _jpeg(picture.photo),
        "map": packed_map(picture.heat, levels),
        "state": picture.state,
        "note": picture.note,
    }


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def packed_map(values: NDArray[Any], levels: int) -> dict[str, Any]:
    """A map in whole levels from its least to its greatest value, compressed.

    A level's differences across and down are near 0 in a smooth map; they are folded into whole
    numbers that are not negative (0, -1, 1, -2, ...), and their high bytes stand before the low
    ones, so that they compress well.

    Args:
        values: (h, w); what is not finite counts as 0.
        levels: steps between both ends, at most 4095.

    Returns:
        `width`, `height`, `low`, `high`, `levels`, and `data`: base64 of zlib's format.
    """
    known = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = float(known.min()), float(known.max())
    step = (high - low) / levels
    whole = np.rint((known - low) / step) if step > 0 else np.zeros_like(known)
    steps = whole.astype(np.int16)
    steps[1:] -= steps[:-1].copy()
    steps[:, 1:] -= steps[:, :-1].copy()
    folded = ((steps << 1) ^ (steps >> 15)).astype(np.uint16)
    split = (folded >> 8).astype(np.uint8).tobytes() + (folded & 255).astype(np.uint8).tobytes()
    height, width = known.shape
    return {
        "width": width,
        "height": height,
        "low": low,
        "high": high,
        "levels": levels,
        "data": base64.b64encode(zlib.compress(split, 6)).decode("ascii"),
    }


def _colours(colormap: str) -> str:
    """256 RGB triples of a colour map, base64."""
    return base64.b64encode(palette(colormap).tobytes()).decode("ascii")
