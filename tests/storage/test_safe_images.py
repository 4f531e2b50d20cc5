"""Pictures of every kind as 8-bit pixels."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage import safe_images
from clickmap_cli.storage.safe_images import read_image, read_image_with_changes

RAMP = np.array([[0, 1, 255, 256, 257, 25_700, 40_000, 65_534, 65_535]], dtype=np.uint16)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, ending, mode) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(RAMP).save(path)
    wanted = np.maximum(np.rint(RAMP / 65_535 * 255), RAMP > 0)
    found = read_image(path, mode)
    for channel in [found] if mode == "L" else [found[..., c] for c in range(3)]:
        np.testing.assert_array_equal(channel, wanted)


def test_8_bits_saved_as_16_come_back_exactly(tmp_path) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey * 257).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "L"), grey)


def test_a_dark_picture_of_16_bits_stays_dark_and_above_zero(tmp_path) -> None:
    Image.fromarray(np.array([[0, 3, 100]], dtype=np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "L"), [[0, 1, 1]])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0, 7, 255]], np.int32), [[0, 7, 255]]),
        (np.array([[-5, 257, 65_535]], np.int32), [[0, 1, 255]]),
        (np.array([[0, 1 << 30]], np.int32), [[0, 64]]),
        (np.array([[0, 0.5, 1]], np.float32), [[0, 128, 255]]),
        (np.array([[np.nan, 12, 254.6]], np.float32), [[0, 12, 255]]),
        (np.array([[0, np.inf, 6_553.5]], np.float32), [[0, 0, 26]]),
    ],
)
def test_wider_numbers_take_the_range_they_need(tmp_path, values, wanted) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", "L"), wanted)


def _sideways(path, picture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def test_what_was_converted_is_reported(tmp_path) -> None:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8))
    cases = {
        "rgb.png": (colour, ()),
        "grey.png": (colour.convert("L"), ("grey",)),
        "alpha.png": (colour.convert("RGBA"), ("transparency",)),
        "few.png": (colour.convert("P"), ("palette",)),
        "print.jpg": (colour.convert("CMYK"), ("CMYK",)),
        "deep.png": (Image.fromarray(RAMP), ("16-bit grey",)),
    }
    for name, (picture, wanted) in cases.items():
        picture.save(tmp_path / name)
        pixels, found = read_image_with_changes(tmp_path / name)
        assert found == wanted, name
        assert pixels.shape == (picture.height, picture.width, 3)
        np.testing.assert_array_equal(pixels, read_image(tmp_path / name))
    _sideways(tmp_path / "turned.png", colour)
    pixels, found = read_image_with_changes(tmp_path / "turned.png")
    assert found == ("turned as its EXIF says",)
    np.testing.assert_array_equal(pixels, np.rot90(np.asarray(colour), -1))


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX"])
def test_kinds_of_files_that_are_not_photographs_are_refused(tmp_path, kind) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", format=kind)
    with pytest.raises(DataError, match="not a readable image"):
        read_image(tmp_path / "a.png")


def test_postscript_is_given_to_no_interpreter(tmp_path, monkeypatch) -> None:
    canary, interpreter = tmp_path / "canary", tmp_path / "bin" / "gs"
    interpreter.parent.mkdir()
    interpreter.write_text(f"#!/bin/sh\ntouch {canary}\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", f"{interpreter.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", format="EPS")
    with pytest.raises(DataError):
        read_image(tmp_path / "a.jpg")
    assert not canary.exists()
    with Image.open(tmp_path / "a.jpg") as image, contextlib.suppress(OSError):
        image.load()
    assert canary.exists()  # what Pillow would have done


@pytest.mark.parametrize("values", [np.uint16, np.int32, np.float32])
def test_pictures_are_converted_some_rows_at_a_time(tmp_path, monkeypatch, values) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 60_000, (37, 11)).astype(values)).save(tmp_path / "a.tif")
    whole = read_image(tmp_path / "a.tif", "L")
    monkeypatch.setattr(safe_images, "_BAND_VALUES", 50)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", "L"), whole)
