"""Pictures of key points: marks stand where the points are, and what is written is complete."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.config.keypoints import AugmentSettings
from clickmap_cli.reports.keypoints import HEAD, SIDE, draw_losses, draw_overlay, draw_sheet
from clickmap_cli.reports.style import COLOURS
from clickmap_cli.training.tasks.keypoint_augmentation import apply_change, example_changes

NAN = math.nan
NAMES = ("nose tip", "eye $top$", "ear")
SIZE = (48, 64)
ZOOM = SIDE // 64
GREY = np.full((*SIZE, 3), 120, np.uint8)
TRUE = np.array([[10.0, 12.0], [40.0, 30.0], [NAN, NAN]])
PREDICTED = np.array([[20.0, 12.0], [44.0, 38.0], [50.0, 8.0]])


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def colour(name):
    return np.array([int(COLOURS[name][at : at + 2], 16) for at in (1, 3, 5)])


def place(point):
    """Return the place of the centre of an image's pixel in the picture."""
    return (point[0] + 0.5) * ZOOM, HEAD + (point[1] + 0.5) * ZOOM


def centres(pixels, name, below=40):
    """Centres of the connected marks of a colour inside the image, from left to right."""
    from scipy import ndimage

    inside = pixels[HEAD : HEAD + 48 * ZOOM, :SIDE]
    close = np.abs(inside - colour(name)).sum(axis=2) < below
    labels, n = ndimage.label(close, np.ones((3, 3)))
    found = [slices for slices in ndimage.find_objects(labels, n) if close[slices].sum() > 8]
    return sorted(
        ((s[1].start + s[1].stop) / 2, HEAD + (s[0].start + s[0].stop) / 2) for s in found
    )


def has_colour(pixels, name):
    return bool((np.abs(pixels - colour(name)).sum(axis=2) < 10).any())


def overlay(tmp_path, **what):
    options = {"pixels": GREY, "names": NAMES, "true": TRUE, "predicted": PREDICTED} | what
    draw_overlay(tmp_path / "out" / "a.png", "a.png", **options)
    return read(tmp_path / "out" / "a.png")


def test_marks_stand_at_their_points(tmp_path) -> None:
    pixels = overlay(tmp_path, wrong=(1,))
    np.testing.assert_allclose(
        centres(pixels, "second"), [place(TRUE[0]), place(TRUE[1])], atol=1.5
    )
    np.testing.assert_allclose(
        centres(pixels, "data"), [place(PREDICTED[0]), place(PREDICTED[2])], atol=1.5
    )
    np.testing.assert_allclose(centres(pixels, "accent"), [place(PREDICTED[1])], atol=1.5)
    # a line joins the pair, and there is none where there is no label
    x, y = ((a + b) / 2 for a, b in zip(place(TRUE[0]), place(PREDICTED[0]), strict=True))
    around = pixels[round(y) - 2 : round(y) + 3, round(x)]
    assert (np.abs(around - colour("empty")).sum(axis=1) < 60).any()


def test_the_image_is_shown_pixel_for_pixel(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    pixels = overlay(tmp_path, pixels=image, true=None, predicted=None)
    for row, column in ((0, 0), (47, 63), (20, 5), (0, 63)):
        x, y = place((column, row))
        np.testing.assert_array_equal(pixels[int(y), int(x)], image[row, column])
    assert (pixels[:, SIDE + 2 :].min(axis=2) < 200).any()  # a legend stands beside it
    assert (pixels[HEAD + 48 * ZOOM :] == 255).all()


@pytest.mark.parametrize("size", [(300, 20), (20, 300), (900, 1400), (1, 1)])
def test_images_of_any_shape(tmp_path, size) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    points = np.array([[0.0, 0.0], [size[1] - 1.0, size[0] - 1.0], [NAN, NAN]])
    pixels = overlay(tmp_path, pixels=image, true=points, predicted=None)
    zoom = SIDE / max(size)
    right, below = round(size[1] * zoom), round(size[0] * zoom)
    assert pixels.shape[0] >= below + HEAD
    assert pixels.shape[1] > right
    middle = pixels[HEAD + below // 2, right // 2]
    assert (np.abs(middle - 200) <= 1).all() or has_colour(pixels, "second")


def test_labels_alone_and_predictions_alone(tmp_path) -> None:
    alone = overlay(tmp_path, predicted=None)
    assert has_colour(alone, "second")
    assert not has_colour(alone, "data")
    assert not has_colour(alone, "accent")
    alone = overlay(tmp_path, true=None)
    assert not has_colour(alone, "second")
    np.testing.assert_allclose(
        centres(alone, "data"), sorted(place(point) for point in PREDICTED), atol=1.5
    )
    assert not has_colour(overlay(tmp_path), "accent")


def test_many_key_points_have_a_longer_legend(tmp_path) -> None:
    names = [f"whisker number {at} of the left side of the face" for at in range(80)]
    pixels = overlay(tmp_path, names=names, true=np.full((80, 2), NAN), predicted=None)
    assert pixels.shape[0] > HEAD + 48 * ZOOM + 300
    assert (pixels[-30:, SIDE:].min(axis=2) < 100).any()


def test_equal_runs_write_equal_files(tmp_path) -> None:
    overlay(tmp_path)
    before = (tmp_path / "out" / "a.png").read_bytes()
    overlay(tmp_path)
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_points_outside_the_image_do_not_move_it(tmp_path) -> None:
    far = PREDICTED.copy()
    far[0] = (900.0, -400.0)
    pixels = overlay(tmp_path, predicted=far)
    np.testing.assert_allclose(centres(pixels, "data"), [place(far[1]), place(far[2])], atol=1.5)


def test_the_sheet_has_a_panel_for_every_change(tmp_path) -> None:
    settings = AugmentSettings(flip=0.5, brightness=0.5)
    image = np.full((40, 40, 3), 60, np.uint8)
    image[:, 20:] = 140
    points = np.array([[8.0, 20.0], [NAN, NAN]])
    row = [
        (title, *apply_change(image, points, change, np.random.default_rng(0)))
        for title, change in example_changes(settings).items()
    ]
    rows = [("a.png", row), ("b.png", row)]
    draw_sheet(tmp_path / "sheet.png", ("nose", "eye"), rows)
    pixels = read(tmp_path / "sheet.png")
    greys = [np.rint(255 * level) for level in np.unique([pixels for _, pixels, _ in row])]
    for level in greys:
        assert (np.abs(pixels - level).max(axis=2) <= 1).sum() > 1000
    # as it is, mirrored, brighter, all: dark and light halves change sides in the mirror
    line = pixels[pixels.shape[0] // 4, :, 0]
    halves = [int(value) for value in line if value in (60, 140)]
    runs = [value for at, value in enumerate(halves) if at == 0 or halves[at - 1] != value]
    assert runs[:3] == [60, 140, 60]
    assert has_colour(pixels, "second")


def history(n, every=1):
    return [
        {
            "epoch": epoch, "train_loss": 0.1 / epoch,
            "val_loss": 0.2 / epoch if epoch % every == 0 else NAN,
            "val_rmse": 20 / epoch if epoch % every == 0 else NAN, "val_pck": NAN,
        }
        for epoch in range(1, n + 1)
    ]  # fmt: skip


def test_loss_curves(tmp_path) -> None:
    draw_losses(tmp_path / "a.png", history(30), 28)
    pixels = read(tmp_path / "a.png")
    for name in ("data", "accent", "null"):
        assert has_colour(pixels, name)
    half = pixels[:, pixels.shape[1] // 2 :]
    assert has_colour(half, "accent")  # the RMSE has its own panel, PCK is nowhere defined
    assert not has_colour(half, "data")
    plain = [{"epoch": row["epoch"], "train_loss": row["train_loss"]} for row in history(30)]
    draw_losses(tmp_path / "b.png", plain)
    alone = read(tmp_path / "b.png")
    assert alone.shape[1] == pytest.approx(pixels.shape[1] / 2, abs=2)
    assert not has_colour(alone, "accent")


def test_loss_curves_stand_at_their_steps_where_the_history_counts_steps(tmp_path) -> None:
    by_step = [
        {**row, "epoch": (row["epoch"] + 2) // 3, "step": row["epoch"]} for row in history(9)
    ]
    draw_losses(tmp_path / "steps.png", by_step, 8)
    draw_losses(tmp_path / "epochs.png", history(9), 8)
    pictures = [read(tmp_path / f"{name}.png") for name in ("steps", "epochs")]
    # the mark at 8 would stretch an axis of three epochs, and the curve would end before its middle
    curves = [columns_of(pixels, "data") for pixels in pictures]
    assert curves[0] == pytest.approx(curves[1], abs=5)


def columns_of(pixels, name) -> tuple[int, int]:
    """The first and the last column that have a colour."""
    near = np.abs(pixels - colour(name)).sum(axis=2) < 10
    found = np.flatnonzero(near.any(axis=0))
    return int(found[0]), int(found[-1])


@pytest.mark.parametrize("n", [0, 1])
def test_curves_of_short_trainings(tmp_path, n) -> None:
    draw_losses(tmp_path / "a.png", history(n))
    assert has_colour(read(tmp_path / "a.png"), "data") == (n == 1)


def test_a_loss_of_zero_has_a_place(tmp_path) -> None:
    rows = [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.0}]
    draw_losses(tmp_path / "a.png", rows)
    assert has_colour(read(tmp_path / "a.png"), "data")
