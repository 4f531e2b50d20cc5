"""`finetune` from a config to tables: folds, kills, checkpoints that a benchmark takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.config.loading import BENCHMARK, SALIENCY, load_config
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.finetune import run as finetune
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.training_views import TrainingViews
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from tests.helpers.studies import read_csv
from tests.services.benchmark.test_run import FIGURES, write_corpus

MODEL = "model={name: readout, backbone: test_resnet, layers: [layer1], weights: none, widths: [4]}"
METRICS = "metrics=[NSS,CC,KL]"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", n_images=6)


def words_for(corpus: Path, out: Path, *more: str) -> list[str]:
    data = f"label: toy, csv: {corpus / 'fix.csv'}, images: {corpus / 'images'}, sigma_px: 3"
    return [
        MODEL,
        f"datasets=[{{name: fixations_csv, {data}}}]",
        f"output_dir={out}", METRICS, "n_jobs=1", "device=cpu", "cv.folds=2", "training.lr=0.01",
        "training.epochs=2", "freeze.blocks=[head]", *more,
    ]  # fmt: skip


class Views(list):
    """Keeps what is shown; interrupts at a chosen line."""

    def __init__(self, kill_at: int = 0) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.kill_at = kill_at

    def made(self) -> TrainingViews:
        return TrainingViews(lambda title, rows: self.append((title, rows)), self.live)

    def live(self, text: str) -> None:
        self.lines.append(text)
        if len(self.lines) == self.kill_at:
            raise KeyboardInterrupt


def run(
    words: list[str], views: Views | None = None, progress: Silent | None = None, **kwargs
) -> Outcome:
    config = load_config(SALIENCY, None, words).config
    views = Views() if views is None else views
    return finetune.run(config, progress or Silent(), views.made(), **kwargs)


@pytest.fixture(scope="module")
def whole(corpus) -> tuple[Path, Outcome, Views]:
    out, views = corpus / "whole", Views()
    return out, run(words_for(corpus, out), views), views


def test_every_file_of_a_run_is_there_and_stated(whole) -> None:
    out, found, views = whole
    assert not found.failures
    manifest = load_manifest(out)
    assert not damaged_outputs(out, manifest.outputs)
    for fold in ("fold_01", "fold_02"):
        for name in ("best.pth", "final.pth", "last.pth", "history.csv", "test.txt"):
            assert f"{fold}/{name}" in manifest.outputs
        assert len(read_csv(out / fold / "history.csv")) == 2
    summary = (out / "cv_summary.csv").read_bytes()
    assert (out / "readout_finetuned_cv_summary.csv").read_bytes() == summary
    assert [title for title, _ in views] == [f"fold {k} of 2, stage train" for k in (1, 2)]
    rows = {row.block: row.trainable for row in views[0][1]}
    assert rows["backbone"] == 0 < rows["saliency"]
    assert views.lines[-1].startswith("fold 2 of 2, train, epoch 2: loss")
    assert "val NSS" in views.lines[-1]


def test_the_summary_follows_from_the_images(whole) -> None:
    out = whole[0]
    images = read_csv(out / "held_out.csv")
    assert len(images) == 3 * 6
    tuned = [row for row in images if row["model"] == "finetuned"]
    assert sorted(row["image_id"] for row in tuned) == [f"i{k}" for k in range(6)]
    for row in read_csv(out / "cv_summary.csv"):
        ours = [image for image in images if image["model"] == row["model"]]
        folds = [
            np.mean([float(image[row["metric"]]) for image in ours if image["fold"] == fold])
            for fold in ("fold_01", "fold_02")
        ]
        assert [float(row["fold_01"]), float(row["fold_02"])] == pytest.approx(folds)
        assert float(row["mean"]) == pytest.approx(np.mean(folds))
        assert float(row["sd"]) == pytest.approx(np.std(folds, ddof=1))
        assert float(row["low"]) <= float(row["image_mean"]) <= float(row["high"])
        assert row["n_images"] == "6"


def test_a_benchmark_takes_a_folds_checkpoint_and_gives_the_same_scores(corpus, whole) -> None:
    out = whole[0]
    model = MODEL.removeprefix("model={").removesuffix("}").replace("weights: none, ", "")
    data = words_for(corpus, out)[1]
    config = load_config(BENCHMARK, None, [
        f"models=[{{{model}, weights_path: {out / 'fold_01' / 'best.pth'}}}]", data, METRICS,
        f"output_dir={corpus / 'bench'}", "n_jobs=1", "device=cpu", "ceiling=false",
    ]).config  # fmt: skip
    benchmark.run(config, Silent(), FIGURES)
    theirs = {row["image_id"]: row for row in read_csv(corpus / "bench" / "toy__readout.csv")}
    ours = [
        row for row in read_csv(out / "held_out.csv")
        if row["fold"] == "fold_01" and row["model"] == "finetuned"
    ]  # fmt: skip
    assert len(ours) == 3
    for row in ours:
        for metric in ("NSS", "CC", "KL"):
            assert float(row[metric]) == pytest.approx(float(theirs[row["image_id"]][metric]))


@pytest.mark.parametrize("kill_at", [2, 3])
def test_a_killed_run_resumed_ends_with_the_same_tables(corpus, whole, tmp_path, kill_at) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(words_for(corpus, out), Views(kill_at))
    with pytest.raises(ConfigError, match="unfinished finetune run"):
        run(words_for(corpus, out))
    run(words_for(corpus, out), when=WhenPresent.RESUME)
    for name in ("cv_summary.csv", "held_out.csv", "fold_01/history.csv", "fold_02/history.csv"):
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name
    again = Views()
    run(words_for(corpus, out), again, when=WhenPresent.RESUME)
    assert not again.lines
    with pytest.raises(ConfigError, match="other settings or inputs"):
        run(words_for(corpus, out, "training.lr=0.02"), when=WhenPresent.RESUME)


def test_people_and_a_holdout_list(corpus, tmp_path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("i5\n")
    out = tmp_path / "out"
    run(words_for(
        corpus, out, "cv.group_by=participant", f"cv.holdout={held}", "training.epochs=1",
        "loss=nll_fixations", "gt_aggregate=random", "cv.only_folds=2", "cv.val_share=0",
    ))  # fmt: skip
    rows = read_csv(out / "held_out.csv")
    held_out = [r for r in rows if (r["split"], r["model"]) == ("held_out", "finetuned")]
    assert [row["image_id"] for row in held_out] == [f"i{k}" for k in range(5)]
    assert {row["image_id"] for row in rows if row["split"] == "holdout"} == {"i5"}
    assert not (out / "fold_01").exists()
    assert {row["split"] for row in read_csv(out / "cv_summary.csv")} == {"held_out", "holdout"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["freeze.blocks=[fixation_selection]"], "no block 'fixation_selection'; it has: backbone"),
        (["training.block_lr={fixation_selection: 1}"], "no block 'fixation_selection'"),
        (["cv.folds=7"], "Fold 7 is empty"),
        (["model=center_bias"], "center_bias is not a PyTorch network"),
        (["model={name: readout, weights: none, wieghts: 1}"], "Did you mean 'weights'"),
    ],
)
def test_what_cannot_work_is_reported_before_anything_is_written(
    corpus, tmp_path, words, message
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(words_for(corpus, tmp_path / "out", *words))
    assert not (tmp_path / "out").exists()


def test_images_without_truth_are_named(corpus, tmp_path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(corpus / "images", bare / "images")
    data = f"datasets=[{{name: folder, root: {bare}}}]"
    words = [word for word in words_for(corpus, tmp_path / "out") if "datasets" not in word]
    with pytest.raises(DataError, match=r"none of its 6 images has fixations .*bare/gt_maps/<id>"):
        run([*words, data])
    shape = np.asarray(Image.open(bare / "images/i0.png")).shape[:2]
    (bare / "gt_maps").mkdir()
    np.save(bare / "gt_maps/i0.npy", np.random.default_rng(0).random(shape))
    with pytest.raises(DataError, match="i1: no ground truth to learn from"):
        run([*words, data])


def test_a_dry_run_writes_nothing(corpus, tmp_path) -> None:
    found = run(words_for(corpus, tmp_path / "out"), dry_run=True)
    assert not found.written
    assert not (tmp_path / "out").exists()


def test_the_command_under_torchrun_gives_the_numbers_of_one_process(corpus, whole, tmp_path):
    words = words_for(corpus, tmp_path / "out")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "clickmap_cli", "finetune", *words, "--json"],
        capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ours = json.loads(done.stdout)
    theirs = whole[1].summary.as_json()
    for a, b in zip(ours["results"], theirs["results"], strict=True):
        assert (a["metric"], a["model"]) == (b["metric"], b["model"])
        assert a["mean"] == pytest.approx(b["mean"], abs=1e-4)
