"""Maps that are pictures: what is read of them, and pictures that are not the map they show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import colormaps
from PIL import Image

from clickmap_cli.datasets.maps import (
    log_density_words,
    map_values,
    nothing_left_words,
    oddities,
    read_map,
    transposed_words,
)
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
def test_what_compression_does_to_a_grey_picture_is_not_colour(tmp_path, quality) -> None:
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


def test_a_channel_that_is_not_there_is_reported(tmp_path) -> None:
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


SMALL = (20, 30)


def blob(size=SMALL) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.exp(-((rows - 8) ** 2 + (columns - 20) ** 2) / 30) + 1e-3


@settings(deadline=None)
@given(arrays(np.float64, (4, 5), elements=st.floats(-30, 30)))
def test_every_log_density_is_found(values) -> None:
    density = np.exp(values) / np.exp(values).sum()
    logarithm = np.log(density)
    if logarithm.max() < 0:  # else one pixel has everything
        assert "exp of them sums to 1)" in log_density_words(logarithm)
    assert log_density_words(density) is None
    assert log_density_words(logarithm + 1) is None  # sums to 2.7


def test_zeros_of_a_density_do_not_hide_its_logarithm() -> None:
    density = blob()
    density[:5] = 0
    with np.errstate(divide="ignore"):
        assert log_density_words(np.log(density / density.sum())) is not None
    assert log_density_words(np.full(SMALL, -np.inf)) is None
    assert log_density_words(np.full(SMALL, np.nan)) is None
    assert log_density_words(np.zeros(SMALL)) is None
    assert log_density_words(np.zeros((0, 3))) is None
    assert log_density_words(-blob()) is None


def test_nothing_left() -> None:
    assert nothing_left_words(np.zeros(SMALL)) is None
    assert nothing_left_words(blob()) is None
    assert "they go from -1 to -1" in nothing_left_words(-np.ones(SMALL))


@pytest.mark.parametrize(
    ("shape", "size", "found"),
    [
        ((30, 20), (20, 30), True), ((20, 30), (20, 30), False), ((20, 20), (20, 20), False),
        ((15, 10), (20, 30), False), ((10, 15), (20, 30), False),
    ],
)  # fmt: skip
def test_transposed(shape, size, found) -> None:
    assert (transposed_words(shape, size) is not None) == found


def test_a_sound_map_has_nothing_odd() -> None:
    density = blob() / blob().sum()
    for values, output in ((blob(), "map"), (density, "density"), (np.log(density), "log_density")):
        for dtype in (np.float32, np.float64):
            assert oddities(values.astype(dtype), output, True, SMALL) == {}
    logarithm = np.log(density)
    logarithm[0, 0] = -np.inf
    assert oddities(logarithm, "log_density", True, SMALL) == {}


def test_the_share_below_zero_is_counted_where_it_is_clipped() -> None:
    values = blob()
    values[:4] = -0.5
    assert oddities(values, "map", True, SMALL) == {"below_zero": 0.2}
    assert oddities(values, "map", False, SMALL) == {}
    values[:4] = -1e-9  # of a blur by Fourier transforms
    assert oddities(values, "map", True, SMALL) == {}


@pytest.mark.parametrize("output", ["map", "density", "log_density"])
def test_constants(output) -> None:
    size = (2, 4)
    value = {"map": 7.0, "density": 1 / 8, "log_density": np.log(1 / 8)}[output]
    noise = np.random.default_rng(0).normal(0, 1e-8, size)
    for values in (np.full(size, value), np.full(size, value) + noise):
        found = oddities(values, output, True, size)
        assert found == {"constant": pytest.approx(value)}
    assert oddities(np.zeros(size), "map", True, size) == {"constant": 0}
    assert oddities(np.ones(size, bool), "map", True, size) == {"constant": 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_few_levels(dtype) -> None:
    mask = (blob() > 0.5).astype(dtype)
    assert oddities(mask, "map", True, SMALL) == {"levels": 2}
    assert oddities((blob() > 0.5).astype(dtype), "map", True, (40, 60)) == {"levels": 2}
    if dtype is not bool:
        steps = np.floor(np.linspace(0, 14.999, 600)).reshape(SMALL).astype(dtype)
        assert oddities(steps, "map", True, SMALL) == {"levels": 15}
        steps = np.floor(np.linspace(0, 15.999, 600)).reshape(SMALL).astype(dtype)
        assert oddities(steps, "map", True, SMALL) == {}
    assert oddities(np.eye(14), "map", True, (14, 14)) == {}  # few pixels, which are resized


def test_levels_that_a_sample_of_a_large_map_misses() -> None:
    values = np.zeros((1000, 1000))
    values.reshape(-1)[np.arange(40) * 24_001 + 1] = np.arange(40)
    assert oddities(values, "map", True, (1000, 1000)) == {}


def test_a_density_that_does_not_sum_to_1() -> None:
    values = blob()
    total = values.sum()
    assert oddities(values, "density", True, SMALL) == {"sum": pytest.approx(total)}
    assert oddities(np.log(values), "log_density", True, SMALL) == {"sum": pytest.approx(total)}
    assert oddities(values, "density", True, (40, 60)) == {}  # is scaled with its size
    far = oddities(np.log(values) + 2000, "log_density", True, SMALL)
    assert np.isfinite(far["sum"])
    assert far["sum"] > 1e300
    assert oddities(np.log(values) - 2000, "log_density", True, SMALL)["sum"] == 0
