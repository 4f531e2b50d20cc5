"""The schema of `train-classifier`'s heatmaps: what is recognised, what is refused, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickmap_cli.config.classifier import (
    ClassifierConfig,
    classes_in_order,
)
from clickmap_cli.config.loading import (
    CLASSIFIER,
    PARTICIPANT_QUALITY,
    load_any,
    load_config,
    schema_of,
)
from clickmap_cli.runtime.errors import ConfigError

ROOT = Path(__file__).parents[2]


def load(*words: str) -> ClassifierConfig:
    return load_config(CLASSIFIER, None, ["data.root=maps", *words]).config


@pytest.mark.parametrize("task", ["classifier", "heatmap", "Heatmap_CNN", "heatmap-classifier"])
def test_a_file_with_this_task_or_an_old_word_for_it_is_of_this_kind(tmp_path, task) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"task: {task}\ndata: {{root: maps}}\n")
    assert schema_of(path) is CLASSIFIER
    config = load_any(path).config
    assert (config.data.root, config.task) == ("maps", "classifier")
    assert schema_of(None, ["task=participant-quality"]) is PARTICIPANT_QUALITY


def test_defaults_are_the_published_division_and_what_the_simulated_study_likes() -> None:
    config = load()
    assert (config.cv.outer_kfolds, config.cv.inner_kfolds) == (5, 4)
    assert config.cv.inner_mode == "restart"
    assert (config.model.name, config.model.in_size, config.model.dropout) == ("base", 16, 0.4)
    training = config.training
    assert (training.num_epochs, training.lr, training.weight_decay) == (15, 3e-3, 0.01)
    assert (training.schedule, training.optimizer, training.batch_size) == ("cosine", "adamw", 16)
    assert (config.permutations, config.baseline, config.shuffle_labels) == (1000, True, False)
    assert config.interpretation.enabled


def test_the_config_that_comes_along_is_for_the_simulated_study() -> None:
    config = load_any(ROOT / "configs/heatmap_cnn.yaml").config
    assert isinstance(config, ClassifierConfig)
    assert (config.data.root, config.data.size) == ("reading_study", [32, 32])
    assert config.training.autosave


def test_sizes_and_classes_may_be_written_in_several_ways() -> None:
    assert load("data.size=32").data.size == [32, 32]
    assert load("data.size=[32,48]").data.size == [32, 48]
    assert load("data.size=false").data.size is None
    assert load("data.classes=[1,2]").data.classes == ["1", "2"]


def test_a_part_that_is_on_can_be_switched_off() -> None:
    assert not load("interpretation=false").interpretation.enabled
    assert not load("interpretation.enabled=false").interpretation.enabled
    assert load("interpretation=null").interpretation.enabled
    assert load("interpretation.n_images=2").interpretation.enabled


def test_the_positive_class_is_the_last() -> None:
    assert classes_in_order(["a", "b", "c"], None) == ("a", "b", "c")
    assert classes_in_order(["a", "b", "c"], "a") == ("b", "c", "a")
    with pytest.raises(ConfigError, match="positive is 'z', and the classes are a, b"):
        classes_in_order(["a", "b"], "z")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.root=null"], "data has no root"),
        (["data.size=[32]"], "data.size is [32]; it must hold 2 values"),
        (["data.size=[32,4]"], "data.size is 4; the least allowed is 8"),
        (
            ["data.size=[32,wide]"],
            "data.size is [32, 'wide']; it must be a list of 2 whole numbers",
        ),
        (["data.classes=[C]"], "a list of two or more"),
        (["data.classes=[C,C]"], "a list of two or more"),
        (["data.classes=[C,P]", "data.positive=F"], "positive 'F', which is none of its classes"),
        (["data.labels=x.csv", "data.colour=true"], "have no colours"),
        (["model.weights=timm"], "base, which has no weights"),
        (["model.weights_path=x.pth"], "base, which has no weights"),
        (["model.name=resnet18", "model.weights=timm", "model.weights_path=x"], "keep one"),
        (["model.weights=imagenet"], "model.weights is 'imagenet'"),
        (["model.dropout=1"], "the most allowed is 0.95"),
        (["training.learning_rate=1"], "unknown key 'training.learning_rate'"),
        (["training.schedule=plateau"], "training.schedule is 'plateau'"),
        (["cv.inner_mode=sequental"], "it must be one of restart, sequential"),
        (["cv.outer_kfolds=1"], "the least allowed is 2"),
        (["cv.only_folds=[6]"], "cv.only_folds has 6; the folds are 1 to 5"),
        (["interpretation.samples=3"], "unknown key 'interpretation.samples'"),
        (["n_jobs=0"], "n_jobs is 0"),
        (["task=saliency"], "task is 'saliency'"),
    ],
)
def test_wrong_values_are_named(words, message) -> None:
    with pytest.raises(ConfigError) as error:
        load(*words)
    assert message in str(error.value)
