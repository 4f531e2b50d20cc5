r"""Parse clicks written as text into numbers, a whole block of rows at a time.

Both notations in use, `{"(x,y),(x,y)"}` and `[(x, y), (x, y)]`, and JSON lists `[[x, y], ...]` are
first brought to one form, `(x,y),(x,y)`, by exact replacements. In that form with whole numbers,
the bytes that are not digits repeat `(,),` and their positions delimit the numbers, so a block is
checked and read by array operations. Rows that differ (floats, signs, spaces) are read one by one
with a pattern; rows that fit neither are reported, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FAR_OUTSIDE = -(1 << 31) + 1
"""Replaces a coordinate too large to store: it is outside every image."""

_NUMBER = rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
_PAIR = rb"\(" + _NUMBER + rb"," + _NUMBER + rb"\)"
_PAIRS = re.compile(_PAIR + rb"(?:," + _PAIR + rb")*")
_LIST = re.compile(_NUMBER + rb"(?:," + _NUMBER + rb")*")
_PLAIN_PAIRS = re.compile(rb"\(\d{1,9},\d{1,9}\)(?:,\(\d{1,9},\d{1,9}\))*")
_NUMBERS = re.compile(_NUMBER)
_NOT_A_NUMBER = re.compile(rb"nan|null|none|inf", re.IGNORECASE)
_AIR = re.compile(rb" ?([\[\](){},\"]) ?")
_EMPTY = frozenset({b"{}", b"[]", b"()", b'{""}', b"[()]", b"[[]]"})
_SKELETON = np.frombuffer(b"(,),(,)\n", dtype="<u4")


@dataclass(frozen=True)
class ParsedClicks:
    """Clicks of a block of rows.

    Attributes:
        x: columns of all clicks, row after row, floored; int32.
        y: rows of all clicks, in the same order; int32.
        lengths: (rows) number of clicks of each row; 0 for an empty list and for a row in `bad`.
        bad: row -> reason why it cannot be read.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    lengths: NDArray[np.int64]
    bad: dict[int, str] = field(default_factory=dict)


def parse_pairs(texts: Sequence[bytes]) -> ParsedClicks:
    """Parse rows such as `{"(12,34),(56,78)"}`, `[(12, 34)]` or `[[12, 34], [56, 78]]`."""
    rows = [_unwrap(text) for text in texts]
    block = b"\n".join(rows)
    if b", " in block:
        block = block.replace(b", ", b",")
    # a line end inside a row would be mistaken for the end of the row
    joined_well = block.count(b"\n") == len(rows) - 1
    numbers = _plain_numbers(block + b"\n") if joined_well else None
    if numbers is None:
        return _parse_mixed(texts, [row.replace(b", ", b",") for row in rows])
    lengths = np.fromiter((row.count(b"(") for row in rows), np.int64, len(rows))
    return ParsedClicks(numbers[0::2].copy(), numbers[1::2].copy(), lengths)


def parse_columns(xs: Sequence[bytes], ys: Sequence[bytes]) -> ParsedClicks:
    """Parse rows whose x and y are in two lists, such as `[12, 56]` and `[34, 78]`."""
    bad: dict[int, str] = {}
    parts_x, parts_y = [], []
    lengths = np.zeros(len(xs), dtype=np.int64)
    for row, (text_x, text_y) in enumerate(zip(xs, ys, strict=True)):
        try:
            x, y = _two_lists(text_x, text_y)
        except ValueError as error:
            bad[row] = str(error)
        else:
            lengths[row] = len(x)
            parts_x.append(x)
            parts_y.append(y)
    return ParsedClicks(_join(parts_x), _join(parts_y), lengths, bad)


def floor_clicks(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Floor coordinates to whole pixels; those too large to store become `FAR_OUTSIDE`."""
    whole = np.floor(values)
    whole[np.abs(whole) >= 2**31 - 1] = FAR_OUTSIDE
    return whole.astype(np.int32)


def _plain_numbers(block: bytes) -> NDArray[np.int32] | None:
    """Return the numbers x, y, x, y, ... of a block in the plain form, or None if it differs."""
    data = np.frombuffer(block, dtype=np.uint8)
    marks = np.flatnonzero((data - np.uint8(48)) > 9)
    if len(marks) % 4 or not len(marks):
        return None
    skeleton = data[marks].view("<u4")
    if not np.all((skeleton == _SKELETON[0]) | (skeleton == _SKELETON[1])):
        return None
    narrow = len(data) < 2**31
    groups = (marks.astype(np.int32) if narrow else marks).reshape(-1, 4)
    if groups[0, 0] != 0 or skeleton[-1] != _SKELETON[1]:
        return None
    ends = groups[:, 1:3]
    digits = (ends - groups[:, 0:2] - 1).ravel()
    touching = np.all(groups[:, 3] - groups[:, 2] == 1) and np.all(
        groups[1:, 0] - groups[:-1, 3] == 1
    )
    longest = int(digits.max())
    if not touching or digits.min() < 1 or longest > 9:
        return None
    last = (ends - 1).ravel()
    numbers = data[last].astype(np.int32) - 48
    for place in range(1, longest):
        digit = data[last - place].astype(np.int32) - 48
        numbers += np.where(digits > place, digit * 10**place, 0)
    return numbers


def _parse_mixed(texts: Sequence[bytes], rows: Sequence[bytes]) -> ParsedClicks:
    """Parse plain rows together and the other rows one by one."""
    is_plain = [_PLAIN_PAIRS.fullmatch(row) is not None for row in rows]
    plain = [row for row, yes in zip(rows, is_plain, strict=True) if yes]
    numbers = _plain_numbers(b"\n".join(plain) + b"\n") if plain else np.empty(0, np.int32)
    if numbers is None:
        raise AssertionError("rows that match the plain pattern must read as plain")
    lengths = np.zeros(len(rows), dtype=np.int64)
    bad: dict[int, str] = {}
    parts: list[NDArray[np.int32]] = []
    at = 0
    for i, row in enumerate(rows):
        if is_plain[i]:
            values = numbers[at : at + 2 * row.count(b"(")]
            at += len(values)
        else:
            try:
                values = _one_row(texts[i])
            except ValueError as error:
                bad[i] = str(error)
                continue
        lengths[i] = len(values) // 2
        parts.append(values)
    joined = _join(parts)
    return ParsedClicks(joined[0::2].copy(), joined[1::2].copy(), lengths, bad)


def _unwrap(text: bytes) -> bytes:
    """Return the pairs of a row, `(x,y),(x,y)`, without the notation around them.

    A row with incomplete brackets or quotes is returned with a `?` in front, so that it matches no
    pattern.
    """
    if text[:2] == b"[(" and text[-2:] == b")]":
        return text[1:-1]
    if text[:3] == b'{"(' and text[-3:] == b')"}':
        inner = text[2:-2]
        return inner.replace(b')","(', b"),(") if b'"' in inner else inner
    if text[:2] == b"[[" and text[-2:] == b"]]" and b"(" not in text and b")" not in text:
        return b"(%b)" % text[2:-2].replace(b"], [", b"),(").replace(b"],[", b"),(")
    if text[:2] == b"{(" and text[-2:] == b")}":
        return text[1:-1]
    return b"?" + text


def _one_row(text: bytes) -> NDArray[np.int32]:
    """Return the numbers x, y, x, y, ... of a row; raise ValueError with the reason if none."""
    tidy = _tidy(text)
    if not tidy:
        raise ValueError("clicks is empty")
    if tidy in _EMPTY:
        return np.empty(0, np.int32)
    row = _unwrap(tidy)
    if not _PAIRS.fullmatch(row):
        raise ValueError(_why_not(tidy, "clicks is not a list of (x, y) pairs"))
    return _numbers_in(row)


def _two_lists(text_x: bytes, text_y: bytes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    x, y = _number_list("clickmap_x", text_x), _number_list("clickmap_y", text_y)
    if len(x) != len(y):
        raise ValueError(f"clickmap_x has {len(x)} values, clickmap_y has {len(y)}")
    return x, y


def _number_list(name: str, text: bytes) -> NDArray[np.int32]:
    """Return the numbers of one list; raise ValueError with the column and the reason if none."""
    row = _tidy(text)
    if not row:
        raise ValueError(f"{name}: it is empty")
    if row in _EMPTY:
        return np.empty(0, np.int32)
    brackets = (row[:1], row[-1:]) in ((b"[", b"]"), (b"{", b"}"), (b"(", b")"))
    if not brackets or not _LIST.fullmatch(row[1:-1]):
        what = "it is not a list of numbers"
        raise ValueError(f"{name}: {_why_not(row, what) if brackets else what}")
    return _numbers_in(row)


def _tidy(text: bytes) -> bytes:
    """Remove the white space around brackets, commas and quotes."""
    return _AIR.sub(rb"\1", b" ".join(text.split()))


def _numbers_in(row: bytes) -> NDArray[np.int32]:
    # converted one by one: in an array of texts each would take the memory of the longest
    return floor_clicks(np.array([float(number) for number in _NUMBERS.findall(row)]))


def _why_not(row: bytes, otherwise: str) -> str:
    return "a coordinate is not a number" if _NOT_A_NUMBER.search(row) else otherwise


def _join(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(parts) if parts else np.empty(0, np.int32)
