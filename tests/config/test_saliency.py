"""Fine-tuning's schema: what is recognised, what is refused, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.loading import SALIENCY, load_any, load_config, schema_of
from clickmap_cli.config.saliency import (
    CvSettings,
    Freeze,
    FreezeSettings,
    SaliencyConfig,
    TrainingSettings,
    WandbSettings,
    freeze_of,
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
    assert freeze_of(load().freeze) == Freeze()


def test_fold_files_say_how_many_folds_there_are() -> None:
    assert load("cv.fold_files=[a.txt,b.txt,c.txt]").cv.folds == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.learning_rate=1"], "unknown key 'training.learning_rate'"),
        (["task=keypoints"], "task is 'keypoints'"),
        (["model=null"], "model names no model"),
        (["datasets=[folder,salicon]"], "names several data sets"),
        (["freeze.blocks=[neck]"], "freeze.blocks: no block 'neck'"),
        (["freeze.mode=thaw"], "freeze.mode is 'thaw'"),
        (["training.stages=[{lr: fast}]"], "lr is 'fast'; it must be a number"),
        (["training.stages=[{epochs: 0}]"], "epochs is 0; it must be 1 or more"),
        (["training.stages=[{nme: a}]"], "unknown key 'nme'. Did you mean 'name'"),
        (["training.stages=[{name: a},{name: a}]"], "two stages are called 'a'"),
        (["training.stages=[{schedule: cosin}]"], "Did you mean 'cosine'"),
        (["training.stages=[{freeze: {block: a}}]"], "unknown key 'block'"),
        (["training.stages=[]"], "must be a list of stages"),
        (["training.block_lr={neck: 1}"], "no block 'neck'"),
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


def test_every_key_is_documented_and_used() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "clickmap_cli").rglob("*.py"))
    for schema in (SaliencyConfig, FreezeSettings, TrainingSettings, CvSettings, WandbSettings):
        for name, known in keys_of(schema).items():
            assert known.help.endswith("."), name
            read = rf"(config|settings|training|cv|wandb|stage|_stage)\.{name}\b|\"{name}\""
            assert re.search(read, code), name
