"""Keys that no other test sets, from a configuration to what they change."""

from __future__ import annotations

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from clickmap_cli.config.loading import SALIENCY, load_config, load_experiment
from clickmap_cli.config.saliency import stages_of
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.training.optimisation import make_optimizer
from tests.helpers.studies import read_csv, write_csv
from tests.services.benchmark.test_run import write_corpus
from tests.services.ceiling import test_run as test_ceiling
from tests.services.finetune import test_run as test_finetune
from tests.services.keypoints import test_run as test_keypoints


def test_exponential_decay_weighs_clicks_by_their_order(tmp_path) -> None:
    rows = [
        ("a/1.png", "ann", [(1, 1), (2, 2), (3, 3)]),
        ("a/1.png", "bob", [(3, 3), (1, 1), (1, 1)]),
    ]
    data = write_csv(tmp_path / "trials.csv", rows)
    words = [
        f"clickme_data={data}", f"assets={tmp_path}", "image_shape=[8,8]", "kernel_type=none",
        "min_clicks=1", "min_subjects=1", "display_image_keys=null", "n_jobs=1",
        "exponential_decay=true", "decay_tau=2", "duplicate_maps=keep_all",
    ]  # fmt: skip
    config = load_experiment(None, words).config
    made = prepare.run(config, Silent(), draw_example)
    with h5py.File(made.folder / "maps.h5") as file:
        (found,) = (group["clickmap"][0] for group in file["clickmaps"].values())
    w = [math.exp(-k / 2) for k in range(3)]
    wanted = np.zeros((8, 8))
    wanted[1, 1] = (w[0] + w[1] + w[2]) / 2
    wanted[2, 2] = w[1] / 2
    wanted[3, 3] = (w[2] + w[0]) / 2
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("target", [0.5, 0.95])
def test_target_reliability_says_how_many_participants_are_needed(tmp_path, target) -> None:
    # everybody clicks around the same place, so that one participant tells something of another
    rng = np.random.default_rng(0)
    rows = []
    for i in range(4):
        for u in range(8):
            clicks = rng.integers(4 + 3 * i, 14 + 3 * i, (15, 2)).tolist()
            rows.append((f"a/{i}.png", f"u{u}", [(x, y) for x, y in clicks]))
    data = write_csv(tmp_path / "trials.csv", rows)
    words = ("metric=pearson", f"target_reliability={target}")
    found = test_ceiling.run(data, "split-half", *words, subject_curve=True)[
        0
    ].summary.summary.as_json()
    single = found["single_participant_reliability"]
    assert 0 < single < 1
    assert found["target_reliability"] == target
    reached = [n * single / (1 + (n - 1) * single) >= target - 1e-12 for n in range(1, 10_000)]
    assert found["participants_needed"] == 1 + reached.index(True)


def first_loss(corpus: Path, out: Path, *words: str) -> float:
    more = ("cv.only_folds=[1]", "training.epochs=1", "training.lr=0", *words)
    test_finetune.run(test_finetune.words_for(corpus, out, *more))
    return float(read_csv(out / "fold_01" / "history.csv")[0]["train_loss"])


def test_gt_resize_interp_is_how_cached_maps_come_to_the_images_size(tmp_path) -> None:
    corpus = write_corpus(tmp_path / "c", n_images=6)
    cache = tmp_path / "maps"
    cache.mkdir()
    rng = np.random.default_rng(0)
    for image in (corpus / "images").iterdir():
        np.save(cache / f"{image.stem}.npy", rng.random((5, 6)).astype(np.float32) ** 4)
    losses = {
        how: first_loss(corpus, tmp_path / how, f"gt_cache_dir={cache}", f"gt_resize_interp={how}")
        for how in ("bilinear", "bicubic")
    }
    # bicubic maps are sharper, so the same prediction is further from them
    assert losses["bicubic"] > losses["bilinear"] + 1e-3


def test_momentum_is_sgds() -> None:
    words = ["training.optimizer=sgd", "training.momentum=0.5", "training.lr=0.1", "model.name=x",
             "training.schedule=constant", "datasets=[{name: folder, root: x}]"]  # fmt: skip
    config = load_config(SALIENCY, None, words).config
    network = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False))
    (weight,) = network.parameters()
    with torch.no_grad():
        weight.fill_(1.0)
    optimizer = make_optimizer(
        network, stages_of(config)[0], config.training.optimizer, config.training.momentum
    )
    value, velocity = 1.0, 0.0
    for gradient in (1.0, -0.5, 2.0):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        velocity = 0.5 * velocity + gradient
        value -= 0.1 * velocity
        assert float(weight.detach()) == pytest.approx(value, abs=1e-6)


def told(folder: Path) -> bytes:
    """Everything that offline runs of Weights & Biases wrote under a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.wandb")))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_and_biases_is_told_what_the_keys_of_wandb_say(tmp_path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    corpus = write_corpus(tmp_path / "c", n_images=6)
    words = (
        "wandb.enabled=true", "wandb.mode=offline", "wandb.entity=our-team", "wandb.name=our-name",
        "wandb.project=our-project", "wandb.group=our-group", "wandb.notes=our-notes",
        "wandb.tags=[our-tag]", f"wandb.dir={tmp_path / 'logs'}",
    )  # fmt: skip
    first_loss(corpus, tmp_path / "out", *words)
    assert not told(tmp_path / "out")
    text = told(tmp_path / "logs")
    for word in ("team", "name_fold_01", "project", "group", "notes", "tag"):
        assert f"our-{word}".encode() in text, word


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("mode", "keeps"), [("offline", True), ("disabled", False)])
def test_key_points_log_as_wandb_mode_says(tmp_path, mode, keeps) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    test_keypoints.write_faces(tmp_path / "faces", 6)
    test_keypoints.run(
        tmp_path / "faces", "num_epochs=1", "use_wandb=true", f"wandb_mode={mode}",
        "wandb_project_name=our-faces", "attention_images=0", "overlay_images=0",
    )  # fmt: skip
    text = told(tmp_path / "faces" / "out")
    assert bool(text) is keeps
    assert (b"our-faces" in text) is keeps
    summary = json.loads((tmp_path / "faces" / "out" / "summary.json").read_text())
    assert summary["n_test"] >= 1
