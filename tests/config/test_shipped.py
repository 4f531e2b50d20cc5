"""Configurations that come along: named, copied, and working where they were copied to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.config.loading import load_any, load_experiment, schema_of
from clickmap_cli.config.shipped import copies, shipped, shipped_files, shipped_folder
from clickmap_cli.runtime.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILES = shipped_files()
NAMES = [file.name for file in FILES]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_everything_in_the_folder_comes_along() -> None:
    assert shipped_folder() == ROOT / "configs"
    there = {path.name for path in (ROOT / "configs").iterdir() if path.is_file()}
    assert {file.path.name for file in FILES} == there
    assert len(NAMES) == len(set(NAMES)) == len(there)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_says_in_a_sentence_what_it_is(file) -> None:
    assert re.match(r"[A-Z0-9`].{20,200}[.?!]$", file.about), file.about
    assert "\n" not in file.about


def test_list_names_each_with_its_command() -> None:
    rows = json.loads(invoke("config", "list", "--json").stdout)
    assert [row["name"] for row in rows] == NAMES
    commands = {row["name"]: row["command"] for row in rows}
    assert commands["osie_mouse"] == "prepare"
    assert commands["benchmark_folder"] == "benchmark"
    assert commands["finetune_vit_keypoints"] == "finetune"
    assert commands["participant_quality"] == "train-classifier"
    assert commands["my_plugin.py"] is None
    lines = invoke("config", "list").stdout.splitlines()
    assert len(lines) == len(NAMES)
    assert re.match(r"osie_mouse +prepare +5,866 real", lines[NAMES.index("osie_mouse")])


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_stands_where_the_readme_looks_and_is_what_it_was(elsewhere, name) -> None:
    done = invoke("config", "copy", name)
    assert done.exit_code == 0, done.stderr
    copy = Path("configs") / shipped(name).path.name
    assert str(copy) in done.stderr
    # `configs/...` inside it is right as it is, so nothing was changed
    assert copy.read_bytes() == shipped(name).path.read_bytes()
    if copy.suffix == ".yaml":
        assert load_any(copy).config == load_any(shipped(name).path).config
        for plugin in getattr(load_any(copy).config, "plugins", None) or ():
            assert Path(plugin).is_file()


@pytest.mark.parametrize("place", ["mine", "mine/deep er", "mine.yaml", "new/mine.yml", "."])
def test_a_copy_elsewhere_names_what_lies_beside_it(elsewhere, place) -> None:
    done = invoke("config", "copy", "benchmark_plugin", "--output", place, "--json")
    assert done.exit_code == 0, done.stderr
    config, plugin = map(Path, json.loads(done.stdout)["files"])
    named = place.endswith((".yaml", ".yml"))
    assert config == (Path(place) if named else Path(place) / "benchmark_plugin.yaml")
    assert plugin == config.parent / "my_plugin.py"
    assert plugin.is_file()
    values = yaml.safe_load(config.read_text())
    assert values["plugins"] == [plugin.as_posix()]
    # its own command, in a comment, names the copy too
    assert f"--config {config.as_posix()}" in config.read_text()
    assert "configs/" not in config.read_text() + plugin.read_text()


def test_a_copied_plugin_runs(elsewhere) -> None:
    assert invoke("config", "copy", "benchmark_plugin", "-o", "mine/first.yaml").exit_code == 0
    done = invoke("benchmark", "-c", "mine/first.yaml", "limit_images=2", "n_jobs=1", "--json")
    assert done.exit_code == 0, done.stderr
    models = {row["model"] for row in json.loads(done.stdout)["results"]}
    assert models == {"uniform", "edges"}


def test_a_cluster_script_names_itself_where_it_is(elsewhere) -> None:
    texts = copies("slurm_array.sh", elsewhere / "bin")
    assert (
        f"bash {elsewhere}/bin/slurm_array.sh my.yaml 8" in texts[elsewhere / "bin/slurm_array.sh"]
    )


def test_what_is_there_is_not_replaced_unasked(elsewhere) -> None:
    assert invoke("config", "copy", "benchmark_plugin").exit_code == 0
    assert invoke("config", "copy", "benchmark_plugin").exit_code == 0  # the same: nothing to lose
    for name in ("my_plugin.py", "benchmark_plugin.yaml"):
        Path("configs", name).write_text("mine")
        refused = invoke("config", "copy", "benchmark_plugin")
        assert refused.exit_code == 2
        assert f"configs/{name} is there already" in refused.stderr
        assert "--overwrite" in refused.stderr
        assert Path("configs", name).read_text() == "mine"
    assert invoke("config", "copy", "benchmark_plugin", "--overwrite").exit_code == 0
    assert Path("configs/my_plugin.py").read_text() == shipped("my_plugin.py").path.read_text()
    Path("folder.yaml").mkdir()
    assert invoke("config", "copy", "osie_mouse", "-o", "folder.yaml").exit_code == 0
    assert Path("folder.yaml/osie_mouse.yaml").is_file()


def test_nothing_is_written_where_one_of_two_is_in_the_way(elsewhere) -> None:
    Path("configs").mkdir()
    Path("configs/my_plugin.py").write_text("mine")
    assert invoke("config", "copy", "benchmark_plugin").exit_code == 2
    assert not Path("configs/benchmark_plugin.yaml").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["osie_mose"], "Did you mean 'osie_mouse'?"),
        (["osie"], "Did you mean benchmark_osie_eyes or osie_mouse?"),
        (["nothing-like-it"], "Known: align_timm"),
        ([""], "Known: align_timm"),
        (["../pyproject.toml"], "No configuration"),
        (["benchmark_plugin", "-o", "a, b"], "would mean something else in YAML"),
    ],
)
def test_mistakes_are_sentences(elsewhere, words, says) -> None:
    done = invoke("config", "copy", *words)
    assert (done.exit_code, list(elsewhere.iterdir())) == (2, [])
    assert says in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["osie_mouse", "osie_mouse.yaml", "configs/osie_mouse.yaml"])
def test_a_name_may_be_written_as_a_file(elsewhere, name) -> None:
    assert shipped(name).name == "osie_mouse"
    # and a missing file of that name says how to get it
    with pytest.raises(ConfigError, match=r"clickmap config copy osie_mouse writes the one"):
        load_experiment(Path(name))
    with pytest.raises(ConfigError, match=r"looked from [^)]+\)\.$"):
        load_experiment(Path("mine.yaml"))


def test_the_command_of_a_schema_runs_it() -> None:
    for file in FILES:
        if file.path.suffix == ".yaml":
            assert schema_of(file.path).command in {
                "prepare", "benchmark", "finetune", "train-classifier",
            }  # fmt: skip
