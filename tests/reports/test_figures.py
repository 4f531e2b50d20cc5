"""Figures of images and numbers: pixels, frames, sizes, formats."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from PIL import Image

from clickmap_cli.clickmaps.filters import FunnelRow
from clickmap_cli.reports.figures import all_figures, images, panels
from clickmap_cli.reports.overlays import colour_map, overlay_map, placeholder, scale_map
from clickmap_cli.reports.style import PRESETS, draw_boxes, styled
from clickmap_cli.services.visualize.experiment import (
    ImagePixels,
    Picture,
    Track,
)
from clickmap_cli.services.visualize.numbers import Distributions, Group, Spread
from clickmap_cli.services.visualize.options import Look

RNG = np.random.default_rng(3)
HEAT = RNG.random((12, 16), dtype=np.float32) * 0.5
HEAT[4, 9] = 1.0
PIXELS = RNG.integers(0, 255, (12, 16, 3), np.uint8)
PICTURE = Picture(
    "cats/a.png", "cats", 3, 30, 0.5, "spearman", ImagePixels(PIXELS, "shown"), HEAT,
    people_share=0.5, densest=4.0,
)  # fmt: skip
EMPTY = dataclasses.replace(PICTURE, image=ImagePixels(None, "missing", "no such file"))
PEOPLE = ["u1", "u2", "<b>u3$"], RNG.random((3, 12, 16), np.float32)
TRACK = Track("u1", np.arange(12), np.arange(12), np.arange(12) + 1, 12)


GROWN = np.stack([HEAT / 3, HEAT * 2 / 3, HEAT]), ["first 4 clicks", "first 8 clicks", "all"]


def spread(name: str, values: list[int]) -> Spread:
    array = np.array(values, dtype=np.int64)
    return Spread(name, array, float(np.median(array)), float(array.mean()))


NUMBERS = Distributions(
    spreads=(
        spread("trials_per_participant", [1, 2, 2, 9]),
        spread("clicks_per_trial", [12] * 5),
        spread("participants_per_image", list(range(400))),
    ),
    groups=tuple(Group(f"$kind{i}_" + "x" * i, 50 - i, 99, np.empty(0)) for i in range(40)),
    agreed=(Group("b", 3, 9, np.array([0.5, 0.6, 0.7])), Group("a", 1, 3, np.array([0.1]))),
    grouped_by="category",
    metric="spearman",
    method="hold-one-out",
    funnel=(FunnelRow("rows in the file", "", 30, 4, 300), FunnelRow("min", "2", 9, 2, 90)),
)
CONTENTS = {
    "overlay": (PICTURE,),
    "participants": (PICTURE, *PEOPLE),
    "clicks": (PICTURE, [TRACK, dataclasses.replace(TRACK, name="u2")]),
    "bins": (PICTURE, *GROWN),
    "sheet": ([PICTURE, EMPTY],),
}


def draw(name: str, look: Look, folder, formats=("png",)):
    paths = {kind: folder / f"{Path(name).name}.{kind}" for kind in formats}
    all_figures()[name](*CONTENTS.get(name, (NUMBERS,)), look=look, paths=paths)
    return paths


@pytest.mark.parametrize("name", list(all_figures()))
def test_every_figure_in_every_format_is_the_same_twice(tmp_path, name) -> None:
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        paths = draw(name, Look(), folder, ("png", "svg", "pdf"))
        found.append({kind: path.read_bytes() for kind, path in paths.items()})
    assert found[0] == found[1]
    assert found[0]["png"].startswith(b"\x89PNG")
    assert found[0]["pdf"].startswith(b"%PDF")
    assert b"<svg" in found[0]["svg"]


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("name", list(CONTENTS))
def test_a_preset_decides_width_and_fineness(tmp_path, preset, name) -> None:
    path = draw(name, Look(preset=preset), tmp_path)["png"]
    with Image.open(path) as picture:
        assert picture.width == pytest.approx(PRESETS[preset].width * PRESETS[preset].dpi, abs=1)
        assert picture.info["dpi"][0] == pytest.approx(PRESETS[preset].dpi, rel=0.01)
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


@pytest.mark.parametrize("colour_bar", [True, False])
@pytest.mark.parametrize("normalize", ["max", "sum", "none", "rank"])
def test_bars_and_scales(tmp_path, colour_bar, normalize) -> None:
    look = Look(normalize=normalize, colour_bar=colour_bar, by_participants=True, order="path")
    for name in ("overlay", "clicks", "bins"):
        draw(name, look, tmp_path)


def test_a_figure_without_an_image_has_an_empty_field(tmp_path) -> None:
    figure = tmp_path / "a.png"
    images.draw_overlay(EMPTY, Look(), {"png": figure})
    pixels = np.asarray(Image.open(figure).convert("RGB")).reshape(-1, 3)
    empty = placeholder(1, 1)[0, 0]
    assert np.mean(np.all(pixels == empty, axis=1)) > 0.1
    np.testing.assert_array_equal(panels.image_field(EMPTY), placeholder(12, 16))
    np.testing.assert_array_equal(panels.image_field(PICTURE), PIXELS)


def test_the_pixels_of_a_panel_are_those_of_the_overlay() -> None:
    look = Look(colormap="viridis", alpha=0.4)
    values = panels.scale_picture(PICTURE, look)
    np.testing.assert_array_equal(values, scale_map(HEAT, "max"))
    wanted = overlay_map(PIXELS, values, "viridis", 0.4)
    np.testing.assert_array_equal(panels.lay_over(PICTURE, look, values), wanted)
    for alpha, exact in ((0.0, PIXELS), (1.0, colour_map(values, "viridis"))):
        found = panels.lay_over(PICTURE, dataclasses.replace(look, alpha=alpha), values, True)
        np.testing.assert_array_equal(found, exact)


def test_scales_of_a_picture() -> None:
    half = panels.scale_picture(PICTURE, Look(by_participants=True))
    np.testing.assert_allclose(half, scale_map(HEAT, "max") / 2)
    even = panels.scale_picture(PICTURE, Look(normalize="sum"))
    np.testing.assert_allclose(even, np.clip(HEAT / HEAT.mean() / 4, 0, 1), rtol=1e-5)


# --- words --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(1, 40))
def test_a_text_is_cut_in_its_middle(text, length) -> None:
    found = panels.shorten(text, length)
    assert len(found) <= max(length, 1)
    if found != text:
        # as much of the start as of the end, which has the odd letter
        end = length // 2
        assert found == f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def wide(figure, text, size) -> float:
    """Inches that a text takes, as matplotlib lays it out."""
    box = figure.text(0, 0, text, fontsize=size, parse_math=False).get_window_extent()
    return box.width / figure.dpi


@pytest.mark.parametrize("key", ["folder/" * 9 + "name_017.png", "WWWWWWW/" * 9 + "x.jpg", "iiii"])
def test_a_name_fills_its_room_and_keeps_both_ends(key) -> None:
    with styled() as plt:
        figure = plt.figure(figsize=(4, 3))
        for room in (0.6, 1.0, 1.4, 2.5, 90.0):
            found = panels.fit_text(figure, key, room, 8, " (12)")
            name = found.removesuffix(" (12)")
            assert found == f"{name} (12)"
            assert wide(figure, found, 8) <= room + 0.01
            if name != key:
                start, end = name.split("…")
                assert key.startswith(start)
                assert key.endswith(end)
                assert len(end) - len(start) in (0, 1)
                # one letter more would be too much
                longer = panels.shorten(key, len(name) + 1)
                assert wide(figure, f"{longer} (12)", 8) > room - 0.01
        assert panels.fit_text(figure, key, 90.0, 8) == key
        assert panels.fit_text(figure, key, 0.0, 8) == "…"[: len(key)]
        plt.close(figure)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_titles_fit_their_panels_and_figures(monkeypatch, preset) -> None:
    """Measured where they are drawn, in every figure of images."""
    key = "category_of_things/an_image_with_a_long_name_0017.png"
    long = dataclasses.replace(PICTURE, key=key, n_participants=116)
    contents = {
        "overlay": (long,),
        "participants": (long, ["p" * 90, "b", "c"], PEOPLE[1]),
        "clicks": (long, [TRACK, dataclasses.replace(TRACK, name="c" * 90)]),
        "bins": (long, *GROWN),
        "sheet": ([long] * 7,),
    }
    titles = {}

    def measure(figure, _):
        for axis in figure.axes:
            box, panel = axis.title.get_window_extent(), axis.get_window_extent()
            assert box.width <= panel.width * 1.02 + 1, axis.get_title()
        (head,) = figure.texts
        assert head.get_window_extent().x1 <= figure.bbox.x1
        titles[len(titles)] = (head.get_text(), [axis.get_title() for axis in figure.axes])

    monkeypatch.setattr(images, "save", measure)
    for name, content in contents.items():
        all_figures()[name](*content, look=Look(preset=preset), paths={})
    heads = [head for head, _ in titles.values()]
    assert heads[0].endswith(", n = 116, 30 clicks, spearman 0.50")
    assert heads[1].endswith(", 3 of 116 participants")
    assert heads[2].endswith(", 2 of 116 participants")
    for head in heads[:4]:
        assert head.startswith("cat")
        assert "17.png, " in head
    for title in titles[4][1][:7]:
        assert title.startswith("ca")
        assert title.endswith(".png (116)")


def test_a_title_says_how_many_participants_are_shown_of_how_many() -> None:
    assert panels.describe_shown(dataclasses.replace(PICTURE, n_participants=116), 99) == (
        ", 99 of 116 participants"
    )
    assert panels.describe_shown(PICTURE, 3) == ", 3 participants"
    unknown = dataclasses.replace(PICTURE, agreement=math.nan)
    assert panels.describe_picture(unknown) == ", n = 3, 30 clicks"


@pytest.mark.parametrize("n", [1, 12, 30, 90, 2000])
def test_points_lie_above_all_rims_and_many_of_them_are_small(n) -> None:
    places = np.arange(n) % 100
    track = Track("u", places, places, np.arange(n) + 1, n)
    with styled() as plt:
        figure, axis = plt.subplots()
        images._draw_track(axis, track, Look(), 100)
        rims, points = axis.collections
        assert np.all(rims.get_facecolor() == 1)
        np.testing.assert_array_equal(points.get_array(), images.rank_clicks(track))
        assert rims.get_zorder() == points.get_zorder()  # so the later one is above
        widths = [np.sqrt(each.get_sizes()[0]) for each in (rims, points)]
        assert widths[0] == widths[1] + PRESETS["screen"].line
        full = 0.45 * PRESETS["screen"].font
        assert widths[1] == pytest.approx(full * min(1, max(0.5, math.sqrt(30 / n))))
        plt.close(figure)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=60))
def test_numbers_of_clicks_never_hide_one_another(points) -> None:
    x, y = np.array(points).T
    track = Track("u", x, y, np.arange(len(points)) + 1, len(points))
    found = images.choose_numbered(track, 100)
    assert 0 in found
    assert found == sorted(set(found))
    for at in found:
        for other in found:
            assert at == other or abs(x[at] - x[other]) >= 13 or abs(y[at] - y[other]) >= 7
    shares = images.rank_clicks(track)
    assert shares[0] == 0
    assert len(points) == 1 or shares[-1] == 1


def test_grids_hold_every_panel() -> None:
    for preset in PRESETS:
        for n in range(1, 101):
            for shape in (0.2, 1.0, 2.5):
                assert 1 <= panels.count_columns(n, Look(preset=preset), shape) <= n


def test_a_box_of_few_values_shows_each_of_them() -> None:
    rng = np.random.default_rng(2)
    groups = [rng.random(n).tolist() for n in (1, 14, 15, 60)]
    groups[1][0] = groups[3][0] = 9.0  # an outlier
    with styled() as plt:
        figure, axis = plt.subplots()
        draw_boxes(axis, groups, [3, 7, 8, 9])
        points = [line for line in axis.lines if line.get_marker() == "o" and line.get_visible()]
        drawn = {}
        for line in points:
            for value, row in zip(*line.get_data(), strict=True):
                drawn.setdefault(round(float(row)), []).append(float(value))
        plt.close(figure)
    # every value of the small groups once, of the others outliers alone
    assert sorted(drawn[3]) == groups[0]
    assert sorted(drawn[7]) == sorted(groups[1])
    assert 8 not in drawn
    assert drawn[9] == [9.0]


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("size", [(12, 16), (16, 12), (12, 24), (12, 60), (8, 120), (60, 12)])
def test_nothing_is_clipped_at_the_edges_of_a_figure(monkeypatch, preset, size) -> None:
    """Bars with their labels and numbers, of images that are wide, tall, or neither."""
    heat = RNG.random(size, dtype=np.float32)
    pixels = RNG.integers(0, 255, (*size, 3), np.uint8)
    one = dataclasses.replace(PICTURE, heat=heat, image=ImagePixels(pixels, "shown"))
    checked = []

    def measure(figure, _):
        figure.draw_without_rendering()
        box, whole = figure.get_tightbbox(), figure.get_size_inches()
        bar = [axis for axis in figure.axes if axis.get_xlabel() or axis.get_ylabel()]
        assert len(bar) == 1
        assert box.x0 >= -0.01
        assert box.y0 >= -0.025  # below the line, where numbers have no ink
        assert box.x1 <= whole[0] + 0.01
        assert box.y1 <= whole[1] + 0.01
        panels_below = min(axis.get_position().y0 for axis in figure.axes if axis not in bar)
        place = bar[0].get_position()
        assert place.x0 > 0.7 or place.y1 <= panels_below
        checked.append(figure)
        pyplot.close(figure)

    monkeypatch.setattr(images, "save", measure)
    for normalize in ("max", "sum", "rank"):
        look = Look(preset=preset, normalize=normalize, by_participants=True)
        images.draw_overlay(one, look, {})
        images.draw_bins(one, np.stack([heat, heat]), ["first click", "all"], look, {})
    images.draw_clicks(one, [TRACK], Look(preset=preset), {})
    assert len(checked) == 7
