"""Maps that are pictures: what is read of them, and pictures that are not the map they show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from clickmap_cli.datasets.files import read_map
from clickmap_cli.datasets.map_pictures import map_values
from clickmap_cli.runtime.errors import DataError
from tests.datasets.scenes import grey, picture

SIZE = (48, 64)


def heat(size=SIZE) -> np.ndarray:
    """A blob on nothing, in 0..1."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.exp(-((rows - 20) ** 2 + (columns - 40) ** 2) / 60)


def false_colours(name: str) -> np.ndarray:
    return (colormaps[name](heat())[..., :3] * 255).astype(np.uint8)


def as_bytes(values: np.ndarray) -> np.ndarray:
    return (values * 255).astype(np.uint8)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_picture_is_its_grey_values(tmp_path, ending, channels) -> None:
    values = as_bytes(heat())
    pixels = values if channels == 1 else np.stack([values] * 3, axis=-1)
    grey(tmp_path / f"a{ending}", pixels)
    found = map_values(tmp_path / f"a{ending}")
    np.testing.assert_allclose(found, values, atol=0 if ending != ".jpg" else 12)


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_what_compression_does_to_a_grey_picture_is_no_colour(tmp_path, quality) -> None:
    noise = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    tinted = np.stack([noise, noise // 255 * 255 + noise % 255, noise], axis=-1)
    Image.fromarray(tinted).save(tmp_path / "a.jpg", quality=quality)
    assert map_values(tmp_path / "a.jpg").shape == SIZE


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("name", ["jet", "viridis", "inferno", "magma", "plasma", "hot", "turbo"])
def test_false_colours_are_refused_by_their_name(tmp_path, name, ending) -> None:
    path = tmp_path / f"a{ending}"
    grey(path, false_colours(name))
    with pytest.raises(DataError, match=rf"a\{ending}: a picture in colour .* of {name}, a map in"):
        map_values(path)
    with pytest.raises(
        DataError, match=r"Save the map itself, as \.npy or as a picture in grey\.$"
    ):
        read_map(path)  # a ground truth has no channel to set
    luminance = false_colours(name) @ [0.299, 0.587, 0.114]
    found = map_values(path, "grey")
    np.testing.assert_allclose(found, luminance, atol=1 if ending == ".png" else 25)


def test_false_colours_of_a_palette_are_found_too(tmp_path) -> None:
    Image.fromarray(false_colours("jet")).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "a.png"
    )
    with pytest.raises(DataError, match="those of jet"):
        map_values(tmp_path / "a.png")
    Image.fromarray(as_bytes(heat())).convert("P").save(tmp_path / "b.png")
    np.testing.assert_allclose(map_values(tmp_path / "b.png"), as_bytes(heat()), atol=1)


def test_an_overlay_is_refused_and_called_no_colour_map(tmp_path) -> None:
    photo = picture(tmp_path / "p.png", SIZE)
    grey(tmp_path / "a.png", (0.5 * photo + 0.5 * false_colours("jet")).astype(np.uint8))
    with pytest.raises(
        DataError, match=r"a picture in colour \(\d+\.\d% of its pixels\): its grey"
    ):
        map_values(tmp_path / "a.png", settable=True)


@pytest.mark.parametrize(("at", "channel"), [(0, "red"), (1, "green"), (2, "blue")])
def test_a_map_in_one_channel_of_a_picture(tmp_path, at, channel) -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[..., at] = as_bytes(heat())
    grey(tmp_path / "a.png", pixels)
    with pytest.raises(
        DataError, match=f"only its {channel} channel varies; set channel: {channel}"
    ):
        map_values(tmp_path / "a.png", settable=True)
    np.testing.assert_array_equal(map_values(tmp_path / "a.png", channel), as_bytes(heat()))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_map_in_the_alpha_channel(tmp_path, mode) -> None:
    pixels = np.full((*SIZE, len(mode)), 200, np.uint8)
    pixels[..., -1] = as_bytes(heat())
    grey(tmp_path / "a.png", pixels)
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match=r"only its alpha channel varies; set channel: alpha\.$"):
        map_values(path, settable=True)
    with pytest.raises(DataError, match="save that channel as a picture in grey"):
        read_map(path)
    np.testing.assert_array_equal(map_values(path, "alpha"), as_bytes(heat()))
    np.testing.assert_array_equal(map_values(path, "grey"), np.full(SIZE, 200))


def test_transparency_that_is_the_same_everywhere_is_not_spoken_of(tmp_path) -> None:
    for alpha in (0, 128, 255):
        pixels = np.stack([as_bytes(heat())] * 4, axis=-1)
        pixels[..., 3] = alpha
        grey(tmp_path / "a.png", pixels)
        np.testing.assert_array_equal(map_values(tmp_path / "a.png"), as_bytes(heat()))


def test_nobody_guesses_between_grey_and_transparency(tmp_path) -> None:
    pixels = np.stack([as_bytes(heat())] * 4, axis=-1)
    grey(tmp_path / "a.png", pixels)
    with pytest.raises(DataError, match="both its grey values and its transparency vary; set chan"):
        map_values(tmp_path / "a.png", settable=True)
    with pytest.raises(DataError, match="save the map without transparency"):
        map_values(tmp_path / "a.png")


def test_a_channel_that_is_not_there_is_said(tmp_path) -> None:
    fine = (heat() * 65535).astype(np.uint16)
    grey(tmp_path / "a.png", as_bytes(heat()))
    grey(tmp_path / "b.png", fine)
    for name in "ab":
        with pytest.raises(DataError, match="the picture has no alpha channel"):
            map_values(tmp_path / f"{name}.png", "alpha")
        for channel in ("grey", "red"):  # of a grey picture all are the same
            wanted = fine if name == "b" else as_bytes(heat())
            np.testing.assert_array_equal(map_values(tmp_path / f"{name}.png", channel), wanted)


def test_a_ground_truth_that_looks_transposed_or_like_a_logarithm(tmp_path) -> None:
    np.save(tmp_path / "a.npy", heat().T)
    with pytest.raises(
        DataError, match=r"a\.npy: it is 64 x 48 .* and its image 48 x 64: it looks"
    ):
        read_map(tmp_path / "a.npy", SIZE)
    np.save(tmp_path / "b.npy", np.log((heat() + 0.1) / (heat() + 0.1).sum()))
    with pytest.raises(
        DataError, match=r"b\.npy: it looks like a log density .*; save the density"
    ):
        read_map(tmp_path / "b.npy", SIZE)
