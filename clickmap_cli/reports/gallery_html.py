"""Files of a gallery: the page, its index, and pages of pictures that the page colours itself.

Photographs are JPEG. Maps are grey levels with their range, so that scale, colours and cover can
be changed while viewing. The pages are scripts that pass their content to the gallery, because a
page opened from disk may load scripts but no other files.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports.html_parts import (
    build_page,
    encode_jpeg,
    json_text,
    round_digits,
    source,
)
from clickmap_cli.reports.overlays import EVEN_SPREADS, palette
from clickmap_cli.services.visualize.gallery import Gallery, People, SmallPicture
from clickmap_cli.services.visualize.options import COLORMAPS, NORMALIZE, Look

LEVELS = 1023
"""Number of steps between a map's least and greatest value."""

LARGE_LEVELS = 4095
"""Number of steps in an opened image."""

LISTED = 200
"""Images listed per kind at the foot of the page, among those that are not shown as they are."""

_QUALITY = 74
_FOLDER = "gallery_page"
_SCRIPTS = ("store.js", "paint.js", "grid.js", "viewer.js", "gallery.js")


def require_drawable(look: Look) -> None:
    """Raise ConfigError unless the colour map of a look exists."""
    palette(look.colormap)


def page_content(name: str, pictures: Sequence[SmallPicture]) -> bytes:
    """Return the thumbnails of a page, as a script.

    Args:
        name: name under which the gallery requests the page.
        pictures: images of the page.
    """
    return _script(name, [_picture(picture, LEVELS) for picture in pictures])


def opened_content(name: str, picture: SmallPicture, people: People) -> bytes:
    """Return an opened image with each participant's map, as a script.

    Args:
        name: name under which the gallery requests the image.
        picture: the image and its mean map, larger than in the page.
        people: the participants.
    """
    packed = [
        {"name": person, "clicks": n_clicks, "map": pack_map(heat, LEVELS)}
        for person, n_clicks, heat in people
    ]
    return _script(name, _picture(picture, LARGE_LEVELS) | {"people": packed})


def index_content(gallery: Gallery) -> bytes:
    """Return the script with the facts of all images: lists with one entry per image."""
    categories = sorted(set(gallery.categories))
    code = {name: at for at, name in enumerate(categories)}
    index = {
        "names": gallery.keys,
        "categories": categories,
        "category": [code[name] for name in gallery.categories],
        "participants": gallery.n_participants,
        "clicks": gallery.n_clicks,
        "agreements": [
            {
                "name": f"{one.metric}, {one.method}",
                "higher": one.higher_is_better,
                "scores": [round_digits(score) for score in one.values.tolist()],
            }
            for one in gallery.agreements
        ],
        "page_images": gallery.page_images,
        "pages": gallery.pages,
        "opened": gallery.opened,
        "aspect": round_digits(gallery.aspect),
        "remarks": _remarks(gallery),
    }
    return _script("index", index)


def shell(gallery: Gallery, index: str) -> bytes:
    """Return the page to open.

    Args:
        gallery: everything except the pictures.
        index: name of the index file in `gallery/`, without its ending.
    """
    look = gallery.look
    names = list(dict.fromkeys([look.colormap, *COLORMAPS]))
    data = {
        "index": index,
        "n_images": len(gallery.keys),
        "colormaps": [
            {"name": name, "colours": base64.b64encode(palette(name).tobytes()).decode("ascii")}
            for name in names
        ],
        "normalize": {"names": NORMALIZE, "chosen": look.normalize},
        "even_spreads": EVEN_SPREADS,
        "alpha": look.alpha,
    }
    scripts = [source("page", "dom.js"), *(source(_FOLDER, name) for name in _SCRIPTS)]
    return build_page(
        _FOLDER, "gallery", scripts,
        title=gallery.title, notices=gallery.notices, images="blob: data:", loads=" 'self' file:",
        data=json_text(data),
    )  # fmt: skip


def _remarks(gallery: Gallery) -> list[dict[str, Any]]:
    """Return, for each kind of image not shown as it is, the number and the first images."""
    found = []
    for state in dict.fromkeys(remark.state for remark in gallery.remarks):
        mine = [remark for remark in gallery.remarks if remark.state == state]
        listed = [[remark.key, remark.note] for remark in mine[:LISTED]]
        found.append({"state": state, "n": len(mine), "listed": listed})
    return found


def _script(name: str, content: Any) -> bytes:
    """Return a script that passes content to the page that loads it."""
    return f"clickmapGallery.take({json_text(name)},{json_text(content)});\n".encode("ascii")


def _picture(picture: SmallPicture, levels: int) -> dict[str, Any]:
    from PIL import Image

    photo = None if picture.photo is None else Image.fromarray(picture.photo)
    return {
        "photo": None if photo is None else encode_jpeg(photo, _QUALITY),
        "map": pack_map(picture.heat, levels),
        "state": picture.state,
        "note": picture.note,
    }


def pack_map(values: NDArray[Any], levels: int) -> dict[str, Any]:
    """Compress a map in whole levels from its least to its greatest value.

    Differences of levels across and down are near 0 in a smooth map. They are mapped to whole
    numbers that are at least 0 (0, -1, 1, -2, ... become 0, 1, 2, 3, ...), and all high bytes
    come before the low ones, so that they compress well.

    Args:
        values: (h, w); values that are not finite count as 0.
        levels: number of steps between least and greatest value, at most 4095.

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
