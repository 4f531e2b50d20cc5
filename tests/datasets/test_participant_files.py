"""Names of files that name a participant and an image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickmap_cli.datasets.participant_files import Pattern, sort_files, suggest_pattern
from clickmap_cli.runtime.errors import ConfigError

WORDS = st.text("ab_1", min_size=1, max_size=6)


@pytest.mark.parametrize(
    "text",
    ["", "P_{image}", "{participant}", "{participant}{image}", "{image}_{image}_{participant}",
     "{participant}/{image}", "{participant}_{image}_{n}", 3, None, ["{participant}_{image}"]],
)  # fmt: skip
def test_a_pattern_names_both_once_with_text_between(text) -> None:
    with pytest.raises(ConfigError, match=r"participants: .*\{participant\}_\{image\}"):
        Pattern.from_setting(text)


PATTERNS = (
    "{participant}_{image}", "{image}_{participant}", "x{participant}_{image}",
    "{image}_{participant}_y",
)  # fmt: skip


@given(WORDS, WORDS, st.sampled_from(PATTERNS))
def test_readings_are_all_ways_to_fill_the_pattern(participant, image, text) -> None:
    stem = text.format(participant=participant, image=image)
    expected = set()
    front, back = re.split(r"\{participant\}|\{image\}", text)[::2]
    inner = stem[len(front) : len(stem) - len(back)]
    for cut in range(len(inner)):
        left, right = inner[:cut], inner[cut + 1 :]
        if inner[cut] == "_" and left and right:
            expected.add((left, right) if text.index("{p") < text.index("{i") else (right, left))
    found = list(Pattern.from_setting(text).readings(stem, None))
    assert {(reading.participant, reading.image) for reading in found} == expected
    assert (participant, image) in expected
    lengths = [len(reading.participant) for reading in found]
    assert lengths == sorted(lengths)
    only = list(Pattern.from_setting(text).readings(stem, {image}))
    assert [reading.image for reading in only] == [image] * len(only)
    assert participant in [reading.participant for reading in only]


def test_files_are_sorted_by_the_images_there_are() -> None:
    names = ["cat", "P1_cat", "P0_cat", "P0_big_cat", "P0_dog", "other"]
    files = {name: Path(f"{name}.png") for name in names}
    found = sort_files(files, {"cat", "big_cat"}, Pattern.from_setting("{participant}_{image}"))
    assert dict(found.own) == {"cat": Path("cat.png")}
    assert dict(found.people) == {
        "cat": [("P0", Path("P0_cat.png")), ("P1", Path("P1_cat.png"))],
        "big_cat": [("P0", Path("P0_big_cat.png"))],
    }
    assert list(found.strays) == ["P0_dog", "other"]
    assert {stem: (r.participant, r.image) for stem, r in found.unclear.items()} == {
        "P0_big_cat": ("P0", "big_cat")
    }


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["P0_a", "P1_a", "P0_b_c"], ("{participant}_{image}", 3, 2)),
        (["a-P0", "a-P1", "zzz"], ("{image}-{participant}", 2, 1)),
        (["P0__a", "P1__a"], ("{participant}__{image}", 2, 1)),
        (["a_old"], None),
        (["a_old", "a_older", "x", "y", "z"], None),
        (["c", "d"], None),
        ([], None),
    ],
)
def test_a_pattern_is_suggested_where_most_strays_follow_it(stems, expected) -> None:
    assert suggest_pattern(stems, {"a", "b_c"}) == expected
