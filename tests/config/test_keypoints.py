"""The flat schema of key points: the field's names and defaults, and what is refused."""

from __future__ import annotations

import pytest

from clickmap_cli.config.loading import KEYPOINTS, SALIENCY, load_any, load_config, schema_of
from clickmap_cli.runtime.errors import ConfigError


def load(*words: str):
    return load_config(KEYPOINTS, None, words).config


PUBLISHED = """\
name: mouse
dataset: mice
root_directory: /data
model_type: ViT-B_16
pretrained_dir: ViT-B_16.npz
output_dir: output
img_size: 224
train_batch_size: 20
eval_batch_size: 20
eval_every: 10
learning_rate: 2e-4
weight_decay: 1e-2
num_epochs: 50
decay_type: cosine
warmup_steps: 500
max_grad_norm: 1.0
local_rank: -1
seed: 42
gradient_accumulation_steps: 1
fp16: true
fp16_opt_level: O2
loss_scale: 0
device: cuda
n_KPs: 12
train_csv_file: train.csv
train_data_dir: images
test_csv_file: test.csv
test_data_dir: images
save_every: 10
use_wandb: false
wandb_project_name: mice
"""


def test_every_key_of_the_fields_script_is_taken(tmp_path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(PUBLISHED)
    assert schema_of(path) is KEYPOINTS  # by its keys, without a task
    loaded = load_any(path)
    config = loaded.config
    assert (config.decay_type, config.eval_every, config.save_every) == ("cosine", 10, 10)
    assert config.eval_every_epochs is None  # eval_every counts steps, as the script does
    assert (config.fp16, config.fp16_opt_level, config.loss_scale) == (True, "O2", 0)
    assert loaded.notices == (
        "script.yaml sets no task: it is read as task: keypoints.",
        "Keys that are no longer needed and were ignored: local_rank.",
    )


def test_defaults_are_those_of_the_script() -> None:
    config = load()
    found = (
        config.model_type, config.img_size, config.train_batch_size, config.learning_rate,
        config.weight_decay, config.num_epochs, config.decay_type, config.warmup_steps,
        config.max_grad_norm, config.seed, config.alpha, config.monitor,
    )  # fmt: skip
    assert found == ("ViT-B_16", 224, 20, 2e-4, 1e-2, 50, "linear", 500, 1.0, 42, 0.1, "rmse")


def test_the_task_may_come_from_the_command_line(tmp_path) -> None:
    assert schema_of(None, ["task=keypoints"]) is KEYPOINTS
    assert schema_of(None, ["task=saliency"]) is SALIENCY
    path = tmp_path / "odd.yaml"
    path.write_text("task: keypoint\n")
    with pytest.raises(ConfigError, match="'keypoints'"):
        schema_of(path)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("n_jobs=0", "n_jobs is 0"),
        ("gradient_accumulation_steps=3", "must divide train_batch_size"),
        (
            "reference_points=eye",
            "reference_points is 'eye'; it must be a list of 2 whole numbers or w",
        ),
        ("reference_points=[1, 1]", "two different points"),
        ("reference_points=[1.5, 2]", "it must be a list of 2 whole numbers or words"),
        ("augment={pairs: [[a, b], [b, c]]}", "a name stands once"),
        ("augment={pairs: [[a]]}", "two names"),
        ("augment={turn: 3}", "unknown key 'augment.turn'"),
        ("augment={scale: 1.5}", "the most allowed is 0.9"),
        ("decay_type=step", "decay_type is 'step'"),
        ("monitor=accuracy", "monitor is 'accuracy'"),
        ("eval_every=0", "the least allowed is 1"),
        ("num_epoch=3", "unknown key 'num_epoch'"),
        ("num_epochs=0", "the least allowed is 1"),
    ],
)
def test_mistakes_are_sentences(word, says) -> None:
    with pytest.raises(ConfigError) as caught:
        load(word)
    assert says in str(caught.value)


def test_evaluations_are_counted_in_steps_or_in_epochs() -> None:
    assert (load().eval_every, load().eval_every_epochs) == (None, None)
    assert load("eval_every_epochs=2").eval_every is None
    with pytest.raises(ConfigError) as caught:
        load("eval_every=100", "eval_every_epochs=2")
    assert "eval_every is 100 (steps) and eval_every_epochs 2" in str(caught.value)
    assert "set one of them" in str(caught.value)
