"""TAB in bash, zsh and fish, through the protocols that their scripts speak."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from clickmap_cli.__main__ import main
from clickmap_cli.config.benchmark import SALIENCY_METRICS
from clickmap_cli.config.experiment import METRICS, ExperimentConfig
from clickmap_cli.config.fields import keys_of
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports.style import PRESETS
from clickmap_cli.services.visualize.options import BY, KINDS, NORMALIZE, PARTICIPANTS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "matplotlib", "pandas", "scipy", "sklearn", "pyarrow", "timm")


def asked(shell: str, folder: Path = ROOT, **words: str) -> str:
    """Return the answer to a shell's question, which comes in environment variables."""
    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"_CLICKMAP_COMPLETE": shell, **words}),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(said),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert not end.value.code
    return said.getvalue()


def bash(*words: str, folder: Path = ROOT) -> list[str]:
    """Return what bash is offered for its last word; bash takes `=` as a separate word."""
    line = "\n".join(("clickmap", *words))
    return asked("complete_bash", folder, COMP_WORDS=line, COMP_CWORD=str(len(words))).split()


def fish(line: str) -> dict[str, str]:
    """Return what fish is offered, with meanings."""
    said = asked("complete_fish", _TYPER_COMPLETE_ARGS=line, _TYPER_COMPLETE_FISH_ACTION="get-args")
    pairs = (row.partition("\t") for row in said.splitlines() if row)
    return {word: meaning for word, _, meaning in pairs}


def test_commands_and_options() -> None:
    assert bash("ceil") == ["ceiling"]
    assert {"prepare", "benchmark", "config"} <= set(bash(""))
    assert bash("config", "co") == ["copy"]
    assert bash("prepare", "--dev") == ["--device"]
    assert bash("prepare", "--device", "c") == ["cpu", "cuda"]
    assert bash("ceiling", "--method", "") == ["split-half", "hold-one-out"]


def test_the_looks_of_figures() -> None:
    assert bash("visualize", "--by", "") == list(BY)
    assert bash("visualize", "--preset", "") == list(PRESETS)
    assert bash("visualize", "--participants", "") == list(PARTICIPANTS)
    assert bash("visualize", "--normalize", "") == list(NORMALIZE)
    assert bash("visualize", "--clicks", "p") == ["points", "path"]
    assert bash("visualize", "--colormap", "inf") == ["inferno"]
    assert bash("visualize", "--figures", "") == ["all", *KINDS]
    assert bash("visualize", "--format", "png,") == ["png,svg", "png,pdf"]
    assert bash("visualize", "--format", "png,s") == ["png,svg"]


def test_the_method_is_offered_until_it_is_named() -> None:
    assert bash("ceiling", "spl") == ["split-half"]
    assert bash("ceiling", "split-half", "hold") == []
    assert bash("ceiling", "--method", "split-half", "hold") == []


def test_keys_of_the_commands_own_configuration() -> None:
    assert [word.removesuffix("=") for word in bash("prepare", "")] == list(
        keys_of(ExperimentConfig)
    )
    assert bash("prepare", "blur_s") == ["blur_size=", "blur_sigma="]
    assert bash("benchmark", "blur_s") == []
    assert bash("train-classifier", "cv.inner") == ["cv.inner_kfolds=", "cv.inner_mode="]
    # a part that alone fits is opened
    assert "heatmaps_png.alpha=" in bash("benchmark", "heat")


def test_a_single_key_comes_with_values_so_that_bash_does_not_end_the_word() -> None:
    assert bash("ceiling", "kern") == [
        "kernel_type=", "kernel_type=circle", "kernel_type=gaussian", "kernel_type=none",
    ]  # fmt: skip
    assert bash("prepare", "clickme_d") == ["clickme_data=", "clickme_data=null"]


def test_values_where_bash_splits_at_the_equals_sign() -> None:
    assert bash("ceiling", "metric", "=", "sp") == ["spearman"]
    assert bash("ceiling", "split-half", "metric", "=") == list(METRICS)
    assert bash("prepare", "blur_size", "=", "5", "kernel_type", "=", "g") == ["gaussian"]
    assert bash("prepare", "min_clicks", "=") == ["10"]
    assert bash("prepare", "filter_mobile", "=", "t") == ["true"]
    # where nothing is known, bash goes on with files
    assert bash("prepare", "clickme_data", "=") == []


def test_values_where_the_word_is_whole() -> None:
    assert list(fish("clickmap ceiling metric=sp")) == ["metric=spearman"]
    assert list(fish("clickmap ceiling 'metric=[spearman,ra")) == [
        "metric=[spearman,rank_pearson", "metric=[spearman,rank_cosine",
        "metric=[spearman,rankorder",
    ]  # fmt: skip
    # what a list has already is not offered again
    assert list(fish("clickmap ceiling 'metric=[spearman,sp")) == []
    assert list(fish("clickmap benchmark metrics=N")) == ["metrics=NSS"]
    assert bash("benchmark", "deep_dive.metric", "=") == list(SALIENCY_METRICS)


def test_models_and_data_sets() -> None:
    names = [entry.name for entry in MODELS.entries()]
    assert bash("benchmark", "models", "=") == names
    assert bash("benchmark", "models", "=", "[uniform,cen") == ["[uniform,center_bias"]
    assert bash("finetune", "model.name", "=", "read") == ["readout"]
    sets = [entry.name for entry in DATASETS.entries()]
    assert bash("benchmark", "datasets.0.name", "=") == sets
    assert bash("data", "split", "name", "=") == sets
    assert bash("data", "split", "n") == ["name=", *(f"name={name}" for name in sets)]
    assert bash("data", "split", "name", "=", "folder", "s") == ["sigma_px=", "split="]
    assert fish("clickmap data split name=fo") == {
        "name=folder": "images/, gt_maps/, fixations/, nonfix/: one file an image"
    }


def test_the_schema_follows_the_configuration_and_the_task(tmp_path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("task: participant_quality\n")
    assert bash("train-classifier", "-c", str(config), "thres") == ["threshold=", "threshold=0.5"]
    assert bash("train-classifier", "task", "=", "heatmap", "thres") == []
    assert bash("config", "show", "-c", str(config), "good") == []
    assert bash("config", "show", "-c", str(config), "data.good") == [
        "data.good_users=", "data.good_users=null",
    ]  # fmt: skip
    # a file of another command does not change what this one reads
    assert bash("prepare", "-c", str(config), "blur_si") == ["blur_size=", "blur_sigma="]


def test_configurations(tmp_path) -> None:
    assert bash("config", "copy", "osie") == ["osie_mouse"]
    assert "osie_mouse" in fish("clickmap config copy ")
    for name in ("a.yaml", "deep/b.yml", "deep/c.txt", ".hidden/d.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert bash("prepare", "-c", "", folder=tmp_path) == ["a.yaml", "deep/b.yml"]
    assert bash("prepare", "--config", "deep/", folder=tmp_path) == ["deep/b.yml"]
    assert bash("config", "check", "a", folder=tmp_path) == ["a.yaml"]
    assert bash("prepare", "-c", "nowhere/", folder=tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        ("ceiling", "-c", "none.yaml", "metric", "=", "sp"),
        ("ceiling", "-c", "LICENSE", "metric", "=", "sp"),
        ("ceiling", "task", "=", "none", "metric", "=", "sp"),
        ("ceiling", "blur_size", "=", "[", "metric", "=", "sp"),
    ],
)
def test_what_cannot_be_read_yet_is_not_an_error(words) -> None:
    assert bash(*words) == ["spearman"]
    assert bash("ceiling", "nowhere", "=") == []
    assert bash("train-classifier", "cv.nothing", "=") == []


def test_the_meaning_of_a_key_is_told_whole() -> None:
    # brackets would be taken for markup and left out
    assert fish("clickmap train-classifier data.siz")["data.size="].startswith("(height, width)")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {
                "_CLICKMAP_COMPLETE": "complete_bash",
                "COMP_WORDS": "clickmap ceiling metric = sp",
                "COMP_CWORD": "4",
            },
            "spearman",
        ),
        (
            {
                "_CLICKMAP_COMPLETE": "complete_zsh",
                "_TYPER_COMPLETE_ARGS": "clickmap config copy osi",
            },
            "osie_mouse",
        ),
    ],
)
def test_a_process_of_its_own_answers(variables, said) -> None:
    environment = {**os.environ, **variables}
    line = [sys.executable, "-m", "clickmap_cli"]
    done = subprocess.run(
        line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


def test_tab_imports_nothing_heavy() -> None:
    code = f"""
import os, sys
from clickmap_cli.__main__ import main
for line in ("ceiling metric=s", "benchmark models=[c", "data split name=folder ", "finetune tr",
             "config copy o"):
    os.environ["COMP_WORDS"] = "clickmap " + line.replace("=", " = ")
    os.environ["COMP_CWORD"] = str(len(os.environ["COMP_WORDS"].split(" ")) - 1)
    os.environ["_CLICKMAP_COMPLETE"] = "complete_bash"
    try:
        main()
    except SystemExit as end:
        assert not end.code
print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout
    assert "spearman" in done.stdout
    assert "sigma_px=" in done.stdout


@pytest.fixture
def path(tmp_path) -> str:
    """A PATH on which `clickmap` is this checkout's."""
    command = tmp_path / "bin" / "clickmap"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m clickmap_cli "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


def in_bash(script: str, home: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "PATH": path}
    line = ["bash", "--norc", "-c", script]
    return subprocess.run(
        line, env=environment, cwd=home, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_installed_completion_works_in_a_real_bash(tmp_path, path) -> None:
    installed = in_bash("clickmap --install-completion; true", tmp_path, path)
    assert "bash completion installed" in installed.stdout, installed.stderr
    assert "clickmap.sh" in (tmp_path / ".bashrc").read_text()
    script = """
    source ~/.bashrc
    complete -p clickmap
    COMP_WORDS=(clickmap ceiling split-half metric = sp); COMP_CWORD=5
    _clickmap_completion clickmap; echo "${COMPREPLY[@]}"
    COMP_WORDS=(clickmap prep); COMP_CWORD=1
    _clickmap_completion clickmap; echo "${COMPREPLY[@]}"
    """
    done = in_bash(script, tmp_path, path)
    assert done.stdout.splitlines() == [
        "complete -o default -F _clickmap_completion clickmap", "spearman", "prepare",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_show_completion_prints_what_install_writes(tmp_path, path) -> None:
    shown = in_bash("clickmap --show-completion; true", tmp_path, path)
    assert in_bash("clickmap --install-completion; true", tmp_path, path).returncode == 0
    assert shown.stdout == (tmp_path / ".bash_completions/clickmap.sh").read_text() + "\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shells_script_asks_with_our_variable(shell) -> None:
    assert f"_CLICKMAP_COMPLETE=complete_{shell}" in asked(f"source_{shell}")


def test_zsh_gets_words_with_their_meaning() -> None:
    one = asked("complete_zsh", _TYPER_COMPLETE_ARGS="clickmap ceiling metric=sp")
    assert one.strip() == """_arguments '*: :(("metric=spearman":"a metric"))'"""
    none = asked("complete_zsh", _TYPER_COMPLETE_ARGS="clickmap prepare --output x")
    assert none.strip() == "_files"


def test_configurations_of_other_commands_are_not_offered(tmp_path) -> None:
    for name, text in {
        "clicks": "clickme_data: t.csv", "scores": "models: [uniform]", "tune": "task: saliency",
        "points": "task: keypoints", "classes": "task: classifier", "broken": "a: [",
        "people": "task: participant_quality",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(text + "\n")

    def offered(*words: str) -> set[str]:
        return set(bash(*words, "-c", "", folder=tmp_path))

    for command in ("prepare", "ceiling", "visualize"):
        assert offered(command) == {"clicks.yaml", "broken.yaml"}
    assert offered("benchmark") == {"scores.yaml", "broken.yaml"}
    assert offered("finetune") == {"tune.yaml", "points.yaml", "broken.yaml"}
    assert offered("train-classifier") == {"classes.yaml", "people.yaml", "broken.yaml"}
    assert len(offered("doctor")) == len(offered("config", "show")) == 7


def test_names_behind_list() -> None:
    assert bash("benchmark", "--list", "clickm") == ["clickmaps"]
    assert bash("benchmark", "--list", "deepgaze_ii") == ["deepgaze_iie", "deepgaze_iii"]
    assert bash("benchmark", "--list", "NS") == ["NSS"]
