"""Fine-tuning's schema: what is recognised, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickmap_cli.config.loading import SALIENCY, load_any, load_config, schema_of
from clickmap_cli.config.saliency import (
    Freeze,
    stages_of,
)
from clickmap_cli.runtime.errors import ConfigError

ROOT = Path(__file__).parents[2]
BASE = ("model=readout", "datasets=[folder]")


def load(*words: str):
    return load_config(SALIENCY, None, [*BASE, *words]).config


def test_a_file_with_a_task_is_a_fine_tuning(tmp_path) -> None:
    path = tmp_path / "ft.yaml"
    path.write_text("task: saliency\nmodel: readout\ndatasets: [folder]\n")
    assert schema_of(path) is SALIENCY
    assert load_any(path).config.loss == "kl"


def test_stages_take_what_they_do_not_say_from_the_training() -> None:
    config = load(
        "training.lr=0.5", "training.schedule=step", "freeze.blocks=head",
        "training.stages=[{name: a, epochs: 2, lr: 1e-3}, "
        "{freeze: {mode: freeze_blocks, blocks: [backbone], backbone_last_n_modules: 2}, "
        "block_lr: {head: 0.1}}]",
    )  # fmt: skip
    first, second = stages_of(config)
    assert (first.name, first.epochs, first.lr, first.schedule) == ("a", 2, 1e-3, "step")
    assert first.freeze == Freeze("train_blocks", ["head"])
    assert (second.name, second.epochs, second.lr) == ("stage_2", 10, 0.5)
    assert second.freeze == Freeze("freeze_blocks", ["backbone"], 2)
    assert second.block_lr == {"head": 0.1}
    assert load().freeze == Freeze()


def test_fold_files_say_how_many_folds_there_are() -> None:
    assert load("cv.fold_files=[a.txt,b.txt,c.txt]").cv.folds == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.learning_rate=1"], "unknown key 'training.learning_rate'"),
        (["task=keypoints"], "task is 'keypoints'"),
        (["model=null"], "model names no model"),
        (["datasets=[folder,salicon]"], "names several data sets"),
        (["freeze.blocks=[neck]"], "freeze.blocks is 'neck'; it must be one of backbone, saliency"),
        (["freeze.mode=thaw"], "freeze.mode is 'thaw'"),
        (["training.stages=[{lr: fast}]"], "stages.0.lr is 'fast'; it must be a number"),
        (["training.stages=[{epochs: 0}]"], "stages.0.epochs is 0; the least allowed is 1"),
        (
            ["training.stages=[{nme: a}]"],
            "unknown key 'training.stages.0.nme'. Did you mean 'name'",
        ),
        (["training.stages=[{name: a},{name: a}]"], "two stages are called 'a'"),
        (["training.stages=[{schedule: cosin}]"], "Did you mean 'cosine'"),
        (
            ["training.stages=[{freeze: {block: a}}]"],
            "unknown key 'training.stages.0.freeze.block'",
        ),
        (["training.stages=a"], "training.stages is 'a'; it must be a list"),
        (["training.stages=[a]"], "training.stages.0 is 'a'; it must hold 'key: value' pairs"),
        (
            ["training.block_lr={neck: 1}"],
            "training.block_lr has 'neck'; it must be one of backbone",
        ),
        (["training.block_lr={head: -1}"], "training.block_lr is -1.0; the least allowed is 0"),
        (["training.block_lr=3"], "training.block_lr is 3; it must be 'name: value' pairs"),
        (["cv.only_folds=[5]"], "cv.only_folds has 5; the folds are 1 to 4"),
        (["gt_aggregate=random", "gt_cache_dir=x"], "gt_aggregate is random and gt_cache_dir"),
        (["loss=nll_fixations", "gt_cache_dir=x"], "learns from points"),
        (["cv.group_by=participant", "gt_cache_dir=x"], "holds maps of everybody"),
        (["metrics=[NNS]"], "Did you mean"),
        (["n_jobs=0"], "n_jobs is 0"),
        (["wandb.mode=quiet"], "wandb.mode is 'quiet'"),
    ],
)
def test_wrong_values_are_named(words, message) -> None:
    with pytest.raises(ConfigError) as error:
        load(*words)
    assert message in str(error.value)
