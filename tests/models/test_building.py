"""From a config's entry to a model, and the keys of its predictions."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.base import MODELS
from clickmap_cli.models.baselines import BlurBaseline, CenterBias
from clickmap_cli.models.building import build_model, describe_download, describe_release
from clickmap_cli.runtime.errors import ConfigError
from tests.datasets.scenes import array, picture
from tests.models.test_torch_model import Odd, Red, scripted

SIZE = (8, 11)


def image(folder: Path, seed=0, size=SIZE, name="a") -> FileStimulus:
    picture(folder / f"{name}.png", size, seed)
    return FileStimulus(image_id=name, size=size, image_path=folder / f"{name}.png")


def key_of(stimulus, name="blur_baseline", device="cpu", postprocess=True, **settings):
    return build_model("x", name, settings, device).key(stimulus, postprocess)


def test_a_model_with_all_its_settings() -> None:
    built = build_model("mine", "CENTER_BIAS", {"sigma_ratio": 0.1}, "cpu")
    assert isinstance(built.model, CenterBias)
    assert built.label == "mine"
    assert dict(built.settings) == {
        "requires_size": None, "sigma": None, "sigma_ratio": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["uniform", "blur_baseline", "center_bias", "gold_standard"])
def test_what_the_fields_configs_carry_for_every_model_is_accepted_when_empty(name) -> None:
    plain = build_model("x", name, {}, "cpu")
    for empty in (None, False, ""):
        given = {"weights_path": empty, "repo_id": empty, "device": "cuda"}
        if name != "center_bias":
            given["requires_size"] = empty
        built = build_model("x", name, given, "cpu")
        assert built.settings == plain.settings
        assert built.identity == plain.identity
    for key, value in (("weights_path", "a.pt"), ("repo_id", "a/b")):
        with pytest.raises(ConfigError, match=f"model x: unknown setting '{key}'"):
            build_model("x", name, {key: value}, "cpu")
    with pytest.raises(ConfigError, match="unknown setting 'batch'"):
        build_model("x", name, {"batch": None}, "cpu")


def test_a_size_that_a_model_cannot_take_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'requires_size'"):
        build_model("x", "uniform", {"requires_size": [3, 3]}, "cpu")


def test_the_device_of_the_run_is_a_models_unless_it_has_its_own(tmp_path) -> None:
    path = scripted(tmp_path / "a.pt", Red())
    for given, wanted in (({}, "cpu"), ({"device": None}, "cpu"), ({"device": "mps"}, "mps")):
        built = build_model("x", "torchscript", {"weights_path": path, **given}, "cpu")
        assert built.settings["device"] == wanted


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("centre_bias", {}, "no model 'centre_bias'. Did you mean 'center_bias'?"),
        ("center_bias", {"sigmas": 1}, "model x: unknown setting 'sigmas'. Did you mean"),
        ("center_bias", {"sigma_ratio": "wide"}, "model x: "),
        ("center_bias", {"sigma_ratio": -1}, "sigma_ratio is -1"),
        ("precomputed", {}, "model x: set root."),
        ("torchscript", {}, "model x: set weights_path"),
    ],
)
def test_mistakes_are_sentences(name, given, says) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model("x", name, given, "cpu")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_a_model_is_refused(monkeypatch) -> None:
    MODELS.entries()
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    MODELS.add("reader", lambda: 3, "no model", "somebody")
    with pytest.raises(ConfigError, match="model x: reader is not a SaliencyModel"):
        build_model("x", "reader", {}, "cpu")


# --- keys --------------------------------------------------------------------------------------


def test_a_key_is_that_of_the_picture_and_not_of_its_place(tmp_path) -> None:
    base = key_of(image(tmp_path / "one"))
    assert key_of(image(tmp_path / "two")) == base
    assert key_of(image(tmp_path / "two", name="b")) == base  # nor of its name
    assert key_of(image(tmp_path / "three", seed=1)) != base
    assert key_of(image(tmp_path / "four", size=(11, 8))) != base


def test_a_key_moves_with_settings_and_how_predictions_are_finished(tmp_path) -> None:
    stimulus = image(tmp_path)
    base = key_of(stimulus)
    assert key_of(stimulus, ksize=31) == base  # the default, written out
    assert key_of(stimulus, "BLUR_baseline") == base
    assert key_of(stimulus, device="cuda") == base
    others = [
        key_of(stimulus, ksize=33),
        key_of(stimulus, postprocess=False),
        key_of(stimulus, "uniform"),
        key_of(stimulus, "center_bias"),
        key_of(stimulus, "center_bias", sigma_ratio=0.2),
        key_of(stimulus, "center_bias", sigma=0.2),
        key_of(stimulus, "center_bias", requires_size=[4, 4]),
    ]
    assert len({base, *others}) == len(others) + 1


def test_a_key_moves_with_the_version_of_a_model(tmp_path, monkeypatch) -> None:
    stimulus = image(tmp_path)
    base = key_of(stimulus)
    monkeypatch.setattr(BlurBaseline, "version", 2)
    assert key_of(stimulus) != base


def test_a_key_moves_with_the_weights_and_not_with_the_machine(tmp_path) -> None:
    stimulus = image(tmp_path)
    one, other = scripted(tmp_path / "a.pt", Odd()), scripted(tmp_path / "b.pt", Red())
    (tmp_path / "c.pt").write_bytes(Path(one).read_bytes())

    def key(path, **more):
        return key_of(stimulus, "torchscript", weights_path=str(path), **more)

    base = key(one)
    for same in ({"batch_size": 4}, {"device": "cuda"}, {"device": "mps", "batch_size": 2}):
        assert key(one, **same) == base, same
    assert key(tmp_path / "c.pt") == base
    assert key(other) != base
    for different in ({"output": "density"}, {"requires_size": [4, 4]}, {"mean": [0, 0, 0]}):
        assert key(one, **different) != base, different


def test_a_key_moves_with_a_file_that_is_read_for_an_image(tmp_path) -> None:
    stimulus = image(tmp_path)
    keys = []
    for folder, value in (("x", 1.0), ("y", 1.0), ("z", 2.0)):
        array(tmp_path / folder / "a.npy", np.full(SIZE, value))
        keys.append(key_of(stimulus, "precomputed", root=str(tmp_path / folder)))
    assert keys[0] == keys[1] != keys[2]
    density = key_of(stimulus, "precomputed", root=str(tmp_path / "x"), output="density")
    assert density != keys[0]


def test_a_key_moves_with_the_people_where_they_are_the_model() -> None:
    def key(x, sigma=3.0, **settings):
        points = Points(
            np.array(x), np.array([1.0, 2.0]), np.array([0, 1], dtype=np.int32), ("a", "b")
        )
        stimulus = FileStimulus(image_id="a", size=SIZE, points=points, sigma_px=sigma)
        return key_of(stimulus, "gold_standard", **settings)

    base = key([1.0, 2.0])
    assert key([1.0, 2.0]) == base
    assert (
        len({base, key([1.0, 3.0]), key([1.0, 2.0], 4.0), key([1.0, 2.0], bandwidth_px=3.0)}) == 4
    )


DETECTOR = "fasterrcnn_resnet50_fpn"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch) -> Path:
    """Empty caches, and no network."""
    from huggingface_hub import constants

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_weights_of_torchvision(caches) -> None:
    settings = {"weights": "torchvision", "weights_path": None, "backbone": DETECTOR}
    assert describe_download("model e", settings) == (
        f"model e: its weights (torchvision, {DETECTOR}) are not on this machine; a run downloads "
        f"them to {caches / 'torch/hub/checkpoints'}."
    )
    file = caches / "torch/hub/checkpoints/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    note = describe_download("model e", settings)
    assert note == f"model e: its weights (torchvision, {DETECTOR}) are on this machine: {file}."
    classifier = caches / "torch/hub/checkpoints/resnet50-11ad3fa6.pth"
    assert "not on this machine" in str(describe_release("m", "torchvision", "resnet50"))
    classifier.touch()
    assert str(classifier) in str(describe_release("m", "torchvision", "resnet50"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_timm(caches, name) -> None:
    settings = {"weights": "timm", "weights_path": None, "model": "resnet50.a1_in1k"}
    note = str(describe_download("model g", settings))
    assert "are not on this machine" in note
    assert str(caches / "hub") in note
    folder = caches / "hub/models--timm--resnet50.a1_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    file = folder / "snapshots/abc" / name
    file.parent.mkdir(parents=True)
    file.touch()
    assert str(file) in str(describe_download("model g", settings))


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"weights": "none", "model": "resnet50"}, {"weights": None, "model": "resnet50"},
        {"weights": "timm", "weights_path": "w.pth", "model": "resnet50"},
        {"weights": "timm", "model": None}, {"weights": "timm", "model": "no_such_net"},
        {"weights": "timm", "model": "resnet50.no_such_tag"},
        {"weights": "torchvision", "backbone": "no_such_net"},
    ],
)  # fmt: skip
def test_nothing_is_reported_of_what_is_not_downloaded(settings) -> None:
    assert describe_download("model m", settings) is None


def test_a_dry_run_and_the_doctor_say_it_without_the_network(caches) -> None:
    from typer.testing import CliRunner

    from clickmap_cli.app import app
    from tests.datasets.scenes import picture

    picture(caches / "set/images/a.png", seed=1)
    (caches / "set/fixations.csv").write_text("image,subject,order,x,y\na.png,s,0,3,4\n")
    config = caches / "b.yaml"
    config.write_text(
        f"datasets: [{{name: fixations_csv, csv: {caches / 'set/fixations.csv'}, "
        f"images: {caches / 'set/images'}}}]\noutput_dir: {caches / 'out'}\n"
        "models: [{name: gradient, weights: timm, model: resnet18}, {name: uniform}]\n"
    )
    for words in (["benchmark", "-c", config, "--dry-run"], ["doctor", "-c", config]):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        said = " ".join(done.stderr.split())
        assert "model gradient: its weights (timm, resnet18) are not on this machine" in said
        assert "uniform: its weights" not in said


def test_a_dry_fine_tuning_downloads_nothing_either(caches) -> None:
    from typer.testing import CliRunner

    from clickmap_cli.app import app
    from tests.datasets.scenes import picture

    rows = []
    for at in range(6):
        picture(caches / f"set/images/{at}.png", seed=at)
        rows.append(f"{at}.png,s,0,3,4\n")
    csv = caches / "set/fixations.csv"
    csv.write_text("image,subject,order,x,y\n" + "".join(rows))
    words = [
        f"datasets=[{{name: fixations_csv, csv: {csv}, images: {caches / 'set/images'}}}]",
        "model={name: readout, backbone: resnet18, layers: [layer1], weights: timm, widths: [4]}",
        f"output_dir={caches / 'out'}", "cv.folds=2", "training.lr=0.01", "training.epochs=1",
    ]  # fmt: skip
    done = CliRunner().invoke(app, ["finetune", *words, "freeze.blocks=[head]", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "its weights (timm, resnet18) are not on this machine" in " ".join(done.stderr.split())
    wrong = CliRunner().invoke(app, ["finetune", *words, "freeze.blocks=[haed]", "--dry-run"])
    assert wrong.exit_code == 2
