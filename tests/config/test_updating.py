from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.fields import default_of, keys_of
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.config.updating import missing_keys, updated_text
from clickmap_cli.runtime.errors import ConfigError

OLD = """# my experiment
experiment_name: old   # a comment
image_path: /images

max_clicks: 20
debug: False  # no line end"""


def test_missing_keys_are_appended_and_nothing_else_changes(tmp_path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    names = missing_keys(path)
    assert "image_dir" not in names
    assert set(names) == set(keys_of(ExperimentConfig)) - {
        "experiment_name",
        "image_dir",
        "max_clicks",
    }
    text = updated_text(path, names)
    assert text.startswith(OLD + "\n")
    values = yaml.safe_load(text)
    for name in names:
        assert values[name] == default_of(ExperimentConfig, name)
    path.write_text(text)
    assert missing_keys(path) == []
    assert load_experiment(path).config.max_clicks == 20


def test_only_the_wanted_keys(tmp_path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    wanted = ["gpu_batch_size", "correlation_batch_size", "max_clicks"]
    assert missing_keys(path, wanted) == ["gpu_batch_size", "correlation_batch_size"]
    with pytest.raises(ConfigError, match="Did you mean 'gpu_batch_size'"):
        missing_keys(path, ["gpu_batch_sise"])


def test_an_empty_file_gets_every_key(tmp_path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert set(yaml.safe_load(updated_text(path, missing_keys(path)))) == set(
        keys_of(ExperimentConfig)
    )


@pytest.mark.parametrize("text", ["{experiment_name: x}", "- a", "a: [", "a: 1\n..."])
def test_layouts_that_cannot_grow_are_refused(tmp_path, text) -> None:
    path = Path(tmp_path / "odd.yaml")
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        updated_text(path, missing_keys(path))
    assert path.read_text() == text
