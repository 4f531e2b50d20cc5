"""`clickmap visualize` as a person types it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.helpers.prepared_studies import prepared_study, rows_of_sizes, words

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    prepared_study(folder, rows_of_sizes((3, 5, 4)))
    return folder


def invoke(folder, *more):
    return RUNNER.invoke(app, ["visualize", *words(folder), *map(str, more)])


def test_help_names_every_group_of_options() -> None:
    text = RUNNER.invoke(app, ["visualize", "--help"]).stdout
    for option in ("--top", "--by", "--random", "--figures", "--format", "--colormap", "--preset"):
        assert option in text


def test_figures_table_and_json(study) -> None:
    result = invoke(
        study, "--top", 2, "--figures", "overlay,distributions", "--format", "png,svg", "--json",
        "--colormap", "viridis", "--alpha", 0.5, "--normalize", "rank", "--no-colour-bar",
        "--scale-by-count", "--preset", "paper", "--overwrite",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert [row["image_path"] for row in value["images"]] == ["cat1/1.png", "cat0/2.png"]
    assert value["distributions"]["participants_per_image"] == {"n": 3, "median": 4, "mean": 4}
    assert "cat1/1.png" in result.stderr
    figures = study / "assets" / "small" / "figures"
    written = {path.relative_to(figures).as_posix() for path in figures.rglob("*.[ps][nv]g")}
    assert {"overlay/cat1_1.png", "overlay/cat1_1.svg"} <= written
    assert {f"distributions/{n}.png" for n in (
        "trials_per_participant", "clicks_per_trial", "participants_per_image", "categories",
        "agreement_by_category", "funnel",
    )} <= written  # fmt: skip
    manifest = json.loads((figures / "manifest.json").read_text())
    options = manifest["config"]["visualize"]
    assert options["look"] == {
        "colormap": "viridis", "alpha": 0.5, "normalize": "rank", "colour_bar": False,
        "by_participants": True, "preset": "paper", "order": "points",
    }  # fmt: skip
    again = invoke(study, "--top", 2)
    assert again.exit_code == 2
    assert "--resume" in again.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--colormap", "infernal"], "no colour map 'infernal'"),
        (["--normalize", "maximum"], "Did you mean 'max'?"),
        (["--preset", "papers"], "Did you mean 'paper'?"),
        (["--format", "png,gif"], "--format names 'gif'"),
        (["--figures", "overlay,click"], "Did you mean 'clicks'?"),
        (["--clicks", "lines"], "--clicks names 'lines'"),
        (["--alpha", 1.5], "--alpha is 1.5; it must be between 0 and 1."),
        (["--top", 2, "--random", 2], "--top and --random"),
        (["--by", "agreement"], "needs --top"),
        (["--top", 2, "--by", "clicks"], "--by names 'clicks'"),
        (["--bins", 0], "--bins is 0"),
        (["metric=cosmic"], "metric is 'cosmic'"),
    ],
)
def test_wrong_options_are_reported_in_a_sentence(study, options, sentence) -> None:
    result = invoke(study, *options)
    assert result.exit_code == 2, result.stderr
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--html", "--benchmark", "x"], ("--benchmark", "--notebook", "--html")),
        (["--html", "--format", "png"], ("--format", "figures", "--html")),
        (["--html", "--top", 3], ("--top", "figures", "--html")),
        (
            ["--notebook", "v.ipynb", "--alpha", 0.6],
            ("--alpha", "and --html", "--notebook"),
        ),
        (["--html", "--notebook", "v.ipynb", "--no-colour-bar"], ("--no-colour-bar", "--html and")),
        (["--notebook", "v.ipynb", "--colormap", "viridis"], ("--colormap", "--notebook")),
        (["--participants", "none"], ("--participants", "--html", "figures")),
        (["--figures", "sheet", "--benchmark", "x"], ("--benchmark", "--notebook", "figures")),
    ],
)
def test_options_of_another_form_are_refused_and_both_are_named(study, options, names) -> None:
    before = sorted(study.rglob("*"))
    result = invoke(study, *options)
    assert result.exit_code == 2, result.stderr
    said = " ".join(result.stderr.split())
    assert "would not use it; leave one out." in said
    for name in names:
        assert name in said
    assert sorted(study.rglob("*")) == before


def test_options_of_any_form_that_is_asked_for_are_used(study, tmp_path) -> None:
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    both = invoke(
        tmp_path, "--html", "--figures", "overlay", "--top", 1, "--format", "svg", "--overwrite",
        "--participants", "none",
    )  # fmt: skip
    assert both.exit_code == 0, both.stderr


def test_every_option_is_of_this_command() -> None:
    import inspect

    from clickmap_cli.commands.visualize import visualize
    from clickmap_cli.commands.visualize_options import _FITS

    assert set(_FITS) <= set(inspect.signature(visualize).parameters)


def test_a_dry_run_and_a_quiet_one(study, tmp_path) -> None:
    result = invoke(study, "--random", 2, "--dry-run", "--figures", "sheet")
    assert result.exit_code == 0, result.stderr
    assert "Would draw 2 images" in result.stderr
    quiet = invoke(study, "--overwrite", "--top", 1, "--figures", "overlay", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_gallery_and_a_notebook_draw_no_figures(study, tmp_path) -> None:
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "assets/small/figures", ignore_errors=True)
    folder = tmp_path / "assets" / "small"
    notebook = tmp_path / "viewer.ipynb"
    result = invoke(tmp_path, "--html", "--notebook", notebook, "--json")
    assert result.exit_code == 0, result.stderr
    gallery, viewer = json.loads(result.stdout)
    assert (gallery["n_images"], gallery["written"]) == (3, True)
    assert (folder / "gallery.html").is_file()
    assert viewer["folders"] == [str(folder)]
    assert json.loads(notebook.read_text())["nbformat"] == 4
    assert not (folder / "figures").exists()
    again = invoke(tmp_path, "--html", "--notebook", notebook)
    assert again.exit_code == 2
    kept = invoke(tmp_path, "--html", "--notebook", notebook, "--resume")
    assert kept.exit_code == 0, kept.stderr
    assert "not changed" in kept.stderr
    both = invoke(tmp_path, "--html", "--overwrite", "--figures", "sheet", "--top", 1)
    assert both.exit_code == 0, both.stderr
    assert (folder / "figures" / "sheet" / "sheet_00001.png").is_file()
    alone = invoke(tmp_path, "--notebook", tmp_path / "b.ipynb", "--benchmark", tmp_path / "none")
    assert alone.exit_code == 1
    assert "none holds no finished run" in alone.stderr


def test_results_reach_stdout_while_a_bar_is_on_the_screen(study) -> None:
    screen, stderr = pty.openpty()
    line = [sys.executable, "-m", "clickmap_cli", "visualize", *words(study), "--dry-run", "--json"]
    with subprocess.Popen([*line, "--top", "1"], stdout=subprocess.PIPE, stderr=stderr) as process:
        output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0
    os.close(stderr)
    os.close(screen)
    assert json.loads(output)["images"][0]["image_path"] == "cat1/1.png"


def test_without_a_prepared_experiment(tmp_path) -> None:
    result = invoke(tmp_path)
    assert result.exit_code == 1
    assert "run `clickmap prepare` first" in result.stderr
