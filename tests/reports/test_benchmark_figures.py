"""Pictures of a benchmark: every pixel of predictions, and what stands where in a deep dive."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import colormaps
from PIL import Image

from clickmap_cli.config.benchmark import HeatmapPictures
from clickmap_cli.reports.benchmark_figures import draw_dive, draw_heatmap
from clickmap_cli.reports.overlays import cover, map_colours, mix, scale_heat
from clickmap_cli.reports.style import COLOURS
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.services.benchmark.pictures import DivePicture, Heatmap

HEAT = np.array([[1.0, 2.0, 2.0], [4.0, 5.0, 1.0]])


@pytest.mark.parametrize(
    ("normalize", "wanted"),
    [
        ("max", [[0.2, 0.4, 0.4], [0.8, 1.0, 0.2]]),
        ("minmax", [[0.0, 0.25, 0.25], [0.75, 1.0, 0.0]]),
        # the mean of the places that equal values take, in shares of 6
        ("rank", [[1.5 / 6, 3.5 / 6, 3.5 / 6], [5 / 6, 1.0, 1.5 / 6]]),
        ("none", [[1.0] * 3] * 2),
        # over its mean (15 / 6), where 50 times an even spread is full colour
        ("sum", [[0.4 / 50, 0.8 / 50, 0.8 / 50], [1.6 / 50, 2.0 / 50, 0.4 / 50]]),
    ],
)
def test_scales(normalize, wanted) -> None:
    np.testing.assert_allclose(scale_heat(HEAT, normalize), wanted, rtol=1e-12)


def test_no_scale_keeps_what_is_between_0_and_1() -> None:
    np.testing.assert_allclose(scale_heat(np.array([[-1, 0.25, 1.5]]), "none"), [[0, 0.25, 1]])


def test_maps_without_any_difference() -> None:
    for value in (0.0, 3.0):
        heat = np.full((2, 2), value)
        np.testing.assert_array_equal(scale_heat(heat, "minmax"), np.zeros((2, 2)))
        np.testing.assert_array_equal(scale_heat(heat, "max"), np.full((2, 2), value > 0))
        np.testing.assert_allclose(scale_heat(heat, "rank"), np.full((2, 2), 2.5 / 4))


@settings(deadline=None)
@given(
    arrays(np.float32, (3, 4), elements=st.floats(0, 2.0**60, width=32)),
    st.sampled_from(["max", "minmax", "rank", "none"]),
)
def test_heat_stays_between_0_and_1_and_keeps_its_order(heat, normalize) -> None:
    found = scale_heat(heat, normalize)
    assert found.min() >= 0
    assert found.max() <= 1
    order = np.argsort(heat.ravel(), kind="stable")
    assert np.all(np.diff(found.ravel()[order]) >= 0)


def test_colours_are_matplotlibs() -> None:
    heat = np.linspace(0, 1, 12).reshape(3, 4)
    np.testing.assert_allclose(map_colours(heat, "viridis"), colormaps["viridis"](heat)[..., :3])
    with pytest.raises(ConfigError, match="no colour map 'infernal'; try inferno"):
        map_colours(heat, "infernal")


def test_the_hotter_a_pixel_the_more_it_is_covered() -> None:
    image = np.full((1, 3, 3), 0.5)
    colour = np.array([[[1.0, 0.0, 0.2]] * 3])
    found = mix(image, colour, cover(np.array([[0.0, 0.25, 1.0]]), 0.6))
    for column, share in enumerate([0.0, 0.3, 0.6]):  # alpha times the root of the heat
        for channel, hue in enumerate([1.0, 0.0, 0.2]):
            wanted = 0.5 * (1 - share) + hue * share
            assert found[0, column, channel] == pytest.approx(wanted)


def test_files(tmp_path) -> None:
    rng = np.random.default_rng(0)
    heat, image = rng.random((5, 7)), rng.random((5, 7, 3)).astype(np.float32)
    how = HeatmapPictures(normalize="minmax", colormap="magma", alpha=0.4)
    path, over = tmp_path / "deep" / "a.png", tmp_path / "deep" / "a_overlay.png"
    draw_heatmap(Heatmap(heat, image, how, path, over))
    scaled = (heat - heat.min()) / (heat.max() - heat.min())
    colour = colormaps["magma"](scaled)[..., :3]
    share = 0.4 * np.sqrt(scaled)[..., None]
    for file, wanted in ((path, colour), (over, image * (1 - share) + colour * share)):
        pixels = np.asarray(Image.open(file))
        assert pixels.shape == (5, 7, 3)  # pixel for pixel
        np.testing.assert_allclose(pixels, 255 * wanted, atol=0.5 + 1e-4)
    before = path.read_bytes()
    draw_heatmap(Heatmap(heat, image, how, path, over))
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.png", "a_overlay.png"]


def test_no_overlay_without_an_image(tmp_path) -> None:
    for name, image, over in (
        ("a", None, tmp_path / "a_overlay.png"),
        ("b", np.zeros((2, 3, 3), np.float32), None),
    ):
        draw_heatmap(Heatmap(HEAT, image, HeatmapPictures(), tmp_path / f"{name}.png", over))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
    with pytest.raises(ConfigError):
        draw_heatmap(Heatmap(HEAT, None, HeatmapPictures(colormap="x"), tmp_path / "c.png", None))
    assert not (tmp_path / "c.png").exists()


SIZE = (48, 64)
LEVELS = ("pool+", "pool-", "1+", "1-", "0+", "0-")


def corner(row: int, column: int) -> np.ndarray:
    """A map that is hot in one of its four corners."""
    values = np.zeros(SIZE)
    values[row * 24 : row * 24 + 24, column * 32 : column * 32 + 32] = 3.0
    return values


def picture(path: Path, names=LEVELS, **given) -> DivePicture:
    image = np.zeros((*SIZE, 3), np.float32)
    image[..., 2] = 1  # blue
    maps = {name: corner(at % 2, at // 2 % 2) for at, name in enumerate(names)}
    scores = {name: at / 10 for at, name in enumerate(names)}
    values = {
        "dataset": "toy", "model": "cam", "image_id": "a", "metric": "CC", "score": -0.5,
        "best": names[-1], "scores": scores, "maps": maps, "image": image,
        "truth": corner(0, 0), "path": path,
    }  # fmt: skip
    return DivePicture(**{**values, **given})


def drawn(path: Path, *args, **given) -> np.ndarray:
    draw_dive(picture(path, *args, **given))
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour) -> np.ndarray:
    return np.abs(pixels - np.asarray(colour)).max(axis=-1) < 12


def test_settings_stand_in_columns_of_two_beside_image_and_truth(tmp_path) -> None:
    pixels = drawn(tmp_path / "a.png")
    height, width = pixels.shape[:2]
    blue = np.argwhere(near(pixels, (0, 0, 255)))
    assert len(blue) > 2000
    top, left = blue.mean(axis=0)
    assert top < height / 2  # the image is above the ground truth,
    assert left < width / 4  # at the left
    hot = near(pixels, (252, 255, 164))
    step = width / 4
    for column in range(1, 4):
        for row in range(2):
            place = (
                slice(int(row * height / 2), int((row + 1) * height / 2)),
                slice(int(column * step), int((column + 1) * step)),
            )
            at = np.argwhere(hot[place]).mean(axis=0) / (height / 2, step)
            # name number 2 * (column - 1) + row is hot in the corner of that number
            assert (at[0] > 0.6) == (row == 1)
            assert (at[1] > 0.5) == ((column - 1) % 2 == 1)


def test_the_best_has_a_frame(tmp_path) -> None:
    accent = [int(COLOURS["accent"][at : at + 2], 16) for at in (1, 3, 5)]
    middles = []
    for best in ("pool+", "0-"):
        found = np.argwhere(near(drawn(tmp_path / f"{best}.png", best=best), accent))
        assert len(found) > 100
        middles.append(found.mean(axis=0))
    assert middles[0][0] < middles[1][0]
    assert middles[0][1] < middles[1][1]


def test_what_is_missing_is_reported_and_nothing_else_moves(tmp_path) -> None:
    whole = drawn(tmp_path / "a.png")
    without = drawn(tmp_path / "b.png", image=None, truth=None)
    assert whole.shape == without.shape
    assert not near(without, (0, 0, 255)).any()
    width = whole.shape[1]
    np.testing.assert_array_equal(whole[40:, width // 4 + 10 :], without[40:, width // 4 + 10 :])


@pytest.mark.parametrize("names", [("only",), ("a", "b", "c")])
def test_an_odd_number_of_settings(tmp_path, names) -> None:
    assert drawn(tmp_path / "a.png", names).size


def test_names_may_hold_anything_and_scores_may_be_undefined(tmp_path) -> None:
    names = ("$x^2$", "$\\frac$", "a" * 60, "−")
    scores = dict.fromkeys(names, math.nan)
    assert drawn(tmp_path / "a.png", names, scores=scores, image_id="$" * 200).size


def test_equal_pictures_have_equal_bytes(tmp_path) -> None:
    drawn(tmp_path / "a.png")
    drawn(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
