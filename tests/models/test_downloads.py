"""Whether weights that would be downloaded are on this machine: caches laid out by hand."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from clickmap_cli.models.downloads import download_note, release_note

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
    assert download_note("model e", settings) == (
        f"model e: its weights (torchvision, {DETECTOR}) are not on this machine; a run downloads "
        f"them to {caches / 'torch/hub/checkpoints'}."
    )
    file = caches / "torch/hub/checkpoints/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    note = download_note("model e", settings)
    assert note == f"model e: its weights (torchvision, {DETECTOR}) are on this machine: {file}."
    classifier = caches / "torch/hub/checkpoints/resnet50-11ad3fa6.pth"
    assert "not on this machine" in str(release_note("m", "torchvision", "resnet50"))
    classifier.touch()
    assert str(classifier) in str(release_note("m", "torchvision", "resnet50"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_timm(caches, name) -> None:
    settings = {"weights": "timm", "weights_path": None, "model": "resnet50.a1_in1k"}
    note = str(download_note("model g", settings))
    assert "are not on this machine" in note
    assert str(caches / "hub") in note
    folder = caches / "hub/models--timm--resnet50.a1_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    file = folder / "snapshots/abc" / name
    file.parent.mkdir(parents=True)
    file.touch()
    assert str(file) in str(download_note("model g", settings))


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
def test_nothing_is_said_of_what_is_not_downloaded(settings) -> None:
    assert download_note("model m", settings) is None


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
