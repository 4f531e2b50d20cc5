"""Fine-tuning files of the saliency playground: what is understood, and how the rest is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clickmap_cli.config.benchmark import model_specs
from clickmap_cli.config.loading import (
    BENCHMARK,
    EXPERIMENT,
    KEYPOINTS,
    SALIENCY,
    as_dict,
    load_any,
    load_config,
    missing_keys,
    schema_of,
    updated_text,
)
from clickmap_cli.config.saliency import Freeze, stages_of
from clickmap_cli.runtime.errors import ConfigError

KAGGLE = """\
seed: 7
output_dir: /kaggle/working/outputs
model:
  device: cuda
  weights_path: /kaggle/input/deepgaze2e.pth
  use_uniform_centerbias: true
data:
  root: /kaggle/input/img_bin
  include_list: /kaggle/working/splits/train.txt
  sigma_px: 12
  allow_uniform_gt: false
  gt_aggregate: median
  gt_resize_interp: bicubic
  gt_cache_dir: null
  batch_size: 1
  num_workers: 2
  shuffle: true
  train_split: 0.8
  cv_folds: 4
  cv_fold_index: 1
  cv_shuffle: true
training:
  loss: nll_fixations
  progress: true
  stages:
    - name: head
      epochs: 3
      lr: 0.001
      save_best_only: true
      train_features: false
      freeze: {mode: train_blocks, blocks: [head]}
    - name: more
      epochs: 2
      lr: 0.0001
      weight_decay: 0.01
      freeze: {mode: train_blocks, blocks: [head], backbone_last_n_modules: 2}
wandb:
  enabled: true
  project: deepgaze-finetune
  mode: null
"""


def written(tmp_path: Path, text: str = KAGGLE, **changes: object) -> Path:
    """A file with some of its inner keys changed: `data__root=...`; None takes a key away."""
    values = yaml.safe_load(text)
    for name, value in changes.items():
        top, _, inner = name.partition("__")
        if inner:
            values.setdefault(top, {})[inner] = value
        else:
            values[top] = value
    path = tmp_path / "ft.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def without(tmp_path: Path, *names: str) -> Path:
    values = yaml.safe_load(KAGGLE)
    for name in names:
        top, _, inner = name.partition(".")
        values[top].pop(inner) if inner else values.pop(top)
    path = tmp_path / "ft.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_file_of_the_playground_means_here_what_it_means_there(tmp_path) -> None:
    path = tmp_path / "ft.yaml"
    path.write_text(KAGGLE)
    assert schema_of(path) is SALIENCY  # without a task
    loaded = load_any(path)
    config = loaded.config
    assert config.task == "saliency"
    assert as_dict(config)["datasets"] == [
        {
            "name": "folder", "label": "folder", "root": "/kaggle/input/img_bin", "sigma_px": 12,
            "ids": "/kaggle/working/splits/train.txt",
        }
    ]  # fmt: skip
    spec = config.model
    assert (spec.name, spec.settings) == (
        "deepgaze_iie",
        {"weights_path": "/kaggle/input/deepgaze2e.pth", "centerbias": "uniform"},
    )
    assert (config.device, config.seed, config.n_jobs) == ("cuda", 7, 2)
    assert (config.loss, config.gt_aggregate, config.gt_resize_interp) == (
        "nll_fixations", "median", "bicubic",
    )  # fmt: skip
    assert (config.cv.folds, config.cv.only_folds) == (4, [2])  # from 1, theirs from 0
    assert (config.training.batch_size, config.training.optimizer) == (1, "adam")
    head, more = stages_of(config)
    assert (head.name, head.epochs, head.lr, head.schedule) == ("head", 3, 0.001, "constant")
    assert (more.weight_decay, more.freeze) == (0.01, Freeze("train_blocks", ["head"], 2))
    assert (config.wandb.enabled, config.wandb.mode) == (True, "online")
    assert loaded.sources["datasets"].startswith("ft.yaml:")


def test_what_was_understood_is_reported(tmp_path) -> None:
    path = tmp_path / "ft.yaml"
    path.write_text(KAGGLE)
    notices = load_any(path).notices
    text = "\n".join(notices)
    assert "ft.yaml sets no task: it is read as task: saliency." in notices
    for one in (
        "data.root as datasets.0.root", "data.include_list as datasets.0.ids",
        "data.cv_folds as cv.folds", "data.cv_fold_index 1 as cv.only_folds [2]",
        "data.batch_size as training.batch_size", "training.loss as loss",
        "model.device as device", "model.use_uniform_centerbias as model.centerbias uniform",
        "data.num_workers as n_jobs",
    ):  # fmt: skip
        assert one in text, one
    assert "training.optimizer adam" in text  # what the playground does where the file is silent
    assert "training.schedule constant" in text
    assert "cv.val_share" in text  # held-out images choose nothing here
    for ignored in ("data.train_split", "training.progress", "save_best_only"):
        assert ignored in text
    assert "training.stages.1 trains modules of the backbone" in text
    assert "training.stages.0 trains" not in text
    # each thing is reported once
    assert text.count("data.root as") == text.count("training.optimizer adam") == 1


def test_what_the_file_leaves_out_is_as_in_the_playground(tmp_path) -> None:
    path = without(tmp_path, "data.root")
    with pytest.raises(ConfigError, match=r"data names no root"):
        load_any(path)
    path = without(tmp_path, "seed", "model.use_uniform_centerbias", "data.sigma_px")
    loaded = load_any(path)
    assert loaded.config.seed == 1337
    assert loaded.config.datasets[0].settings["sigma_px"] == 15
    assert loaded.config.model.settings["centerbias"] == ("data/centerbias/centerbias_mit1003.npy")
    text = "\n".join(loaded.notices)
    assert "seed 1337" in text
    assert "datasets.0.sigma_px 15" in text
    assert "centerbias_mit1003.npy" in text


def test_a_centre_bias_by_its_path(tmp_path) -> None:
    path = written(tmp_path, model__use_uniform_centerbias=False, model__centerbias_path="cb.npy")
    assert load_any(path).config.model.settings["centerbias"] == "cb.npy"
    # both: there, uniform wins
    path = written(tmp_path, model__centerbias_path="cb.npy")
    loaded = load_any(path)
    assert loaded.config.model.settings["centerbias"] == "uniform"
    assert any("model.centerbias_path is not used" in text for text in loaded.notices)


def test_keys_of_the_playgrounds_model_are_understood_beside_ours(tmp_path) -> None:
    words = ["datasets=[{name: folder, root: x}]", "model.name=deepgaze_iie"]
    loaded = load_config(SALIENCY, None, [*words, "model.use_uniform_centerbias=true"])
    assert loaded.config.model.settings == {"centerbias": "uniform"}
    (notice,) = loaded.notices
    assert notice == (
        "Read as the playground has them: model.use_uniform_centerbias as model.centerbias uniform."
    )
    with pytest.raises(ConfigError, match=r"model\.centerbias is 'fitted' and model\.use_uniform"):
        load_config(
            SALIENCY, None,
            [*words, "model.use_uniform_centerbias=true", "model.centerbias=fitted"],
        )  # fmt: skip


def test_a_benchmark_understands_them_too(tmp_path) -> None:
    words = ["datasets=[{name: folder, root: x}]", "models=[deepgaze_iie]"]
    kwargs = "model_kwargs={deepgaze_iie: {use_uniform_centerbias: true, weights_path: a.pth}}"
    loaded = load_config(BENCHMARK, None, [*words, kwargs])
    (spec,) = model_specs(loaded.config)
    assert spec.settings == {"centerbias": "uniform", "weights_path": "a.pth"}
    assert "model_kwargs.deepgaze_iie.use_uniform_centerbias as" in loaded.notices[0]
    entry = "models=[center_bias, {name: mine, type: deepgaze_iie, centerbias_path: cb.npy}]"
    loaded = load_config(BENCHMARK, None, [words[0], entry])
    assert model_specs(loaded.config)[1].settings == {"centerbias": "cb.npy"}
    with pytest.raises(ConfigError, match=r"models\.0\.pretrained is True.*weights_path"):
        load_config(BENCHMARK, None, [words[0], "models=[{name: deepgaze_iie, pretrained: true}]"])


def test_settings_of_ones_own_network_stay_as_they_are() -> None:
    own = "model={name: mine, pretrained: true, centerbias_path: a}"
    loaded = load_config(SALIENCY, None, ["datasets=[{name: folder, root: x}]", own])
    assert loaded.config.model.settings == {"pretrained": True, "centerbias_path": "a"}
    assert loaded.notices == ()


def test_words_on_the_command_line_win_over_the_playgrounds(tmp_path) -> None:
    path = written(tmp_path)
    loaded = load_any(path, ["cv.folds=5", "training.optimizer=sgd", "datasets.0.root=there"])
    assert (loaded.config.cv.folds, loaded.config.training.optimizer) == (5, "sgd")
    assert loaded.config.datasets[0].settings["root"] == "there"
    with pytest.raises(ConfigError, match=r"data\.root.*datasets\.0\.root"):
        load_any(path, ["data.root=there"])


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"data__exclude_list": "test.txt"}, "data.exclude_list", "cv.holdout"),
        ({"data__shuffle": False}, "data.shuffle", "cv.fold_files"),
        ({"data__cv_shuffle": False}, "data.cv_shuffle", "cv.fold_files"),
        ({"data__allow_uniform_gt": True}, "data.allow_uniform_gt", "data.include_list"),
        ({"data__cv_folds": 0}, "data.cv_folds is 0", "cv.folds"),
        ({"data__cv_fold_index": 4}, "data.cv_fold_index is 4", "0 to 3"),
        ({"data": {"train": {"root": "a"}, "val": {"root": "b"}}}, "data.train", "cv.fold_files"),
        ({"data__name": "csv_indexed"}, "data.name is 'csv_indexed'", "datasets"),
        ({"data__rooot": "x"}, "data.rooot", "Did you mean 'root'?"),
        ({"data": "img_bin"}, "data is 'img_bin'", "datasets"),
        ({"datasets": [{"name": "folder", "root": "x"}]}, "data and datasets", "keep one"),
        ({"gt_aggregate": "mean"}, "data.gt_aggregate and gt_aggregate", "keep one"),
        ({"loss": "kl"}, "training.loss and loss", "keep one"),
        ({"model": {"pretrained": True}}, "model.pretrained", "model.weights_path"),
        (
            {"training": {"stages": [{"name": "a", "train_features": True}]}},
            "training.stages.0.train_features", "batch statistics",
        ),
        (
            {"training": {"stages": [{"freeze": {"scope": "backbone", "mode": "x", "n": 2}}]}},
            "training.stages.0.freeze.scope", "backbone_last_n_modules",
        ),
        ({"evaluation": {}}, "unknown key 'evaluation'", "ft.yaml"),
    ],
)  # fmt: skip
def test_what_means_nothing_here_is_named_with_what_to_write(tmp_path, changes, old, new) -> None:
    with pytest.raises(ConfigError) as caught:
        load_any(written(tmp_path, **changes))
    text = str(caught.value)
    assert "ft.yaml" in text
    assert old in text
    assert new in text


def test_weights_there_and_here(tmp_path) -> None:
    path = written(tmp_path, model__pretrained=True)  # beside a weights_path
    assert "pretrained" not in load_any(path).config.model.settings
    path = written(tmp_path, model={"pretrained": False})
    assert load_any(path).config.model.settings["weights"] == "none"


def test_config_update_understands_the_same(tmp_path) -> None:
    path = tmp_path / "ft.yaml"
    path.write_text(KAGGLE.replace("seed: 7\n", ""))
    before = load_any(path).config
    names = missing_keys(path)
    # appended at their own defaults, these would say something else than the playground does
    assert not {"datasets", "cv", "seed", "gt_aggregate", "loss", "device"} & set(names)
    path.write_text(updated_text(path, names))
    after = load_any(path)
    assert after.config == before
    assert missing_keys(path) == []


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("model: {name: readout}\ndatasets: [{name: folder, root: x}]\ncv: {folds: 2}\n", SALIENCY),
        ("model: readout\ndatasets: [folder]\nfreeze: {blocks: [head]}\n", SALIENCY),
        ("models: [center_bias]\ndatasets: [folder]\n", BENCHMARK),
        ("n_KPs: 3\neval_every: 100\n", KEYPOINTS),
        ("min_clicks: 3\n", EXPERIMENT),
        # a classifier's, whose task is set elsewhere
        ("data: {root: x}\nmodel: {name: base}\ntraining: {num_epochs: 1}\n", EXPERIMENT),
    ],
)
def test_a_file_without_a_task_is_known_by_its_keys(tmp_path, text, schema) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert schema_of(path) is schema


def test_another_command_is_told_whose_file_it_is(tmp_path) -> None:
    with pytest.raises(ConfigError, match="is a configuration of finetune"):
        load_config(BENCHMARK, written(tmp_path))


def test_a_task_that_is_not_set_is_reported_for_key_points_too(tmp_path) -> None:
    path = tmp_path / "kp.yaml"
    path.write_text("n_KPs: 3\ntrain_csv_file: a.csv\n")
    assert load_any(path).notices == ("kp.yaml sets no task: it is read as task: keypoints.",)
    assert load_any(path, ["task=keypoints"]).notices == ()
