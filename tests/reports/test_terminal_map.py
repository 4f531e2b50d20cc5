"""A map in a terminal: every letter and colour of a tiny one, its size, and its numbers."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from rich.console import Console
from rich.text import Text

from clickmap_cli.reports.terminal_map import (
    SHADES,
    blocks,
    fitted,
    has_colours,
    map_view,
    print_map,
    shades,
    statistics,
)
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.services.visualize.pictures import ImagePixels, Picture


def picture(heat: np.ndarray, key: str = "a.png", aspect: float = 1.0, **other) -> Picture:
    image = ImagePixels(None, "missing", "no such file", aspect)
    values = {"agreement": math.nan, "metric": "", **other}
    return Picture(key, "x", 3, 40, image=image, heat=heat.astype(np.float32), **values)


def console(columns: int = 80, lines: int = 24, **options) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=columns, height=lines, highlight=False, **options), out


def hex_of(colormap: str, place: int) -> str:
    red, green, blue = np.rint(
        np.array(colormaps[colormap](place)[:3], dtype=np.float64) * 255
    ).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_each_half_block_is_two_pixels() -> None:
    values = np.array([[0, 1 / 3, 1], [0.5, 0, 1]])
    text = blocks(values, "viridis")
    assert text.plain == "▀▀▀"
    found = [(span.style.color.name, span.style.bgcolor.name) for span in text.spans]
    places = [(0, 128), (85, 0), (255, 255)]
    assert found == [(hex_of("viridis", a), hex_of("viridis", b)) for a, b in places]


def test_lines_of_blocks_go_from_the_top_down() -> None:
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    text = blocks(values, "inferno")
    assert text.plain == "▀\n▀"
    assert [span.style.color.name for span in text.spans] == [
        hex_of("inferno", 0), hex_of("inferno", 255),
    ]  # fmt: skip


def test_shades_are_means_of_two_pixels() -> None:
    values = np.array(
        [[0, 1, 0.05, 0.55], [0, 1, 0.15, 0.55], [1, 0, 0.99, 0.3], [0, 0, 0.99, 0.3]]
    )
    expected = [[SHADES[at] for at in (0, 9, 1, 5)], [SHADES[at] for at in (5, 0, 9, 3)]]
    assert shades(values).plain == "\n".join("".join(line) for line in expected)


def test_a_tiny_map_as_it_is_printed() -> None:
    heat = np.array([[0, 0, 2, 4], [0, 0, 2, 4], [1, 1, 0, 0], [1, 1, 0, 0]])
    out, written = console(60, 5)
    print_map(picture(heat), Look(normalize="none"), out)
    lines = written.getvalue().split("\n")
    assert lines[0].rstrip() == "a.png"
    assert [line[:4] for line in lines[1:3]] == ["  @@", "@@  "]
    assert lines[1][4:].split() == ["participants", "3"]
    assert lines[2][4:].split() == ["clicks", "40"]


def test_colours_reach_a_terminal_and_only_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = np.array([[0, 1], [1, 0]])
    coloured, written = console(60, 4, force_terminal=True, color_system="truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_map(picture(heat), Look(colormap="gray"), coloured)
    assert "\x1b[38;2;0;0;0;48;2;255;255;255m▀" in written.getvalue()
    assert "\x1b[38;2;255;255;255;48;2;0;0;0m▀" in written.getvalue()
    piped, written = console(60, 4)
    print_map(picture(heat), Look(), piped)
    assert "\x1b" not in written.getvalue()
    assert "▀" not in written.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain, written = console(60, 4, force_terminal=True, color_system="truecolor")
    assert not has_colours(plain)
    print_map(picture(heat), Look(), plain)
    assert "▀" not in written.getvalue()


@given(
    st.integers(1, 3000), st.integers(1, 3000), st.floats(0.2, 5), st.integers(1, 300),
    st.integers(1, 100),
)  # fmt: skip
def test_a_map_fits_and_keeps_its_proportions(
    height: int, width: int, aspect: float, columns: int, lines: int
) -> None:
    half_lines, found = fitted((height, width), aspect, columns, lines)
    assert half_lines % 2 == 0
    assert 2 <= half_lines <= max(2 * lines, 2)
    assert 1 <= found <= columns
    # one of both sides is as large as there is room, and the other as large as it should be
    tall, wide = height * aspect, float(width)
    scale = min(columns / wide, 2 * lines / tall)
    assert abs(found - wide * scale) <= 1
    assert abs(half_lines - tall * scale) <= 2


@pytest.mark.parametrize("columns", [20, 40, 56, 80, 200])
def test_no_line_is_longer_than_the_terminal(columns: int) -> None:
    rng = np.random.default_rng(0)
    heat = rng.random((64, 96))
    out, written = console(columns, 24)
    print_map(picture(heat, key="long/" * 30, agreement=0.5, metric="spearman"), Look(), out)
    lines = written.getvalue().split("\n")
    assert max(len(line) for line in lines) <= columns
    assert "…" not in written.getvalue()
    assert "participants" in written.getvalue()


def test_the_numbers_of_a_known_map() -> None:
    heat = np.zeros((4, 6))
    heat[1, 2] = heat[1, 4] = 0.5
    found = dict(statistics(picture(heat, agreement=0.25, metric="auc")))
    assert found == {
        "participants": "3", "clicks": "40", "agreement": "0.250 auc", "size": "6 x 4", "min": "0",
        "max": "0.5", "mean": "0.04167", "sum": "1",
        "entropy": f"{math.log(2):.2f} of {math.log(24):.2f} nats", "centroid": "x 3.0, y 1.0",
    }  # fmt: skip


def test_maps_that_are_not_finite_are_said_to_be_so() -> None:
    heat = np.array([[1, np.nan], [0.5, np.inf]])
    found = dict(statistics(picture(heat)))
    assert found["not finite"] == "2 pixels"
    assert (found["min"], found["max"]) == ("0.5", "1")
    assert "entropy" not in found
    nothing = dict(statistics(picture(np.full((2, 2), np.nan))))
    assert nothing["not finite"] == "4 pixels"
    assert "max" not in nothing
    map_view(picture(heat), Look(), 80, 24, colours=True)


def test_names_bring_no_markup_and_no_escapes() -> None:
    out, written = console(80, 6, force_terminal=True, color_system="truecolor")
    print_map(picture(np.eye(2), key="[red]x[/red]\x1b[2J.png"), Look(), out)
    assert "[red]x[/red]" in written.getvalue()
    assert "\x1b[2J" not in written.getvalue()
    assert isinstance(shades(np.zeros((2, 2))), Text)
