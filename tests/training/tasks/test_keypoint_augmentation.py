"""Changed training images: what is drawn in them is found where their labels went."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clickmap_cli.config.keypoints import AugmentSettings
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.tasks.keypoint_augmentation import (
    KINDS,
    Change,
    apply_change,
    draw_change,
    example_changes,
    is_on,
    move_points,
    strongest_change,
)

SIZE = (48, 64)
ALL = AugmentSettings(
    flip=0.5, rotate=40, scale=0.3, translate=0.2, brightness=0.5, contrast=0.5, blur=2, noise=0.1
)


def rng(seed=0):
    return np.random.default_rng(seed)


def noise_image(seed=0, size=SIZE):
    return rng(seed).integers(0, 256, (*size, 3), np.uint8)


def dot(x, y, sigma=2.0, size=SIZE):
    """A bright, round dot on black."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(255 * blob).astype(np.uint8)[..., None], 3, axis=2)


def centre(pixels):
    """Return the place of the light: x and y."""
    light = pixels.astype(np.float64).sum(axis=2)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    return (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()


geometric = st.builds(
    Change,
    flip=st.booleans(),
    rotate=st.floats(-180, 180),
    scale=st.floats(0.7, 1.4),
    translate=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
)


def by_hand(x, y, change, size, pixel):
    """One point, step by step, in units in which the picture is not squashed."""
    height, width = size
    if change.flip:
        x = width - 1 - x
    right, down = (x - (width - 1) / 2) * pixel[0], (y - (height - 1) / 2) * pixel[1]
    cosine, sine = math.cos(math.radians(change.rotate)), math.sin(math.radians(change.rotate))
    right, down = cosine * right - sine * down, sine * right + cosine * down
    x = (width - 1) / 2 + change.scale * right / pixel[0] + change.translate[0] * width
    y = (height - 1) / 2 + change.scale * down / pixel[1] + change.translate[1] * height
    return x, y


@settings(max_examples=60, deadline=None)
@given(
    geometric, st.floats(0, 63), st.floats(0, 47),
    st.sampled_from([(1.0, 1.0), (2.0, 1.0), (1.5, 2.5)]),
)  # fmt: skip
def test_a_dot_is_found_where_its_label_went(change, x, y, pixel) -> None:
    at = by_hand(x, y, change, SIZE, pixel)
    image, moved = apply_change(dot(x, y), np.array([[x, y]]), change, rng(), pixel=pixel)
    inside = -0.5 <= at[0] <= 63.5 and -0.5 <= at[1] <= 47.5
    # a point within rounding of the border may count either way
    border = min(abs(at[0] + 0.5), abs(at[0] - 63.5), abs(at[1] + 0.5), abs(at[1] - 47.5))
    assume(border > 1e-6)
    if inside:
        np.testing.assert_allclose(moved, [at], atol=1e-9)
    else:
        assert np.isnan(moved).all()
    margin = 14  # the whole dot must be in both images
    whole = margin < x < 63 - margin and margin < y < 47 - margin
    if whole and margin < at[0] < 63 - margin and margin < at[1] < 47 - margin:
        np.testing.assert_allclose(centre(image), at, atol=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(24, 40), st.integers(20, 28))
def test_a_single_pixel_is_found_near_its_label_after_any_draw(seed, x, y) -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[y, x] = 255
    some = replace(ALL, brightness=0, contrast=0, blur=0, noise=0, translate=0.1)
    image, moved = apply_change(
        pixels, np.array([[x, y]], np.float64), draw_change(some, rng(seed)), rng()
    )
    brightest = np.unravel_index(image[..., 0].argmax(), SIZE)
    assert np.abs(moved[0] - brightest[::-1]).max() < 1.5


def test_a_mirror_is_exact() -> None:
    pixels = noise_image()
    points = np.array([[301.567, 34.302], [0.1, 7.0], [np.nan, np.nan], [63.0, 0.0]])
    image, moved = apply_change(pixels, points, Change(flip=True), rng())
    np.testing.assert_array_equal(image, pixels[:, ::-1].astype(np.float32) / 255)
    np.testing.assert_array_equal(moved[:, 0], 63 - points[:, 0])
    np.testing.assert_array_equal(moved[:, 1], points[:, 1])
    column = pixels[5, 63]  # the pixel at the label (63, 5) ...
    at = int(move_points(np.array([[63.0, 5.0]]), Change(flip=True), SIZE)[0, 0])
    np.testing.assert_array_equal(image[5, at], column.astype(np.float32) / 255)  # is there


def test_left_and_right_change_places_in_a_mirror() -> None:
    points = np.array([[10.0, 1.0], [20.0, 2.0], [30.0, 3.0], [np.nan, np.nan], [50.0, 5.0]])
    swaps = ((0, 2), (4, 3))
    found = move_points(points, Change(flip=True), SIZE, swaps)
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(found, [[33, 3], [43, 2], [53, 1], [13, 5], nan])
    np.testing.assert_array_equal(move_points(found, Change(flip=True), SIZE, swaps), points)
    np.testing.assert_array_equal(move_points(points, Change(), SIZE, swaps), points)


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_right_angles_are_numpys(turns) -> None:
    pixels = noise_image(size=(33, 33))
    points = np.array([[3.0, 7.0], [32.0, 0.0]])
    image, moved = apply_change(pixels, points, Change(rotate=90 * turns), rng())
    wanted = np.rot90(pixels, -turns).astype(np.float32) / 255  # clockwise
    np.testing.assert_allclose(image[1:-1, 1:-1], wanted[1:-1, 1:-1], atol=1e-5)
    for (x, y), before in zip(np.rint(moved).astype(int), points.astype(int), strict=True):
        np.testing.assert_array_equal(np.rot90(pixels, -turns)[y, x], pixels[before[1], before[0]])


def test_shifts_by_whole_pixels_leave_black_behind() -> None:
    pixels = noise_image()
    points = np.array([[10.0, 10.0], [60.0, 10.0], [10.0, 2.0]])
    image, moved = apply_change(pixels, points, Change(translate=(8 / 64, -6 / 48)), rng())
    wanted = np.zeros((*SIZE, 3), np.float32)
    wanted[:-6, 8:] = pixels[6:, :-8].astype(np.float32) / 255
    np.testing.assert_allclose(image, wanted, atol=1e-5)
    np.testing.assert_allclose(moved, [[18, 4], [np.nan] * 2, [np.nan] * 2], atol=1e-12)


def test_a_turn_stays_a_turn_in_a_squashed_picture() -> None:
    """A quarter turn of a picture whose pixels are twice as wide as high."""
    points = np.array([[31.5 + 5, 23.5]])
    found = move_points(points, Change(rotate=90), SIZE, pixel=(2.0, 1.0))
    np.testing.assert_allclose(found, [[31.5, 23.5 + 10]], atol=1e-12)


def test_brightness_contrast_blur_and_noise() -> None:
    pixels = noise_image(1)
    values = pixels.astype(np.float64) / 255
    points = np.array([[5.0, 5.0]])

    def pixels_of(**what):
        image, moved = apply_change(pixels, points, Change(**what), rng(7))
        np.testing.assert_array_equal(moved, points)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        return image

    np.testing.assert_array_equal(pixels_of(), pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(pixels_of(brightness=1.7), np.minimum(values * 1.7, 1), atol=1e-6)
    around = values.mean() + 1.6 * (values - values.mean())
    np.testing.assert_allclose(pixels_of(contrast=1.6), np.clip(around, 0, 1), atol=1e-6)
    soft = np.stack(
        [ndimage.gaussian_filter(values[..., c], 1.5, mode="nearest") for c in range(3)], 2
    )
    np.testing.assert_allclose(pixels_of(blur=1.5), soft, atol=1e-5)
    grain = pixels_of(contrast=0.0, noise=0.05) - values.mean()
    assert grain.std() == pytest.approx(0.05, rel=0.05)
    assert abs(np.corrcoef(grain[..., 0].ravel(), grain[..., 1].ravel())[0, 1]) < 0.1


def test_draws_stay_in_their_ranges_and_fill_them() -> None:
    draws = [draw_change(ALL, generator(3, "augment", "a.png", str(epoch))) for epoch in range(400)]
    for values, low, high in (
        ([d.rotate for d in draws], -40, 40),
        ([d.scale for d in draws], 0.7, 1.3),
        ([d.translate[0] for d in draws], -0.2, 0.2),
        ([d.translate[1] for d in draws], -0.2, 0.2),
        ([d.brightness for d in draws], 0.5, 1.5),
        ([d.contrast for d in draws], 0.5, 1.5),
        ([d.blur for d in draws], 0, 2),
        ([d.noise for d in draws], 0, 0.1),
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    assert 150 < sum(d.flip for d in draws) < 250
    assert len(set(draws)) == 400


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_more_leaves_the_others(kind) -> None:
    without = draw_change(replace(ALL, **{kind: 0.0}), rng(5))
    assert getattr(without, kind) == getattr(Change(), kind)
    every = draw_change(ALL, rng(5))
    assert replace(without, **{kind: getattr(every, kind)}) == every
    only = draw_change(AugmentSettings(**{kind: getattr(ALL, kind)}), rng(5))
    assert only == replace(Change(), **{kind: getattr(every, kind)})


def test_nothing_is_on_by_default() -> None:
    assert not is_on(AugmentSettings())
    assert draw_change(AugmentSettings(), rng()) == Change()
    for kind in KINDS:
        assert is_on(AugmentSettings(**{kind: getattr(ALL, kind)}))


def test_examples_of_every_kind_at_its_strongest() -> None:
    assert list(example_changes(ALL)) == [
        "as it is", "flip", "rotate 40 degrees", "scale x 1.3", "translate 20%", "brightness x 1.5",
        "contrast x 1.5", "blur 2 px", "noise 0.1",
    ]  # fmt: skip
    first, *others = example_changes(ALL).values()
    assert first == Change()
    assert others == [strongest_change(kind, ALL)[1] for kind in KINDS]
    assert others[0] == Change(flip=True)
    assert others[3] == Change(translate=(0.2, 0.2))
    assert list(example_changes(AugmentSettings(blur=1))) == ["as it is", "blur 1 px"]


def test_inputs_stay_as_they_are() -> None:
    pixels, points = noise_image(), np.array([[20.0, 20.0]])
    before = pixels.copy(), points.copy()
    apply_change(pixels, points, draw_change(replace(ALL, flip=1), rng()), rng())
    np.testing.assert_array_equal(pixels, before[0])
    np.testing.assert_array_equal(points, before[1])
