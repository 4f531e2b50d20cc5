"""Clicks written as text, held against numbers that were never text, and a plain grammar."""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.reading.click_text import FAR_OUTSIDE, parse_columns, parse_pairs

NOTATIONS = ("braces", "braces_each", "bare_braces", "tuples", "json")
NUMBER_TEXTS = st.one_of(
    st.integers(0, 999).map(str),
    st.integers(-500, 10**12).map(str),
    st.floats(-1e4, 1e4).map(lambda v: f"{v:.4f}"),
    st.floats(-1e300, 1e300, allow_nan=False).map(repr),
    st.sampled_from(["0", "00012", "-0", "-0.0", "+7", "5.", ".5", "1e3", "2E+1", "9e999", "-9e999",
                     "2147483646", "2147483647", "2147483648", "-2147483648", "9" * 60]),
)  # fmt: skip
SPACES = st.sampled_from(["", " ", "  ", "\t", " \n "])
PAIRS = st.lists(st.tuples(NUMBER_TEXTS, NUMBER_TEXTS), min_size=1, max_size=6)
GARBAGE = (
    "", " ", "nan", "NaN", "hello", "[(nan, 1)]", "[(1, None)]", "[(1, 2)", "(1, 2)]", "[(1,)]",
    "[(1, 2, 3)]", "[1, 2]", "[(1, 2) (3, 4)]", "[(1, 2)\n(3, 4)]", "[[1, 2), (3, 4]]", "[(1, 2]]",
    '{"(1,2)"', '"{(1,2)}', "[(inf, 1)]", "[(1;2)]", "[(1, 2),]", "[,(1, 2)]", "[(--1, 2)]",
    "[(1e, 2)]", "[(1.2.3, 4)]", "[(0x10, 2)]", "[(1_0, 2)]", "\x00\xff", "[((1, 2))]",
    "[[[1, 2]]]", "[(1,2)3,(4,5)]", "[(1,2),3(4,5)]", "[3(1,2)]", "3[(1,2)]", '{"(1,2)3"}',
    "[(1,2)3]", "[(1,2),(3,4)5,(6,7)]", "(1,2)", "(1,2),(3,4)", "[(,2),(3,4)]", "[(1,),(3,4)]",
    '[("1", "2")]', "{1: 2}", "[(1, 2)]; import os", "[(,)]", "[()]x", "(", "[(", '{"(',
    "[(1 2, 3)]", "[(1, 2)]\n[(3, 4)]", '{"(1,2)",(3,4)"}', "[(١, ٢)]",
)  # fmt: skip


def whole(text: str) -> int:
    """The floor of the double nearest to a number, or the mark of one beyond every image.

    A text such as -1e-517 is nearest to 0.
    """
    number = float(text)
    if abs(number) >= 2**31:
        return FAR_OUTSIDE
    floor = math.floor(number)
    return FAR_OUTSIDE if abs(floor) >= 2**31 - 1 else floor


def written(pairs: list[tuple[str, str]], notation: str, space: str) -> bytes:
    comma = f"{space},{space}"
    each = [f"{space}{x}{comma}{y}{space}" for x, y in pairs]
    if notation == "json":
        text = f"[{space}[" + f"]{comma}[".join(each) + f"]{space}]"
    else:
        opening, between, closing = {
            "braces": ('{"(', "),(", ')"}'),
            "braces_each": ('{"(', ')","(', ')"}'),
            "bare_braces": ("{(", "),(", ")}"),
            "tuples": ("[(", f"){comma}(", ")]"),
        }[notation]
        text = opening + between.join(each) + closing
    return f"{space}{text}{space}".encode()


def rows_of(parsed) -> list[list[tuple[int, int]]]:
    ends = np.cumsum(parsed.lengths).tolist()
    assert len(parsed.x) == len(parsed.y) == (ends[-1] if ends else 0)
    pairs = list(zip(parsed.x.tolist(), parsed.y.tolist(), strict=True))
    return [pairs[end - n : end] for end, n in zip(ends, parsed.lengths.tolist(), strict=True)]


def floors(pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
    return [(whole(x), whole(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('{"(12,34),(56,78)"}', [(12, 34), (56, 78)]),
        ('{"(12,34)","(56,78)"}', [(12, 34), (56, 78)]),
        ("{(12,34),(56,78)}", [(12, 34), (56, 78)]),
        ("[(12, 34), (56, 78)]", [(12, 34), (56, 78)]),
        ("[[12, 34], [56, 78]]", [(12, 34), (56, 78)]),
        ("[[12,34],[56,78]]", [(12, 34), (56, 78)]),
        ("[(12.9, 34.0), (-0.5, -3)]", [(12, 34), (-1, -3)]),
        ("[(1e2, .5)]", [(100, 0)]),
        ("[(123456789, 987654321)]", [(123456789, 987654321)]),
        ("[(-1e-9, -1e-517)]", [(-1, 0)]),
        ("[(999999999, 1000000000)]", [(999999999, 1000000000)]),
        ("[(99999999999, 1), (2, -1e99)]", [(FAR_OUTSIDE, 1), (2, FAR_OUTSIDE)]),
        ("[]", []),
        ("{}", []),
        (" [ ] ", []),
        ("[()]", []),
        ("[[]]", []),
        ('{""}', []),
    ],
)  # fmt: skip
def test_notations(text, pairs):
    parsed = parse_pairs([text.encode()])
    assert parsed.bad == {}
    assert rows_of(parsed) == [pairs]
    assert parsed.x.dtype == parsed.y.dtype == np.int32


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_named_and_gives_no_clicks(text):
    parsed = parse_pairs([text.encode()])
    assert list(parsed.bad) == [0]
    assert parsed.bad[0]
    assert rows_of(parsed) == [[]]


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_between_plain_rows_changes_no_other_row(text):
    parsed = parse_pairs([b"[(1, 2), (3, 4)]", text.encode(), b"[(5, 6)]"])
    assert list(parsed.bad) == [1]
    assert rows_of(parsed) == [[(1, 2), (3, 4)], [], [(5, 6)]]


@given(PAIRS, st.sampled_from(NOTATIONS), SPACES)
def test_every_notation_gives_the_floors(pairs, notation, space):
    parsed = parse_pairs([written(pairs, notation, space)])
    assert parsed.bad == {}
    assert rows_of(parsed) == [floors(pairs)]


@given(
    st.lists(
        st.one_of(
            st.tuples(PAIRS, st.sampled_from(NOTATIONS), SPACES),
            st.sampled_from(GARBAGE),
            st.just("[]"),
        ),
        max_size=12,
    )
)
def test_mixtures_keep_numbers_in_their_rows(rows):
    texts = [row.encode() if isinstance(row, str) else written(*row) for row in rows]
    parsed = parse_pairs(texts)
    assert sorted(parsed.bad) == [i for i, row in enumerate(rows) if row in GARBAGE]
    assert rows_of(parsed) == [[] if isinstance(row, str) else floors(row[0]) for row in rows]


# each text fits in one way at most: a row of many digits that fits nowhere must not try them all
NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"


def plain_grammar(text: str) -> list[tuple[str, str]] | None:
    """Regular expression of a row for each notation; None for no row."""
    if not text.isascii():
        return None
    tidy = re.sub(r"\s*([\[\](){},\"])\s*", r"\1", text.strip())
    if tidy in ("[]", "{}", "()", "[()]", "[[]]", '{""}'):
        return []
    pair = rf"{NUMBER},{NUMBER}"
    forms = (
        rf"\[\({pair}\)(,\({pair}\))*\]",
        rf"\{{\({pair}\)(,\({pair}\))*\}}",
        rf"\[\[{pair}\](,\[{pair}\])*\]",
        rf'\{{"\({pair}\)("?,"?\({pair}\))*"\}}',
    )
    matching = [form for form in forms if re.fullmatch(form, tidy)]
    if not matching:
        return None
    if re.search(r'[^"],"|",[^"]', tidy):
        return None  # a quote that closes or opens alone
    return re.findall(rf"({NUMBER}),({NUMBER})", tidy)


@settings(max_examples=400)
@given(
    st.text(alphabet='[](){},"0123456789.-+e \tn', max_size=30)
    | st.builds(
        lambda row, at, new: row[:at] + new + row[at + 1 :],
        st.builds(written, PAIRS, st.sampled_from(NOTATIONS), SPACES).map(bytes.decode),
        st.integers(0, 40),
        st.text(alphabet='[](){},"0123456789.- ', max_size=2),
    )
)
def test_a_row_is_read_when_and_only_when_the_grammar_admits_it(text):
    parsed = parse_pairs([text.encode()])
    pairs = plain_grammar(text)
    assert (parsed.bad == {}) == (pairs is not None)
    assert rows_of(parsed) == [floors(pairs or [])]
    beside = parse_pairs([b"[(1, 2)]", text.encode(), b"[(3, 4)]"])
    assert rows_of(beside) == [[(1, 2)], floors(pairs or []), [(3, 4)]]


@given(st.lists(st.tuples(st.lists(NUMBER_TEXTS, max_size=5), SPACES), max_size=8))
def test_two_columns(rows):
    xs = [("[" + f"{s},{s}".join(x) + "]").encode() for x, s in rows]
    ys = [("{" + ",".join(reversed(x)) + "}").encode() for x, _ in rows]
    parsed = parse_columns(xs, ys)
    assert parsed.bad == {}
    assert rows_of(parsed) == [floors(list(zip(x, reversed(x), strict=True))) for x, _ in rows]


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ("[1, 2]", "[3]", "clickmap_x has 2 values, clickmap_y has 1"),
        ("[1]", "[3, 4]", "clickmap_x has 1 values, clickmap_y has 2"),
        ("[]", "[3]", "clickmap_x has 0 values, clickmap_y has 1"),
        ("", "[3]", "clickmap_x: it is empty"),
        ("[1]", "nan", "clickmap_y: it is not a list of numbers"),
        ("[1]", "[nan]", "clickmap_y: a coordinate is not a number"),
        ("[1}", "[1]", "clickmap_x: it is not a list of numbers"),
        ("[1 2]", "[1, 2]", "clickmap_x: it is not a list of numbers"),
        ("[(1, 2)]", "[1, 2]", "clickmap_x: it is not a list of numbers"),
        ("7", "[1]", "clickmap_x: it is not a list of numbers"),
    ],
)
def test_two_columns_that_do_not_fit(x, y, reason):
    parsed = parse_columns([b"[1]", x.encode(), b"[5]"], [b"[2]", y.encode(), b"[6]"])
    assert parsed.bad == {1: reason}
    assert rows_of(parsed) == [[(1, 2)], [], [(5, 6)]]


@pytest.mark.parametrize(
    "text",
    [
        b"[(1" + b" " * 300_000 + b"2, 3)]",
        b"[(" + b"9" * 300_000 + b"x, 3)]",
        b"(" * 300_000,
        b'{"(' * 100_000,
        b"[(" + b"1," * 150_000 + b")]",
        b"[(" + b"9" * 300_000 + b", 3)" + b", (1.5, 2)" * 50_000 + b"]",
    ],
    ids=["spaces", "digits", "brackets", "wrappings", "commas", "one_wide_number"],
)
def test_hostile_text_takes_linear_time_and_room(text):
    started = time.process_time()
    parsed = parse_pairs([text])
    assert time.process_time() - started < 5  # quadratic: minutes; an array as wide: terabytes
    assert parsed.bad or rows_of(parsed)[0][:2] == [(FAR_OUTSIDE, 3), (1, 2)]
