"""Pictures of a deep dive: what stands where, and what is missing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.reports.dives import draw_dive
from clickmap_cli.reports.style import COLOURS
from clickmap_cli.services.benchmark.pictures import DivePicture

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


def test_what_is_missing_is_said_and_nothing_else_moves(tmp_path) -> None:
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
