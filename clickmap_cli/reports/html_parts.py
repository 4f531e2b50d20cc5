"""Parts of pages that are opened from disk: sources, escaped text, a strict policy."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from clickmap_cli.reports.style import COLOURS
from clickmap_cli.runtime.errors import escape_controls


def source(folder: str, name: str) -> str:
    """Read a part of a page, with line ends as HTML reads them, because hashes depend on them.

    Args:
        folder: folder inside `reports/`.
        name: name of the file.
    """
    part = files("clickmap_cli.reports") / folder / name
    return part.read_text(encoding="utf-8").replace("\r\n", "\n")


def build_page(
    folder: str, name: str, scripts: Sequence[str], *,
    title: str, notices: Sequence[str], images: str, loads: str = "", **parts: str,
) -> bytes:  # fmt: skip
    """Build a page from `<name>.html`, `<name>.css` and scripts, with a strict policy.

    Args:
        folder: folder inside `reports/`.
        name: name of the page's sources.
        scripts: contents of the scripts, which become one.
        title: title of the page, which is escaped.
        notices: notices about data and settings.
        images: sources of images that the policy allows.
        loads: sources of more scripts that the policy allows, after a space; empty for none.
        parts: what replaces each other `{{name}}` in the page.
    """
    style = root_colours() + source(folder, f"{name}.css")
    script = '"use strict";\n' + "\n".join(scripts)
    policy = (
        f"default-src 'none'; img-src {images}; "
        f"style-src '{script_hash(style)}'; script-src '{script_hash(script)}'{loads}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts |= {"title": escape_html(title), "notices": notice_list(notices)}
    parts |= {"policy": policy, "style": style, "script": script}
    # one pass, so that nothing inside an inserted part is replaced
    page = re.sub(r"\{\{(\w+)\}\}", lambda at: parts[at[1]], source(folder, f"{name}.html"))
    return page.encode("utf-8")


def encode_jpeg(picture: Any, quality: int) -> str:
    """Return a Pillow image as base64 of a JPEG."""
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=quality, optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def json_text(value: Any) -> str:
    """Return JSON that cannot end a script element and holds no character special to HTML."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def escape_html(text: str) -> str:
    """Escape text for HTML; an unpaired surrogate, which UTF-8 cannot hold, becomes `?`."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def notice_list(notices: Sequence[str]) -> str:
    """Return a section with the notices about data and settings; an empty string without any."""
    if not notices:
        return ""
    items = "".join(f"<li>{escape_html(escape_controls(text))}</li>" for text in notices)
    return (
        '<section id="notices" aria-labelledby="notices-title">'
        f'<h2 id="notices-title">What to know of this run</h2><ul class="note">{items}</ul>'
        "</section>"
    )


def script_hash(text: str) -> str:
    """Return the hash of an inline style or script for a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def root_colours() -> str:
    """Return the colours of the plotting style as CSS variables."""
    roles = "; ".join(f"--{role}: {colour}" for role, colour in COLOURS.items())
    return f":root {{ {roles}; }}\n"


def round_digits(value: float, digits: int = 4) -> float | None:
    """Round a number to significant digits; return None if it is not finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
