"""Chunks of raw rows, checked value by value and collected into `Trials`."""

from __future__ import annotations

import datetime
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.keys import ALL, category_of, image_key, look_alike_notices
from clickmap_cli.clickmaps.participants import IdSpelling
from clickmap_cli.clickmaps.reading.click_text import ParsedClicks
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.errors import printable
from clickmap_cli.storage.long_arrays import LongArray

Reject = Callable[[int, str, str, str], None]
"""Called with (row, column, value, reason) for each row that cannot be read."""

_SHOWN = 80
_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 20
_UNIT_SECONDS = {
    "D": (86400, 1), "h": (3600, 1), "m": (60, 1), "s": (1, 1), "ms": (1, 10**3),
    "us": (1, 10**6), "ns": (1, 10**9), "ps": (1, 10**12), "fs": (1, 10**15), "as": (1, 10**18),
}  # fmt: skip
_MAX_NAME = 200
_TRUE = frozenset({"true", "t", "1", "1.0", "yes", "y"})
_FALSE = frozenset({"false", "f", "0", "0.0", "no", "n", "", "nan", "none", "null"})


@dataclass(frozen=True)
class TrialChunk:
    """Some rows of a table, column by column.

    Attributes:
        rows: line or record number of each row.
        values: content of a column, as `find_columns` names it -> a value for each row: bytes,
            text, a number or a list.
        clicks: the parsed clicks.
        columns: content of a column -> its name, for messages.
    """

    rows: Sequence[int]
    values: Mapping[str, Sequence[Any]]
    clicks: ParsedClicks
    columns: Mapping[str, str]


class TableBuilder:
    """Collects chunks into one table; rows that cannot be read are reported and left out."""

    def __init__(self, shapes: ImageShapes, remove_string: str | None, reject: Reject) -> None:
        self.rows = 0
        self._shapes = shapes
        self._reject = reject
        self._waiting: list[tuple[int, str, str, str]] = []
        self._images = _Vocabulary(lambda text: image_key(text, remove_string))
        self._spelling = IdSpelling()
        self._users = _Vocabulary(lambda text: _user_name(self._spelling.strip(text)))
        self._categories = _Vocabulary(_category_name)
        self._category_of: dict[int, int] = {}
        self._click_type = np.int16 if shapes.longest_side < 2**15 - 1 else np.int32
        self._parts: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("lengths", "image", "user", "catch", "mobile", "time")
        }
        self._clicks = {name: LongArray(self._click_type) for name in ("x", "y")}

    def reject(self, row: int, column: str, value: Any, reason: str) -> None:
        """Count a row that cannot be read; the next `add` reports it in row order."""
        self.rows += 1
        self._waiting.append((row, column, _shown(value), reason))

    def add(self, chunk: TrialChunk) -> None:
        """Check and keep the rows of a chunk; report the bad ones in row order."""
        values, clicks = chunk.values, chunk.clicks
        good = np.ones(len(chunk.rows), dtype=np.bool_)

        def bad(i: int, column: str, value: Any, reason: str) -> None:
            if good[i]:
                good[i] = False
                self.reject(chunk.rows[i], column, value, reason)

        columns: dict[str, NDArray[Any]] = {
            "image": self._images.codes(values["image"], bad, "image_path"),
            "user": self._users.codes(values["user"], bad, "user_id"),
        }
        held = [content for content in ("clicks", "x", "y") if content in values]
        for i, reason in clicks.bad.items():
            names = ", ".join(chunk.columns[content] for content in held)
            bad(i, names, values[held[0]][i], reason)
        categories = None
        if "category" in values:
            categories = self._categories.codes(values["category"], bad, "category")
        for name, convert, dtype in (
            ("catch", _score, np.float32), ("mobile", _flag, np.bool_),
            ("time", _seconds, np.float64),
        ):  # fmt: skip
            if name in values:
                columns[name] = _convert(values[name], convert, np.dtype(dtype), bad, name)
        for rejected in sorted(self._waiting):
            self._reject(*rejected)
        self._waiting.clear()
        self.rows += int(good.sum())
        keep = np.repeat(good, clicks.lengths)
        all_good = bool(good.all())
        for name, points in (("x", clicks.x), ("y", clicks.y)):
            # a coordinate beyond the largest image stays outside if it is clipped
            most = np.iinfo(self._click_type).max
            within = np.clip(points if all_good else points[keep], -most, most)
            self._clicks[name].append(within.astype(self._click_type))
        self._parts["lengths"].append(clicks.lengths[good])
        for name, column in columns.items():
            self._parts[name].append(column[good])
        if categories is not None:
            pairs = zip(columns["image"][good].tolist(), categories[good].tolist(), strict=True)
            for image, category in pairs:
                self._category_of.setdefault(image, category)

    def build(self) -> Trials:
        """Return the table of all rows kept, in their original order."""
        keys = self._images.names
        given = self._category_of
        names = [
            self._categories.names[given[code]] if code in given else category_of(key)
            for code, key in enumerate(keys)
        ]
        categories = list(dict.fromkeys(names))
        place = {name: at for at, name in enumerate(categories)}
        lengths = self._join("lengths", np.int64)
        return Trials(
            x=self._clicks["x"].finish(),
            y=self._clicks["y"].finish(),
            offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
            image=self._join("image", np.int32),
            user=self._join("user", np.int32),
            images=np.array(keys, dtype=np.str_),
            users=np.array(self._users.names, dtype=np.str_),
            category=np.array([place[name] for name in names], dtype=np.int32),
            categories=np.array(categories, dtype=np.str_),
            shape=self._shapes.look_up(keys),
            time=self._join("time", np.float64) if self._parts["time"] else None,
            catch=self._join("catch", np.float32) if self._parts["catch"] else None,
            mobile=self._join("mobile", np.bool_) if self._parts["mobile"] else None,
        )

    def notices(self) -> Iterator[str]:
        """Yield messages for the user about the names in the table."""
        yield from self._spelling.notices("user_id", self._users.names)
        yield from look_alike_notices(self._images.names)

    def _join(self, name: str, dtype: Any) -> NDArray[Any]:
        parts, self._parts[name] = self._parts[name], []
        return np.concatenate(parts) if parts else np.empty(0, dtype)


_REMEMBERED = frozenset({bytes, str, int, np.str_})
"""Types of names that are equal only if their text is equal."""


class _Vocabulary:
    """Names seen so far and their codes; each name is checked once."""

    def __init__(self, accept: Callable[[str], str]) -> None:
        self.names: list[str] = []
        self._accept = accept
        self._by_raw: dict[Any, int] = {}
        self._by_name: dict[str, int] = {}

    def codes(
        self, values: Sequence[Any], bad: Callable[[int, str, Any, str], None], column: str
    ) -> NDArray[np.int32]:
        """Return a code for each value, -1 for those reported as bad."""
        codes = np.full(len(values), -1, dtype=np.int32)
        known = self._by_raw
        for i, raw in enumerate(values):
            code: int | str | None = known.get(raw) if type(raw) in _REMEMBERED else None
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
        if isinstance(code, int) and type(raw) in _REMEMBERED:
            self._by_raw[raw] = code
        return code


def _user_name(name: str) -> str:
    if not name:
        raise ValueError("user_id is empty")
    if not name.isprintable() or len(name) > _MAX_NAME:
        raise ValueError("user_id is too long, holds control characters, or is not UTF-8")
    return name


def _category_name(text: str) -> str:
    if text and (not text.isprintable() or len(text) > _MAX_NAME):
        raise ValueError("category is too long, holds control characters, or is not UTF-8")
    return text or ALL


def _text(raw: Any) -> str:
    """Return a value as text; whole numbers lose their `.0`."""
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
    if isinstance(raw, int | np.integer | Decimal):
        return str(raw)
    raise ValueError(f"a {type(raw).__name__} where a word is expected")


def _convert(
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
        except (ValueError, OverflowError) as error:
            bad(i, column, raw, str(error))
    return out


def _score(raw: Any) -> float:
    text = _text(raw).strip()
    if not text:
        return math.nan
    try:
        score = float(text)
    except ValueError:
        raise ValueError("user_catch_trial is not a number") from None
    if abs(score) > 1e9:
        raise ValueError("user_catch_trial is too large for a score")
    return score


def _flag(raw: Any) -> bool:
    """Parse a mobile flag; of a list the first element counts, and an empty list means false."""
    if isinstance(raw, list | tuple | np.ndarray):
        first = raw.flat if isinstance(raw, np.ndarray) else iter(raw)
        return _flag(next(first, False))
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
    """Convert a timestamp to seconds: a number stays, a date and time must be in ISO form."""
    if isinstance(raw, datetime.datetime):
        return raw.replace(tzinfo=raw.tzinfo or datetime.UTC).timestamp()
    if isinstance(raw, np.datetime64):
        return _seconds_of(raw)
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


def _seconds_of(moment: np.datetime64) -> float:
    if np.isnat(moment):
        return math.nan
    if np.datetime_data(moment.dtype)[0] in ("Y", "M", "W"):
        moment = moment.astype("datetime64[D]")
    unit, count = np.datetime_data(moment.dtype)
    if unit not in _UNIT_SECONDS:
        raise ValueError("timestamp has no unit")
    seconds, parts = _UNIT_SECONDS[unit]
    return int(moment.astype(np.int64)) * count * seconds / parts


def _shown(value: Any) -> str:
    """Shorten a value for a table of rejected rows."""
    if isinstance(value, bytes):
        value = value[: 4 * _SHOWN].decode("utf-8", "replace")
    try:
        text = str(value) if isinstance(value, str | float) else _REPR.repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"a {type(value).__name__}"
    return printable(text, _SHOWN)
