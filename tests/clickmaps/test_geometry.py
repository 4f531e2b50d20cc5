from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import center_crop

from clickmap_cli.clickmaps.geometry import Geometry, ImageShapes, resize
from clickmap_cli.runtime.errors import DataError

sides = st.integers(1, 60)


wide = st.integers(2, 60)  # torch takes planes one pixel wide for another memory layout


def test_one_pixel_wide() -> None:
    found = resize(np.array([[[1.0], [3.0]]]), (3, 1))
    assert found.ravel().tolist() == [1, 2, 3]


@settings(max_examples=150, deadline=None)
@given(wide, wide, wide, wide, st.integers(0, 2**32 - 1))
def test_resize_is_torchs_antialiased_bilinear(h, w, oh, ow, seed) -> None:
    maps = np.random.default_rng(seed).random((2, h, w))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=(oh, ow), mode="bilinear", antialias=True
    )[0]
    np.testing.assert_allclose(resize(maps, (oh, ow)), wanted.numpy(), atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.data())
def test_crop_is_torchvisions_center_crop(h, w, data) -> None:
    crop = (data.draw(st.integers(1, h)), data.draw(st.integers(1, w)))
    plane = np.arange(h * w, dtype=np.float32).reshape(h, w)
    found = Geometry.from_sizes((h, w), (h, w), crop).finish(plane)
    np.testing.assert_array_equal(found, center_crop(torch.from_numpy(plane), list(crop)).numpy())


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 80), st.integers(2, 80), st.data())
def test_clicks_follow_the_map(h, w, data) -> None:
    """A click lands on the pixel that holds its pixel's centre, or is cropped away."""
    shape = (data.draw(st.integers(2, 40)), data.draw(st.integers(2, 40)))
    crop = (data.draw(st.integers(1, min(shape))), data.draw(st.integers(1, min(shape))))
    x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    geometry = Geometry.from_sizes((h, w), shape, crop)
    rh, rw = geometry.resized
    column = int(np.floor((x + 0.5) * rw / w)) - round((rw - crop[1]) / 2)
    row = int(np.floor((y + 0.5) * rh / h)) - round((rh - crop[0]) / 2)
    cx, cy = geometry.move(np.array([x]), np.array([y]))
    if 0 <= column < crop[1] and 0 <= row < crop[0]:
        assert (cx.tolist(), cy.tolist()) == ([column], [row])
    else:
        assert cx.tolist() == cy.tolist() == []


def test_an_image_and_its_map_land_on_the_same_pixels() -> None:
    # a bright block in a photograph of another size covers the clicks made on it
    geometry = Geometry.from_sizes((300, 400), (64, 64), (50, 60))
    photo = np.zeros((600, 800, 3), dtype=np.float32)
    photo[200:260, 300:380] = 1
    fitted = geometry.fit(photo, "a.jpg")
    assert fitted.shape == (50, 60, 3)
    x, y = geometry.move(np.array([170]), np.array([115]))
    assert fitted[y[0], x[0]].tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_sizes_follow_short_side_and_rounding() -> None:
    assert Geometry.from_sizes((480, 641), (256, 256), None).resized == (256, 342)
    assert Geometry.from_sizes((641, 480), (256, 256), None).resized == (342, 256)
    assert Geometry.from_sizes((256, 256), (256, 256), (224, 224)).final == (224, 224)


def test_a_crop_larger_than_the_map_is_refused() -> None:
    with pytest.raises(DataError, match="larger than a map"):
        Geometry.from_sizes((10, 300), (10, 12), (11, 11))


def test_sizes_are_found_by_key_or_unique_ending() -> None:
    shapes = ImageShapes((9, 9), {"a/1.png": (3, 4), "val/b/2.png": (5, 6), "3.png": (7, 8)})
    keys = ["a/1.png", "b/2.png", "c/3.png", "d/3.png", "none.png"]
    assert shapes.look_up(keys).tolist() == [[3, 4], [5, 6], [9, 9], [9, 9], [9, 9]]
    assert shapes.longest_side == 9


def test_a_whole_key_goes_before_an_ending() -> None:
    for known in ({"a/1.png": (50, 40), "1.png": (8, 4)}, {"1.png": (8, 4), "a/1.png": (50, 40)}):
        shapes = ImageShapes((9, 9), known).look_up(["a/1.png", "b/2.png"])
        assert shapes.tolist() == [[50, 40], [9, 9]]
    twice = ImageShapes((9, 9), {"1.png": (8, 4), "x/a/1.png": (50, 40)})
    with pytest.raises(DataError, match=r"for the image 'a/1.png', with other sizes"):
        twice.look_up(["a/1.png"])
    same = ImageShapes((9, 9), {"1.png": (8, 4), "x/a/1.png": (8, 4)})
    assert same.look_up(["a/1.png"]).tolist() == [[8, 4]]


def test_images_without_a_size_are_named() -> None:
    assert ImageShapes((9, 9), {"1.png": (8, 4)}).unknown(["a/1.png", "b.png"]) == ["b.png"]
    assert ImageShapes((9, 9)).unknown(["a/1.png"]) == []


def whole(height, width) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).random((height, width)).astype(np.float32)


@pytest.mark.parametrize("shape", [(300, 400), (600, 800), (75, 100), (3, 4), (150, 201)])
def test_a_map_of_the_whole_image_goes_where_the_clicks_go(shape) -> None:
    geometry = Geometry.from_sizes((300, 400), (64, 64), (50, 60))
    placed = geometry.place_map(shape, (600, 800))
    assert placed.action == "scaled and cropped"
    values = whole(*shape)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None].double(), size=(64, 85), mode="bilinear",
        antialias=True,
    )  # fmt: skip
    wanted = center_crop(resized, [50, 60])[0, 0].numpy()
    np.testing.assert_allclose(placed.finish(values), wanted, atol=1e-6)


def test_a_map_of_the_final_shape_is_taken_as_it_is() -> None:
    geometry = Geometry.from_sizes((300, 400), (64, 64), (50, 60))
    for image in (None, (600, 800)):
        placed = geometry.place_map((50, 60), image)
        assert placed.action == "as it is"
        np.testing.assert_array_equal(placed.finish(whole(50, 60)), whole(50, 60))
    # the whole image has priority: its own file has that shape, and is cropped too
    square = Geometry.from_sizes((256, 256), (256, 256), (224, 224))
    assert square.place_map((224, 224), (512, 512)).action == "as it is"
    assert square.place_map((224, 224), (224, 224)).action == "scaled and cropped"
    assert square.place_map((256, 256), (512, 512)).action == "cropped"


def test_an_image_stretched_to_image_shape_takes_maps_of_both_shapes() -> None:
    # clicks of a photograph of 600 x 800 that are measured in 256 x 256
    geometry = Geometry.from_sizes((256, 256), (256, 256), None)
    assert geometry.place_map((600, 800), (600, 800)).action == "scaled"
    assert geometry.place_map((256, 256), (600, 800)).action == "as it is"
    assert geometry.place_map((512, 512), (600, 800)).action == "scaled"
    for shape in ((800, 600), (300, 600)):
        with pytest.raises(DataError, match=rf"{shape[0]} x {shape[1]}.*file has 600 x 800"):
            geometry.place_map(shape, (600, 800))


@settings(max_examples=300, deadline=None)
@given(st.integers(20, 900), st.integers(20, 900), st.integers(10, 900), st.integers(-9, 9))
def test_an_aspect_ratio_counts_to_within_a_pixel(h, w, height, off) -> None:
    """A map is of the whole image if its width is what its height asks for, give or take 1."""
    width = max(1, round(height * w / h) + off)
    tolerated = (
        abs(width - height * w / h) <= 1
        or abs(height - width * h / w) <= 1
        or abs(w - h * width / height) <= 1
        or abs(h - w * height / width) <= 1
    )
    geometry = Geometry.from_sizes((h, w), (16, 16), None)
    if tolerated or (height, width) == geometry.final:
        assert geometry.place_map((height, width)).final == geometry.final
    else:
        with pytest.raises(DataError, match=f"{height} x {width} fits neither"):
            geometry.place_map((height, width))


def test_an_image_of_its_own_size_must_have_its_files_aspect_ratio() -> None:
    own = Geometry.from_sizes((300, 400), (64, 64), (50, 60))
    assert own.place_image((600, 800)).final == (50, 60)
    assert own.place_image((50, 60)).action == "as it is"
    with pytest.raises(DataError, match=r"800 x 600 pixels.*measured in 300 x 400.*metadata_file"):
        own.place_image((800, 600))
    with pytest.raises(DataError, match=r"^a\.jpg: the image's file has 9 x 9"):
        own.fit(np.zeros((9, 9)), "a.jpg")
    # clicks measured in image_shape: the image was stretched to it when it was clicked
    stretched = Geometry.from_sizes((64, 64), (64, 64), None)
    assert stretched.place_image((600, 800)).final == (64, 64)
