"""The TensorFlow release: what is said without TensorFlow, and our arithmetic around it."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import numpy as np
import pytest

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.building import build_model
from clickmap_cli.models.msi_net_tf import MsiNetTensorFlow
from clickmap_cli.runtime.errors import ConfigError, DataError, MissingExtraError
from tests.datasets.scenes import picture


class Tensor:
    def __init__(self, values) -> None:
        self.values = values

    def numpy(self):
        return self.values


class Signature:
    """Stands for a network: the red channel, in a shape of one's choice."""

    def __init__(self) -> None:
        self.structured_input_signature = ((), {"input": None})
        self.reply = lambda image: {"output": Tensor(image[..., :1])}
        self.seen = None

    def __call__(self, **given):
        self.seen = given["input"]
        return self.reply(self.seen)


@pytest.fixture
def tensorflow(monkeypatch):
    """A module with just what is used of TensorFlow; the network it loads."""
    signature = Signature()
    fake = types.ModuleType("tensorflow")
    fake.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
    fake.constant = lambda values: values
    loaded = types.SimpleNamespace(signatures={"serving_default": signature})
    fake.saved_model = types.SimpleNamespace(load=lambda path: loaded)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    return signature


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "msi" / "variables").mkdir(parents=True)
    (tmp_path / "msi" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "msi" / "variables" / "variables.index").write_bytes(b"weights")
    return tmp_path / "msi"


@pytest.fixture
def stimulus(tmp_path):
    picture(tmp_path / "a.png", (20, 20))
    return FileStimulus("a", (20, 20), tmp_path / "a.png")


def test_without_tensorflow_there_is_one_sentence(monkeypatch, folder) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for path in (folder, "nowhere"):
        with pytest.raises(MissingExtraError) as caught:
            build_model("x", "msi_net_tf", {"weights_path": str(path)}, "cpu")
        assert str(caught.value) == (
            "the model 'msi_net_tf' needs the extra 'tensorflow': "
            "pip install 'clickmap[tensorflow]'."
        )


@pytest.mark.parametrize("shape", [(1, 16, 24, 1), (1, 16, 24), (1, 1, 16, 24)])
def test_what_goes_in_and_what_comes_out(tensorflow, folder, stimulus, shape) -> None:
    tensorflow.reply = lambda image: {"output": Tensor(image[..., 0].reshape(shape))}
    model = MsiNetTensorFlow(str(folder), requires_size=[16, 24])
    found = model.predict(stimulus)
    seen = tensorflow.seen
    assert (seen.shape, seen.dtype) == ((1, 16, 24, 3), np.float32)
    np.testing.assert_allclose(seen[:, :, :4], 126, rtol=1e-6)
    np.testing.assert_allclose(seen[:, :, 20:], 126, rtol=1e-6)
    assert 200 < seen[:, :, 4:20].max() <= 255
    np.testing.assert_array_equal(found, seen[0, :, 4:20, 0])
    stretched = MsiNetTensorFlow(str(folder), requires_size=[16, 24], pad=False)
    assert stretched.predict(stimulus).shape == (16, 24)
    assert np.abs(tensorflow.seen - 126).min() > 0


def test_pixels_are_given_as_they_are(tensorflow, folder, tmp_path) -> None:
    pixels = picture(tmp_path / "b.png", (16, 24))
    MsiNetTensorFlow(str(folder), requires_size=[16, 24]).predict(
        FileStimulus("b", (16, 24), tmp_path / "b.png")
    )
    np.testing.assert_allclose(tensorflow.seen[0], pixels, atol=1e-3)


def test_it_is_loaded_once_and_let_go(tensorflow, folder, stimulus) -> None:
    model = MsiNetTensorFlow(str(folder))
    model.prepare()
    assert model.predict(stimulus).shape == (240, 240)
    model.release()
    assert model._signature is None
    assert model.predict(stimulus).shape == (240, 240)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda image: {"a": Tensor(image), "b": Tensor(image)}, r"returns \['a', 'b'\], not one"),
        (lambda image: {"a": Tensor(image)}, r"the shape \(1, 240, 320, 3\)"),
        (lambda image: {"a": Tensor(image[:, ::8, ::8, 0])}, r"the shape \(1, 30, 40\)"),
    ],
)
def test_networks_that_return_something_else(tensorflow, folder, stimulus, reply, says) -> None:
    tensorflow.reply = reply
    with pytest.raises(DataError, match=says):
        MsiNetTensorFlow(str(folder)).predict(stimulus)


def test_folders_that_hold_no_such_network(tensorflow, folder, tmp_path) -> None:
    def refuse(path):
        raise OSError("cannot parse\nthe file")

    sys.modules["tensorflow"].saved_model.load = refuse
    with pytest.raises(DataError, match=r"signature serving_default \(cannot parse the file\)"):
        MsiNetTensorFlow(str(folder)).prepare()
    lone = types.SimpleNamespace(signatures={})
    sys.modules["tensorflow"].saved_model.load = lambda path: lone
    with pytest.raises(DataError, match="signature serving_default"):
        MsiNetTensorFlow(str(folder)).prepare()
    tensorflow.structured_input_signature = ((), {"a": None, "b": None})
    lone.signatures = {"serving_default": tensorflow}
    with pytest.raises(DataError, match=r"takes \['a', 'b'\]; it must take one image"):
        MsiNetTensorFlow(str(folder)).prepare()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"weights_path": ""}, "set weights_path, the folder"),
        ({"requires_size": [10, 10]}, "msi_net_tf: requires_size .* multiples of 8"),
    ],
)
def test_settings_that_make_no_sense(tensorflow, folder, given, says) -> None:
    with pytest.raises(ConfigError, match=says):
        MsiNetTensorFlow(**{"weights_path": str(folder), **given})


def test_a_folder_that_is_not_there(tensorflow) -> None:
    with pytest.raises(DataError, match="no SavedModel at nowhere"):
        MsiNetTensorFlow("nowhere")


def test_the_folder_counts_by_its_content(tensorflow, folder, tmp_path) -> None:
    one = MsiNetTensorFlow(str(folder)).weights_digest()
    moved = folder.rename(tmp_path / "moved")
    assert MsiNetTensorFlow(str(moved)).weights_digest() == one
    (moved / "variables" / "variables.index").write_bytes(b"others")
    assert MsiNetTensorFlow(str(moved)).weights_digest() != one
