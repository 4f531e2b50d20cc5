"""What pages that a person opens from disk are made of: sources, safe text, a strict policy."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from clickmap_cli.reports.style import COLOURS
from clickmap_cli.runtime.errors import printed


def source(folder: str, name: str) -> str:
    """A part of a page; line ends as HTML reads them, for the hashes.

    Args:
        folder: inside `reports/`.
        name: the file.
    """
    part = files("clickmap_cli.reports") / folder / name
    return part.read_text(encoding="utf-8").replace("\r\n", "\n")


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with `{{name}}` replaced in one pass, so that no part is taken for a place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def json_text(value: Any) -> str:
    """JSON that neither ends a script element nor means anything to HTML."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def escaped(text: str) -> str:
    """Text for HTML; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def notice_list(notices: Sequence[str]) -> str:
    """What a run said of its data and settings, as a section; nothing where it said nothing."""
    if not notices:
        return ""
    items = "".join(f"<li>{escaped(printed(text))}</li>" for text in notices)
    return (
        '<section id="notices" aria-labelledby="notices-title">'
        f'<h2 id="notices-title">What to know of this run</h2><ul class="note">{items}</ul>'
        "</section>"
    )


def script_hash(text: str) -> str:
    """What a content security policy calls an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def root_colours() -> str:
    """The plotting style's colours as CSS variables."""
    roles = "; ".join(f"--{role}: {colour}" for role, colour in COLOURS.items())
    return f":root {{ {roles}; }}\n"


def rounded(value: float, digits: int = 4) -> float | None:
    """A number with so many significant digits; None where it is not finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
