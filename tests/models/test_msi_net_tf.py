"""The TensorFlow release: the message without TensorFlow, and our arithmetic around it."""

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

REPO = "alexanderkroner/MSI-Net"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


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
    (tmp_path / "msi" / "variables" / "variables.index").write_bytes(b"index")
    (tmp_path / "msi" / "variables" / "variables.data-00000-of-00001").write_bytes(b"weights")
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
        ({"weights_path": ""}, "set weights_path, the folder of the SavedModel, or repo_id"),
        ({"repo_id": REPO}, "weights_path and repo_id are both set; keep one"),
        ({"download": True}, "download is true and repo_id is not set"),
        ({"weights_path": None, "repo_id": "a b/c"}, r"repo_id is 'a b/c'; .* such as owner/name"),
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


# --- the hub's cache -------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(hub, folder):
    """The folder as the hub's own client keeps it: content by its hash, and links to it."""
    root = hub / f"models--{REPO.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "blobs").mkdir()
    for at, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        blob = root / "blobs" / str(at)
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot


@pytest.mark.parametrize("download", [False, True])
def test_a_snapshot_in_the_hubs_cache_is_used(tensorflow, folder, stimulus, hub, download) -> None:
    snapshot = cached(hub, folder)
    given = {"repo_id": REPO, "download": download, "requires_size": [16, 24]}
    built = build_model("x", "msi_net_tf", given, "cpu")
    assert built.model.notices == (
        f"msi_net_tf: {REPO} comes from the Hugging Face cache of this machine, {snapshot}.",
    )
    assert built.model.weights_digest() == MsiNetTensorFlow(str(folder)).weights_digest()
    plain = build_model(
        "x", "msi_net_tf", {"weights_path": str(folder), "requires_size": [16, 24]}, "cpu"
    )
    assert built.identity == plain.identity  # the content counts, however it got here
    np.testing.assert_array_equal(built.model.predict(stimulus), plain.model.predict(stimulus))


def test_nothing_is_downloaded_unasked(tensorflow, hub, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_api.HfApi.repo_info", lambda *args, **kwargs: asked.append(args)
    )
    with pytest.raises(DataError) as caught:
        build_model("x", "msi_net_tf", {"repo_id": REPO}, "cpu")
    assert str(caught.value) == (
        f"msi_net_tf: {REPO} is not in the Hugging Face cache of this machine ({hub}); set "
        "download: true to download it, or weights_path to its folder."
    )
    assert asked == []


@pytest.mark.parametrize("lost", ["saved_model.pb", "variables/variables.index"])
def test_a_snapshot_that_is_not_whole_counts_as_missing(tensorflow, folder, hub, lost) -> None:
    (cached(hub, folder) / lost).unlink()
    with pytest.raises(DataError, match=r"is incomplete in the Hugging .* download: true"):
        MsiNetTensorFlow(repo_id=REPO)


def test_a_download_begins_when_the_weights_are_needed_and_fails_in_a_sentence(
    tensorflow, hub
) -> None:
    """`clickmap doctor` makes models too, and must not download."""
    model = MsiNetTensorFlow(repo_id=REPO, download=True)
    for ask in (model.weights_digest, model.prepare):
        with pytest.raises(DataError) as caught:
            ask()
        said = str(caught.value)
        assert said.startswith(f"msi_net_tf: {REPO} could not be downloaded (")
        assert said.endswith("); download it elsewhere and set weights_path to its folder.")
        assert "\n" not in said


def test_a_download_goes_on_with_what_it_brought(
    tensorflow, folder, stimulus, hub, monkeypatch
) -> None:
    def bring(repo_id, local_files_only=False):
        if local_files_only:
            return real(repo_id, local_files_only=True)
        assert repo_id == REPO
        return str(cached(hub, folder))

    import huggingface_hub

    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", bring)
    model = MsiNetTensorFlow(repo_id=REPO, download=True)
    assert not hub.exists()
    assert model.weights_digest() == MsiNetTensorFlow(str(folder)).weights_digest()
    assert model.predict(stimulus).shape == (240, 240)


def test_without_tensorflow_a_repository_needs_the_extra_too(monkeypatch, hub) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtraError, match="needs the extra 'tensorflow'"):
        build_model("x", "msi_net_tf", {"repo_id": REPO}, "cpu")
