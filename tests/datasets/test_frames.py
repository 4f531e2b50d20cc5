"""Pictures one after the other: folders, moving images, videos."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.frames import frames, image_names
from clickmap_cli.runtime.errors import DataError, MissingExtraError
from tests.datasets.scenes import picture

SIZE = (12, 16)


def pictures(n=3):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(n)]


def test_the_images_of_a_folder_in_order(tmp_path) -> None:
    made = {name: picture(tmp_path / name, SIZE, at) for at, name in enumerate(
        ("b.png", "a/2.PNG", "a/10.bmp", "c.tiff"))}  # fmt: skip
    picture(tmp_path / ".cache" / "d.png")
    picture(tmp_path / "._b.png")
    (tmp_path / "labels.csv").write_text("no image")
    assert image_names(tmp_path) == ["a/10.bmp", "a/2.PNG", "b.png", "c.tiff"]
    found = frames(tmp_path)
    assert found.n == 4
    for _ in range(2):  # each time again
        got = list(found)
        assert [frame.name for frame in got] == image_names(tmp_path)
        for frame in got:
            np.testing.assert_array_equal(frame.pixels, made[frame.name])


def test_one_image(tmp_path) -> None:
    pixels = picture(tmp_path / "b.png", SIZE)
    found = frames(tmp_path / "b.png")
    assert found.n == 1
    (frame,) = found
    assert frame.name == "b.png"
    np.testing.assert_array_equal(frame.pixels, pixels)


def test_images_are_read_when_their_turn_comes(tmp_path) -> None:
    picture(tmp_path / "a.png", SIZE)
    (tmp_path / "b.png").write_bytes(b"no picture")
    picture(tmp_path / "c.png", SIZE)
    going = iter(frames(tmp_path))
    assert next(going).name == "a.png"
    bad = next(going)
    assert isinstance(bad, Problem)
    assert bad.image_id == "b.png"
    assert "b.png: not a readable image" in bad.reason
    assert next(going).name == "c.png"
    assert list(going) == []


@pytest.mark.parametrize("ending", ["png", "tiff", "webp", "gif", "apng"])
def test_moving_images(tmp_path, ending) -> None:
    path = tmp_path / f"mouse.{ending}"
    made = pictures()
    if ending == "gif":  # which has 256 colours
        made = [np.repeat(grey[..., :1], 3, axis=2) for grey in made]
    first, *others = [Image.fromarray(pixels) for pixels in made]
    options = {"lossless": True} if ending == "webp" else {}
    kind = "png" if ending == "apng" else ending
    first.save(path, save_all=True, append_images=others, format=kind, **options)
    found = frames(path)
    assert found.n == 3
    got = list(found)
    assert [frame.name for frame in got] == ["mouse_000000", "mouse_000001", "mouse_000002"]
    for frame, pixels in zip(got, made, strict=True):
        np.testing.assert_array_equal(frame.pixels, pixels)


def test_a_cut_moving_image(tmp_path) -> None:
    path = tmp_path / "a.tiff"
    first, *others = [Image.fromarray(pixels) for pixels in pictures()]
    first.save(path, save_all=True, append_images=others)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DataError, match=r"a\.tiff"):
        list(frames(path))


def test_sources_that_are_none(tmp_path) -> None:
    with pytest.raises(DataError, match="No file or folder"):
        frames(tmp_path / "gone")
    with pytest.raises(DataError, match=r"no images \(\.jpg"):
        frames(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="not a readable image"):
        frames(tmp_path / "a.png")
    with pytest.raises(DataError, match="it is a file"):
        image_names(tmp_path / "a.png")


def test_videos_need_the_extra(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"clickmap\[video\]"):
        frames(tmp_path / "a.mp4")


# --- video ------------------------------------------------------------------------------------


@pytest.fixture
def av():
    return pytest.importorskip("av", reason="PyAV (extra video) is not installed")


def filmed(av, path, made):
    """A lossless video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "bgr0"
        for pixels in made:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("ending", ["avi", "mkv"])
def test_the_frames_of_a_video(tmp_path, av, ending) -> None:
    made = pictures(5)
    found = frames(filmed(av, tmp_path / f"mouse.{ending}", made))
    assert found.n in (5, None)
    for _ in range(2):
        got = list(found)
        assert [frame.name for frame in got] == [f"mouse_{at:06d}" for at in range(5)]
        for frame, pixels in zip(got, made, strict=True):
            np.testing.assert_array_equal(frame.pixels, pixels)


def test_a_name_is_never_an_address(tmp_path, av, monkeypatch) -> None:
    made = pictures(1)
    path = filmed(av, tmp_path / "mouse.avi", made)
    path.rename(tmp_path / "pipe:0.avi")
    monkeypatch.chdir(tmp_path)
    (frame,) = frames(path.with_name("pipe:0.avi").relative_to(tmp_path))
    np.testing.assert_array_equal(frame.pixels, made[0])


def test_videos_that_cannot_be_read(tmp_path, av) -> None:
    good = filmed(av, tmp_path / "mouse.avi", pictures(5)).read_bytes()
    listed = "#EXTM3U\n#EXTINF:10,\nmouse.avi\n#EXT-X-ENDLIST\n"
    damaged = {
        "empty.mp4": b"",
        "zeros.mp4": bytes(5000),
        "text.mov": b"no video",
        "cut.avi": good[: len(good) // 2],
        # these name other files, or addresses
        "list.m3u8": listed.encode(),
        "list.txt": b"ffconcat version 1.0\nfile mouse.avi\n",
    }
    for name, content in damaged.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a readable video") as caught:
            list(frames(path))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_sound_alone_is_not_a_video(tmp_path, av) -> None:
    path = tmp_path / "squeak.wav.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        for packet in itertools.chain(stream.encode(sound), stream.encode()):
            container.mux(packet)
    with pytest.raises(DataError, match="no video stream"):
        frames(path)


def test_frames_too_large_to_open(tmp_path, av, monkeypatch) -> None:
    path = filmed(av, tmp_path / "mouse.avi", pictures(1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] - 1)
    with pytest.raises(DataError, match="16 x 12 pixels are too large"):
        frames(path)
