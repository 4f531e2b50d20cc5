"""Images in files: what they show, what their truth is, and what is refused."""

from __future__ import annotations

import pickle
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus, require_id
from clickmap_cli.datasets.fixations import FixationPool, PooledPoints
from clickmap_cli.datasets.maps import read_counts, read_map
from clickmap_cli.datasets.people import FixationPeople
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_images import image_size, read_image
from tests.datasets.scenes import array, gaussian_sum, grey, picture

SIZE = (12, 16)


def stimulus(tmp_path, **changes) -> FileStimulus:
    pixels = tmp_path / "a.png"
    if not pixels.exists():
        picture(pixels, SIZE)
    return replace(FileStimulus("a", SIZE, pixels), **changes)


def points(n: int = 9, people: int = 3) -> Points:
    rng = np.random.default_rng(4)
    names = tuple("abcdef"[:people])
    return Points(
        rng.uniform(0, 16, n), rng.uniform(0, 12, n), np.arange(n, dtype=np.int32) % people, names
    )


def test_the_image_is_rgb_in_0_to_1(tmp_path) -> None:
    got = stimulus(tmp_path).image()
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, read_image(tmp_path / "a.png") / np.float32(255))


def test_an_image_that_changed_its_size_is_reported(tmp_path) -> None:
    with pytest.raises(DataError, match=r"12 x 16 pixels, .* for 5 x 6"):
        stimulus(tmp_path, size=(5, 6)).image()
    for lost in (None, tmp_path / "absent.png"):
        for method in ("image", "image_digest"):
            with pytest.raises(DataError):
                getattr(stimulus(tmp_path, image_path=lost), method)()


def test_truth_is_the_map_else_the_density_else_uniform(tmp_path) -> None:
    heat = array(tmp_path / "m.npy", np.random.default_rng(0).random(SIZE))
    own = points()
    both = stimulus(tmp_path, points=own, map_path=tmp_path / "m.npy")
    np.testing.assert_array_equal(both.truth(), heat)
    got = stimulus(tmp_path, points=own, sigma_px=2.0).truth()
    expected = gaussian_sum(own.x, own.y, SIZE, 2.0)
    np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-12)
    np.testing.assert_array_equal(stimulus(tmp_path).truth(), np.ones(SIZE))
    nobody = Points(np.empty(0), np.empty(0))
    np.testing.assert_array_equal(stimulus(tmp_path, points=nobody).truth(), np.zeros(SIZE))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.ones((4, 5)), "4 x 5 pixels, its image 12 x 16"),
        (np.full(SIZE, np.nan), "NaN"),
        (np.full(SIZE, np.inf), "NaN or infinite"),
        (-np.ones(SIZE), "negative"),
        (np.ones((3, *SIZE)), "height x width"),
        (np.array(["a"]), "array of numbers"),
        (np.empty((0, 3)), "height x width"),
    ],
)
def test_bad_maps_are_refused_in_a_sentence(tmp_path, values, what) -> None:
    array(tmp_path / "m.npy", values)
    with pytest.raises(DataError, match=what) as caught:
        stimulus(tmp_path, map_path=tmp_path / "m.npy").truth()
    assert "m.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_maps_keep_their_grey_values(tmp_path, dtype) -> None:
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, SIZE, dtype, endpoint=True)
    grey(tmp_path / "m.png", values)
    got = read_map(tmp_path / "m.png", SIZE)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, values)


def test_a_stack_of_one_map_is_a_map(tmp_path) -> None:
    values = np.random.default_rng(1).random(SIZE)
    array(tmp_path / "a.npy", values[None])
    array(tmp_path / "b.npy", values[..., None])
    for name in ("a.npy", "b.npy"):
        np.testing.assert_array_equal(read_map(tmp_path / name, SIZE), values)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_the_header_gives_the_size_of_the_upright_image(tmp_path, ending, orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    picture(path, (6, 10), exif=exif)
    assert image_size(path) == read_image(path).shape[:2]


def test_the_header_alone_is_read_and_bombs_are_refused(tmp_path) -> None:
    picture(tmp_path / "a.png", (64, 64))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:60])
    assert image_size(tmp_path / "cut.png") == (64, 64)
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + whole[24:29]
    forged = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    (tmp_path / "bomb.png").write_bytes(forged)
    for name, what in (("bomb.png", "too large"), ("none.png", "no such"), (".", "not a readable")):
        with pytest.raises(DataError, match=what):
            image_size(tmp_path / name)


def test_people_need_two_with_a_name(tmp_path) -> None:
    own = points(people=3)
    people = stimulus(tmp_path, points=own).people()
    assert isinstance(people, FixationPeople)
    assert list(people.names) == ["a", "b", "c"]
    one = replace(own, subject=np.zeros(len(own), np.int32))
    for nobody in (None, one, Points(own.x, own.y)):
        assert stimulus(tmp_path, points=nobody).people() is None


def test_digests_change_with_what_they_stand_for(tmp_path) -> None:
    array(tmp_path / "m.npy", np.ones(SIZE))
    array(tmp_path / "n.npy", np.eye(12, 16))
    own = points()
    pool = FixationPool([own, own], [SIZE, SIZE])
    changed = [
        {}, {"points": own}, {"points": replace(own, subject=None)}, {"sigma_px": 3.0},
        {"points": replace(own, subjects=("x", "b", "c"))}, {"points": replace(own, x=own.x + 1)},
        {"nonfixations": own}, {"map_path": tmp_path / "m.npy"}, {"map_path": tmp_path / "n.npy"},
        {"nonfixations": PooledPoints(pool, 0)}, {"nonfixations": PooledPoints(pool, 1)},
        {"points": Points(np.empty(0), np.empty(0))},
    ]  # fmt: skip
    digests = [stimulus(tmp_path, **change).truth_digest() for change in changed]
    assert len(set(digests)) == len(digests)
    assert digests == [stimulus(tmp_path, **change).truth_digest() for change in changed]
    picture(tmp_path / "b.png", SIZE, seed=1)
    shown = {stimulus(tmp_path, image_path=tmp_path / f"{n}.png").image_digest() for n in "ab"}
    assert len(shown) == 2


def test_it_travels(tmp_path) -> None:
    sent = stimulus(tmp_path, points=points())
    got = pickle.loads(pickle.dumps(sent))
    assert got.truth_digest() == sent.truth_digest()
    np.testing.assert_array_equal(got.image(), sent.image())


def test_counts_become_points(tmp_path) -> None:
    counts = array(tmp_path / "f.npy", np.random.default_rng(0).poisson(0.3, SIZE))
    np.testing.assert_array_equal(read_counts(tmp_path / "f.npy", SIZE).counts(SIZE), counts)
    for values in (counts - 1, counts + 0.5, np.where(counts, np.nan, 0.0), counts + 10**9):
        array(tmp_path / "g.npy", values)
        with pytest.raises(DataError, match=r"g\.npy.*counts"):
            read_counts(tmp_path / "g.npy", SIZE)
    with pytest.raises(DataError, match="for 12 x 16 pixels, the image has 3 x 3"):
        read_counts(tmp_path / "f.npy", (3, 3))


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "a/b", "..\\a", "a\nb", "a\0", "\udcff", "é" * 101, "a\u202eb"]
)
def test_ids_that_are_not_names(name) -> None:
    with pytest.raises(DataError) as caught:
        require_id(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a", "a b", "é" * 100, "a.b", "...", "日本", "-x", "A_01"])
def test_ids_that_are_names(name) -> None:
    assert require_id(name) == name
