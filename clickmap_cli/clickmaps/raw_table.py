"""Chunks of raw rows, checked value by value, gathered into `Trials`."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.click_text import ParsedClicks
from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.keys import category_of, image_key
from clickmap_cli.clickmaps.trials import Trials

Reject = Callable[[int, str, str, str], None]
"""Called with (row, column, value, reason) for a row that cannot be read."""

_SHOWN = 80
_MAX_NAME = 200
_TRUE = frozenset({"true", "t", "1", "1.0", "yes", "y"})
_FALSE = frozenset({"false", "f", "0", "0.0", "no", "n", "", "nan", "none", "null"})


@dataclass(frozen=True)
class TextChunk:
    """Some rows of a table, column by column; values are bytes, text, numbers or lists.

    Attributes:
        rows: line or record number of each row.
        image: image paths.
        user: user names.
        clicks: the parsed clicks.
        clicks_text: what they were parsed from, for messages.
        clicks_column: name of the column they came from.
        catch: catch-trial scores, where the table has them.
        mobile: mobile flags, likewise.
        time: timestamps, likewise.
        category: category names, likewise.
    """

    rows: Sequence[int]
    image: Sequence[Any]
    user: Sequence[Any]
    clicks: ParsedClicks
    clicks_text: Sequence[Any]
    clicks_column: str
    catch: Sequence[Any] | None = None
    mobile: Sequence[Any] | None = None
    time: Sequence[Any] | None = None
    category: Sequence[Any] | None = None


class TableBuilder:
    """Gathers chunks into one table; rows that cannot be read are reported and left out."""

    def __init__(self, shapes: ImageShapes, remove_string: str | None, reject: Reject) -> None:
        self.rows = 0
        self.rejected = 0
        self._shapes = shapes
        self._remove_string = remove_string
        self._reject = reject
        self._images = _Vocabulary(lambda text: image_key(text, remove_string))
        self._users = _Vocabulary(_user_name)
        self._categories: dict[int, str] = {}
        self._side = shapes.longest_side
        self._click_type = np.int16 if self._side < 2**15 - 1 else np.int32
        self._parts: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("x", "y", "lengths", "image", "user", "catch", "mobile", "time")
        }

    def reject(self, row: int, column: str, value: Any, reason: str) -> None:
        """Count and report a row that cannot be read."""
        self.rows += 1
        self.rejected += 1
        self._reject(row, column, _shown(value), reason)

    def add(self, chunk: TextChunk) -> None:
        """Check and keep the rows of a chunk."""
        n = len(chunk.rows)
        good = np.ones(n, dtype=np.bool_)

        def bad(i: int, column: str, value: Any, reason: str) -> None:
            if good[i]:
                good[i] = False
                self.reject(chunk.rows[i], column, value, reason)

        images = self._images.codes(chunk.image, bad, "image_path")
        users = self._users.codes(chunk.user, bad, "user_id")
        for i, reason in chunk.clicks.bad.items():
            bad(i, chunk.clicks_column, chunk.clicks_text[i], reason)
        columns: dict[str, NDArray[Any]] = {}
        for name, values, convert, dtype in (
            ("catch", chunk.catch, _score, np.float32),
            ("mobile", chunk.mobile, _flag, np.bool_),
            ("time", chunk.time, _seconds, np.float64),
        ):
            if values is not None:
                columns[name] = _converted(values, convert, np.dtype(dtype), bad, name)
        self.rows += int(good.sum())
        self._keep(chunk, good, images, users, columns)

    def _keep(
        self,
        chunk: TextChunk,
        good: NDArray[np.bool_],
        images: NDArray[np.int32],
        users: NDArray[np.int32],
        columns: dict[str, NDArray[Any]],
    ) -> None:
        clicks = chunk.clicks
        keep = np.repeat(good, clicks.lengths)
        all_good = bool(good.all())
        for name, values in (("x", clicks.x), ("y", clicks.y)):
            # what lies beyond the longest side is outside every image, wherever it is
            inside = np.clip(values if all_good else values[keep], -1, self._side)
            self._parts[name].append(inside.astype(self._click_type))
        self._parts["lengths"].append(clicks.lengths[good])
        self._parts["image"].append(images[good])
        self._parts["user"].append(users[good])
        for name, values in columns.items():
            self._parts[name].append(values[good])
        if chunk.category is not None:
            for i in np.flatnonzero(good).tolist():
                code = int(images[i])
                if code not in self._categories:
                    self._categories[code] = _text(chunk.category[i]) or "all"

    def build(self) -> Trials:
        """The table of all rows kept, in the order they came."""
        keys = self._images.names
        names = [self._categories.get(c, category_of(k)) for c, k in enumerate(keys)]
        categories = list(dict.fromkeys(names))
        place = {name: at for at, name in enumerate(categories)}
        lengths = self._joined("lengths", np.int64)
        return Trials(
            x=self._joined("x", self._click_type),
            y=self._joined("y", self._click_type),
            offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
            image=self._joined("image", np.int32),
            user=self._joined("user", np.int32),
            images=np.array(keys, dtype=np.str_),
            users=np.array(self._users.names, dtype=np.str_),
            category=np.array([place[name] for name in names], dtype=np.int32),
            categories=np.array(categories, dtype=np.str_),
            shape=self._shapes.of(keys),
            time=self._joined("time", np.float64) if self._parts["time"] else None,
            catch=self._joined("catch", np.float32) if self._parts["catch"] else None,
            mobile=self._joined("mobile", np.bool_) if self._parts["mobile"] else None,
        )

    def _joined(self, name: str, dtype: Any) -> NDArray[Any]:
        parts, self._parts[name] = self._parts[name], []
        return np.concatenate(parts) if parts else np.empty(0, dtype)


class _Vocabulary:
    """Names met so far and their codes; a name's check runs once."""

    def __init__(self, accept: Callable[[str], str]) -> None:
        self.names: list[str] = []
        self._accept = accept
        self._by_raw: dict[Any, int | str] = {}
        self._by_name: dict[str, int] = {}

    def codes(
        self, values: Sequence[Any], bad: Callable[[int, str, Any, str], None], column: str
    ) -> NDArray[np.int32]:
        """A code for each value, -1 for those reported as bad."""
        codes = np.full(len(values), -1, dtype=np.int32)
        known = self._by_raw
        for i, raw in enumerate(values):
            code = known.get(raw) if raw.__hash__ is not None else None
            if code is None:
                code = self._learn(raw)
            if isinstance(code, int):
                codes[i] = code
            else:
                bad(i, column, raw, code)
        return codes

    def _learn(self, raw: Any) -> int | str:
        code: int | str
        try:
            name = self._accept(_text(raw))
            code = self._by_name.setdefault(name, len(self.names))
            if code == len(self.names):
                self.names.append(name)
        except ValueError as error:
            code = str(error)
        if isinstance(code, int):
            self._by_raw[raw] = code
        return code


def _user_name(text: str) -> str:
    name = text.strip()
    if not name or name.lower() == "nan":
        raise ValueError("user_id is empty")
    if not name.isprintable() or len(name) > _MAX_NAME:
        raise ValueError("user_id is too long or holds control characters")
    return name


def _text(raw: Any) -> str:
    """A value as text; numbers that are whole lose their `.0`."""
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "surrogateescape")
    if isinstance(raw, str):
        return raw
    if raw is None:
        return ""
    if isinstance(raw, float | np.floating):
        if math.isnan(raw):
            return ""
        return str(int(raw)) if float(raw).is_integer() else str(raw)
    if isinstance(raw, int | np.integer):
        return str(raw)
    raise ValueError(f"a {type(raw).__name__} where a word is expected")


def _converted(
    values: Sequence[Any],
    convert: Callable[[Any], Any],
    dtype: np.dtype[Any],
    bad: Callable[[int, str, Any, str], None],
    column: str,
) -> NDArray[Any]:
    out = np.zeros(len(values), dtype=dtype)
    for i, raw in enumerate(values):
        try:
            out[i] = convert(raw)
        except (ValueError, OverflowError, OSError) as error:
            bad(i, column, raw, str(error))
    return out


def _score(raw: Any) -> float:
    text = _text(raw).strip()
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise ValueError("user_catch_trial is not a number") from None


def _flag(raw: Any) -> bool:
    """A mobile flag; of a list the first element counts, an empty one means false."""
    if isinstance(raw, list | tuple | np.ndarray):
        return _flag(raw[0]) if len(raw) else False
    if isinstance(raw, bool | np.bool_):
        return bool(raw)
    text = _text(raw).strip()
    if text[:1] in ("[", "(", "{"):
        text = text.strip("[](){} \t").split(",")[0].strip(" \"'")
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("is_mobile is neither true nor false")


def _seconds(raw: Any) -> float:
    """A timestamp as seconds: a number as it is, or a date and time in ISO form."""
    if isinstance(raw, datetime.datetime):
        return raw.replace(tzinfo=raw.tzinfo or datetime.UTC).timestamp()
    if isinstance(raw, np.datetime64):
        return float(raw.astype("datetime64[us]").astype(np.int64)) / 1e6
    text = _text(raw).strip()
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("timestamp is neither a number nor an ISO date and time") from None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


def _shown(value: Any) -> str:
    """A value short enough for a table."""
    if isinstance(value, bytes):
        value = value[: 4 * _SHOWN].decode("utf-8", "replace")
    text = str(value)
    text = "".join(c if c.isprintable() else "?" for c in text[: 2 * _SHOWN])
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
