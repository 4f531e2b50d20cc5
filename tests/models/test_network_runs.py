"""Each network once from the command line, with random weights, on two tiny images."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.datasets.scenes import array, picture

NETWORKS = {
    "msi_net": "type: msi_net, requires_size: [24, 32]",
    "rollout": "type: vit_attention, model: vit_tiny_patch16_224, requires_size: [32, 48]",
    "grad_rollout": "type: vit_attention, model: test_vit, method: gradient, discard_ratio: 0.5",
    "gradient": "type: gradient, model: resnet18, requires_size: [32, 48]",
    "smoothgrad": "type: gradient, model: test_resnet, method: smoothgrad, n_samples: 2",
    "integrated": "type: gradient, model: test_vit, method: integrated, steps: 2",
}


@pytest.fixture
def images(tmp_path):
    for seed, name in enumerate(("a", "b")):
        picture(tmp_path / "data" / "images" / f"{name}.png", (20, 30 - 5 * seed), seed)
        rng = np.random.default_rng(seed)
        array(tmp_path / "data" / "gt_maps" / f"{name}.npy", rng.uniform(size=(20, 30 - 5 * seed)))
    return tmp_path / "data"


def invoke(*words):
    return CliRunner().invoke(app, ["benchmark", *(str(word) for word in words)])


def test_networks_in_a_benchmark(tmp_path, images) -> None:
    models = ", ".join(
        f"{{name: {name}, weights: none, {rest}}}" for name, rest in NETWORKS.items()
    )
    words = [f"models=[{models}]", f"datasets=[{{name: folder, root: {images}}}]", "n_jobs=1",
             "metrics=[CC]", "heatmaps_png.enabled=false", "report_images=0"]  # fmt: skip
    found = {}
    for run in ("one", "again"):
        ended = invoke("--output", tmp_path / run, "--device", "cpu", *words)
        assert ended.exit_code == 0, ended.output
        for name in NETWORKS:
            assert name in ended.output
            with (tmp_path / run / f"folder__{name}.csv").open(newline="") as file:
                rows = {row["image_id"]: float(row["CC"]) for row in csv.DictReader(file)}
            assert set(rows) == {"a", "b"}
            found[run, name] = rows
        assert "its scores mean nothing" in " ".join(ended.output.split())
    for name in NETWORKS:
        assert found["one", name] == found["again", name]
        assert all(math.isfinite(score) and score != 0 for score in found["one", name].values())


@pytest.mark.parametrize("model", ["msi_net", "vit_attention", "gradient"])
def test_random_weights_must_be_asked_for(tmp_path, images, model) -> None:
    ended = invoke(f"models=[{model}]", f"datasets=[{{name: folder, root: {images}}}]",
                   "--output", tmp_path / "out")  # fmt: skip
    assert ended.exit_code == 2
    assert "weights: none for random weights" in " ".join(ended.output.split())
    assert not (tmp_path / "out").exists()


def test_the_listing_names_them() -> None:
    ended = invoke("--list", "--json")
    named = json.dumps(json.loads(ended.output))
    for name in ("msi_net", "msi_net_tf", "vit_attention", "gradient"):
        assert f'"{name}"' in named
