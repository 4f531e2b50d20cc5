from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.map_store import (
    Compression,
    MapStore,
    StoredImage,
    compress_image,
    write_hdf5,
    write_index,
    write_npy_files,
    write_npz_file,
)

RNG = np.random.default_rng(0)
IMAGES = [
    StoredImage(
        key=f"cat/{i}.png",
        name=f"cat_{i}.png",
        n_participants=3,
        n_clicks=10 + i,
        arrays={
            "clickmap": RNG.random((1, 5, 7), dtype=np.float32),
            "participants": RNG.random((3, 5, 7), dtype=np.float32),
        },
    )
    for i in range(3)
]


def check(folder) -> None:
    store = MapStore(folder)
    assert list(store.names()) == [image.name for image in IMAGES]
    for image in IMAGES:
        for kind, wanted in image.arrays.items():
            found = store.read(image.name, kind)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, wanted)
    with pytest.raises(DataError):
        store.read("nobody")
    with pytest.raises(DataError):
        store.read(IMAGES[0].name, "bin_clickmaps")


@pytest.mark.parametrize("name", ["gzip", "lzf", None])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_hdf5(tmp_path, name, level) -> None:
    compression = Compression(name, level)
    write_hdf5(
        tmp_path / "maps.h5",
        [compress_image(i, compression) for i in IMAGES],
        {"n": 3},
        compression,
    )
    check(tmp_path)
    with h5py.File(tmp_path / "maps.h5") as file:
        group = file["clickmaps/cat_1.png"]
        assert dict(group.attrs) == {
            "original_path": "cat/1.png",
            "n_participants": 3,
            "n_clicks": 11,
        }
        assert file["click_counts/cat_2.png"][()] == 12
        assert file["click_counts"].attrs["counts"].startswith("clicks of an image in all its")
        assert file["metadata"].attrs["n"] == 3
        assert group["clickmap"].compression == name


def test_planes_compressed_in_threads_give_the_same_file(tmp_path) -> None:
    compression = Compression("gzip", 4)
    for name in "ab":
        write_hdf5(
            tmp_path / name, [compress_image(i, compression) for i in IMAGES], {}, compression
        )
    one, two = (hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in "ab")
    assert one == two


def test_shards_read_as_one_file(tmp_path) -> None:
    write_hdf5(tmp_path / "s" / "1.h5", IMAGES[:2], {}, Compression())
    write_hdf5(tmp_path / "s" / "2.h5", IMAGES[2:], {}, Compression())
    links = {"s/1.h5": [i.name for i in IMAGES[:2]], "s/2.h5": [IMAGES[2].name]}
    write_index(tmp_path / "maps.h5", links, {"n": 3})
    moved = tmp_path.parent / (tmp_path.name + "_moved")
    tmp_path.rename(moved)  # links are relative, so a folder can be moved
    check(moved)
    with h5py.File(moved / "maps.h5") as file:
        assert file["click_counts/cat_2.png"][()] == 12
        assert file["click_counts"].attrs["counts"].startswith("clicks of an image in all its")


def test_numpy_files(tmp_path) -> None:
    files = write_npy_files(tmp_path / "maps", IMAGES)
    assert len(files) == 6
    check(tmp_path)
    np.testing.assert_array_equal(
        np.load(tmp_path / "maps/cat_0.png.npy"), IMAGES[0].arrays["clickmap"]
    )


def test_npz_is_numpys_and_depends_on_nothing_but_arrays(tmp_path) -> None:
    write_npz_file(tmp_path / "maps.npz", IMAGES)
    check(tmp_path)
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["cat_0.png"], IMAGES[0].arrays["clickmap"])
    first = (tmp_path / "maps.npz").read_bytes()
    write_npz_file(tmp_path / "maps.npz", IMAGES)
    assert (tmp_path / "maps.npz").read_bytes() == first


def test_no_maps(tmp_path) -> None:
    with pytest.raises(DataError, match="run prepare first"):
        MapStore(tmp_path)


def test_a_cut_file_is_reported(tmp_path) -> None:
    write_hdf5(tmp_path / "maps.h5", IMAGES, {}, Compression())
    data = (tmp_path / "maps.h5").read_bytes()
    (tmp_path / "maps.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="not a readable"):
        MapStore(tmp_path).read(IMAGES[2].name)


def test_links_lead_nowhere_outside_the_folder(tmp_path) -> None:
    folder, secret = tmp_path / "run", tmp_path / "secret.h5"
    write_hdf5(secret, IMAGES, {}, Compression())
    name = IMAGES[0].name
    for place in ("../secret.h5", str(secret), "s/../../secret.h5"):
        write_index(folder / "maps.h5", {place: [name]}, {})
        with pytest.raises(DataError, match="outside its folder"):
            MapStore(folder).read(name)
    (folder / "link.h5").symlink_to(secret)
    write_index(folder / "maps.h5", {"link.h5": [name]}, {})
    with pytest.raises(DataError, match="outside its folder"):
        MapStore(folder).read(name)
    with h5py.File(folder / "maps.h5", "w") as file:
        file[f"clickmaps/{name}/clickmap"] = h5py.ExternalLink(str(secret), f"/clickmaps/{name}")
        file["clickmaps/b"] = h5py.SoftLink("/clickmaps")
        file.create_dataset("clickmaps/c/clickmap", (1, 60_000, 60_000), "f4", chunks=(1, 64, 64))
        file["clickmaps/d/clickmap"] = np.zeros((2, 3), np.float32)
        file["clickmaps/e/clickmap"] = np.array([[[b"x"]]])
        file["clickmaps/f"] = 1
    store = MapStore(folder)
    assert list(store.names()) == ["b", "c", name, "d", "e", "f"]
    for image, what in (
        (name, "is a link"), ("b", "is a link"), ("c", "too many"), ("d", "not a stack of maps"),
        ("e", "not numbers"), ("f", "not a group"), ("g", "not in the file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=what) as caught:
            store.read(image)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_what_is_not_a_file_of_maps_is_reported(tmp_path, content) -> None:
    (tmp_path / "maps.h5").write_bytes(content)
    with pytest.raises(DataError, match=r"maps\.h5"):
        list(MapStore(tmp_path).names())
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["other"] = 1
    with pytest.raises(DataError, match="'clickmaps' is not in the file"):
        list(MapStore(tmp_path).names())


def test_arrays_that_are_not_maps_are_reported(tmp_path) -> None:
    (tmp_path / "maps").mkdir()
    for array in (np.zeros((2, 3)), np.array(["x"]), np.array({"a": 1}, dtype=object)):
        np.save(tmp_path / "maps" / "a.npy", array)
        with pytest.raises(DataError, match="not a stack of maps"):
            MapStore(tmp_path).read("a")
