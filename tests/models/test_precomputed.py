from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.building import build_model
from clickmap_cli.models.precomputed import Precomputed
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import array, grey

SIZE = (6, 9)


def asked(image_id="a") -> FileStimulus:
    return FileStimulus(image_id=image_id, size=SIZE)


def test_arrays(tmp_path) -> None:
    values = array(tmp_path / "a.npy", np.random.default_rng(0).normal(size=SIZE))
    np.testing.assert_array_equal(Precomputed(str(tmp_path)).predict(asked()), values)
    array(tmp_path / "b.npy", values[None, :, :, None].astype(np.float32))
    np.testing.assert_array_equal(
        Precomputed(str(tmp_path)).predict(asked("b")), values.astype(np.float32)
    )


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff"])
def test_pictures_count_as_grey_values(tmp_path, ending) -> None:
    values = np.arange(54, dtype=np.uint8).reshape(SIZE)
    grey(tmp_path / f"a{ending}", values)
    found = Precomputed(str(tmp_path)).predict(asked())
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.float32


def test_pictures_of_colour_and_of_16_bits(tmp_path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "c.png")
    found = Precomputed(str(tmp_path), channel="grey").predict(asked("c"))
    np.testing.assert_allclose(found, colour @ [0.299, 0.587, 0.114], atol=1)
    with pytest.raises(DataError, match=r"c\.png: a picture in colour .*, or set channel to what"):
        Precomputed(str(tmp_path)).predict(asked("c"))
    for at, channel in enumerate(("red", "green", "blue")):
        found = Precomputed(str(tmp_path), channel=channel).predict(asked("c"))
        np.testing.assert_array_equal(found, colour[..., at])
        assert found.dtype == np.float32
    fine = (np.arange(54).reshape(SIZE) * 1000).astype(np.uint16)
    Image.fromarray(fine).save(tmp_path / "fine.png")
    np.testing.assert_array_equal(Precomputed(str(tmp_path)).predict(asked("fine")), fine)
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(tmp_path / "j.jpg")
    np.testing.assert_allclose(Precomputed(str(tmp_path)).predict(asked("j")), 77, atol=1)


def test_mat_files(tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=SIZE)
    savemat(tmp_path / "a.mat", {"note": "of somebody", "map": values})
    np.testing.assert_array_equal(Precomputed(str(tmp_path)).predict(asked()), values)
    savemat(tmp_path / "b.mat", {"one": values, "two": 2 * values})
    with pytest.raises(DataError, match=r"holds \['one', 'two'\]; name one with variable"):
        Precomputed(str(tmp_path)).predict(asked("b"))
    two = Precomputed(str(tmp_path), variable="two")
    np.testing.assert_array_equal(two.predict(asked("b")), 2 * values)
    with pytest.raises(DataError, match="no array two; found"):
        two.predict(asked("a"))


def test_which_file_is_an_images(tmp_path) -> None:
    model = Precomputed(str(tmp_path))
    array(tmp_path / "a.npy", np.full(SIZE, 1.0))
    for image_id in ("a", "a.jpg", "a.JPEG", "a.png"):  # ids of clickmaps end like their images
        assert model.predict(asked(image_id))[0, 0] == 1
    for image_id in ("a.v2", "b", "a.", "A2.jpg"):  # these only look like it
        with pytest.raises(DataError, match=f"no map of {image_id}"):
            model.predict(asked(image_id))
    array(tmp_path / "a.jpg.npy", np.full(SIZE, 2.0))
    assert model.predict(asked("a.jpg"))[0, 0] == 2  # its own name goes before
    assert model.predict(asked("a"))[0, 0] == 1


def test_missing_and_damaged_maps_are_sentences(tmp_path) -> None:
    model = Precomputed(str(tmp_path))
    for ask in (model.predict, model.depends_on):
        with pytest.raises(DataError, match=r"no map of a \(\.npy, \.png"):
            ask(asked())
    for name, content in (
        ("a.npy", b"no array"),
        ("b.png", b"\x89PNG\r\n\x1a\n"),
        ("c.mat", b"MATLAB 5.0"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name[0]):
            model.predict(asked(name[0]))
    array(tmp_path / "d.npy", np.array([["x"]]))
    array(tmp_path / "e.npy", np.ones((2, 2), dtype=complex))
    for name in "de":
        with pytest.raises(DataError, match="holds no array of numbers"):
            model.predict(asked(name))
    (tmp_path / "f.npy").mkdir()  # a folder is no map
    with pytest.raises(DataError, match="no map of f"):
        model.predict(asked("f"))


def test_the_key_is_the_files_content(tmp_path) -> None:
    for folder, value in (("x", 1.0), ("y", 1.0), ("z", 2.0)):
        array(tmp_path / folder / "a.npy", np.full(SIZE, value))
    x, y, z = (Precomputed(str(tmp_path / name)).depends_on(asked()) for name in "xyz")
    assert x == y != z
    assert {"root", "device", "batch_size"} <= Precomputed.run_only


def test_settings(tmp_path) -> None:
    assert Precomputed(str(tmp_path), output="log_density").output == "log_density"
    for given, says in (
        ({"output": "logits"}, "output is 'logits'; it must be one of map, density, log_density"),
        ({"channel": "gray"}, "channel is 'gray'; it must be one of grey, red"),
    ):
        with pytest.raises(ConfigError, match=says):
            build_model("x", "precomputed", {"root": str(tmp_path), **given}, "cpu")
    with pytest.raises(DataError, match="is not a folder"):
        Precomputed(str(tmp_path / "none"))


def test_a_map_that_looks_transposed_is_refused(tmp_path) -> None:
    values = np.random.default_rng(0).random(SIZE)
    array(tmp_path / "a.npy", values.T)
    array(tmp_path / "b.npy", values[:3])
    grey(tmp_path / "c.png", (values.T * 255).astype(np.uint8))
    model = Precomputed(str(tmp_path))
    for name in ("a.npy", "c.png"):
        words = rf"{name}: it is 9 x 6 \(height x width\) and its image 6 x 9: it looks transposed"
        with pytest.raises(DataError, match=words):
            model.predict(asked(name[0]))
    assert model.predict(asked("b")).shape == (3, 9)
    square = FileStimulus(image_id="a", size=(6, 6))  # its shape says nothing
    assert model.predict(square).shape == (9, 6)


def test_the_key_knows_the_channel(tmp_path) -> None:
    grey(tmp_path / "a.png", np.arange(54, dtype=np.uint8).reshape(SIZE))
    keys = {
        build_model("m", "precomputed", {"root": str(tmp_path), **more}, "cpu").key(asked(), True)
        for more in ({}, {"channel": "grey"}, {"channel": "red"}, {"output": "density"})
    }
    assert len(keys) == 4
