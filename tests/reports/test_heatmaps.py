"""Pictures of predictions: every pixel by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import colormaps
from PIL import Image

from clickmap_cli.config.benchmark import HeatmapPictures
from clickmap_cli.reports.heatmaps import coloured, draw_heatmap, laid_over, scaled_heat
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.services.benchmark.pictures import Heatmap

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
    np.testing.assert_allclose(scaled_heat(HEAT, normalize), wanted, rtol=1e-12)


def test_no_scale_keeps_what_is_between_0_and_1() -> None:
    np.testing.assert_allclose(scaled_heat(np.array([[-1, 0.25, 1.5]]), "none"), [[0, 0.25, 1]])


def test_maps_without_any_difference() -> None:
    for value in (0.0, 3.0):
        heat = np.full((2, 2), value)
        np.testing.assert_array_equal(scaled_heat(heat, "minmax"), np.zeros((2, 2)))
        np.testing.assert_array_equal(scaled_heat(heat, "max"), np.full((2, 2), value > 0))
        np.testing.assert_allclose(scaled_heat(heat, "rank"), np.full((2, 2), 2.5 / 4))


@settings(deadline=None)
@given(
    arrays(np.float32, (3, 4), elements=st.floats(0, 2.0**60, width=32)),
    st.sampled_from(["max", "minmax", "rank", "none"]),
)
def test_heat_stays_between_0_and_1_and_keeps_its_order(heat, normalize) -> None:
    found = scaled_heat(heat, normalize)
    assert found.min() >= 0
    assert found.max() <= 1
    order = np.argsort(heat.ravel(), kind="stable")
    assert np.all(np.diff(found.ravel()[order]) >= 0)


def test_colours_are_matplotlibs() -> None:
    heat = np.linspace(0, 1, 12).reshape(3, 4)
    np.testing.assert_allclose(coloured(heat, "viridis"), colormaps["viridis"](heat)[..., :3])
    with pytest.raises(ConfigError, match="no colour map 'infernal'; try inferno"):
        coloured(heat, "infernal")


def test_the_hotter_a_pixel_the_more_it_is_covered() -> None:
    image = np.full((1, 3, 3), 0.5)
    colour = np.array([[[1.0, 0.0, 0.2]] * 3])
    found = laid_over(image, colour, np.array([[0.0, 0.25, 1.0]]), 0.6)
    for column, cover in enumerate([0.0, 0.3, 0.6]):  # alpha times the root of the heat
        for channel, hue in enumerate([1.0, 0.0, 0.2]):
            wanted = 0.5 * (1 - cover) + hue * cover
            assert found[0, column, channel] == pytest.approx(wanted)


def test_files(tmp_path) -> None:
    rng = np.random.default_rng(0)
    heat, image = rng.random((5, 7)), rng.random((5, 7, 3)).astype(np.float32)
    how = HeatmapPictures(normalize="minmax", colormap="magma", alpha=0.4)
    path, over = tmp_path / "deep" / "a.png", tmp_path / "deep" / "a_overlay.png"
    draw_heatmap(Heatmap(heat, image, how, path, over))
    scaled = (heat - heat.min()) / (heat.max() - heat.min())
    colour = colormaps["magma"](scaled)[..., :3]
    cover = 0.4 * np.sqrt(scaled)[..., None]
    for file, wanted in ((path, colour), (over, image * (1 - cover) + colour * cover)):
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
