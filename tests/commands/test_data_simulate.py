"""`clickmap data simulate` as a person types it."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from clickmap_cli.app import app

RUNNER = CliRunner()


def invoke(*words: object):
    return RUNNER.invoke(app, [str(word) for word in words])


def test_simulated_trials_can_be_prepared_at_once(tmp_path) -> None:
    folder = tmp_path / "big"
    words = ["data", "simulate", "--trials", 60, "--images", 5, "-o", folder, "--seed", 3]
    result = invoke(*words, "--users", 30, "--format", "csv.gz", "--pictures", "--json")
    assert result.exit_code == 0, result.stderr
    counts = json.loads(result.stdout)["counts"]
    assert (counts["trials"], counts["images"], counts["users"]) == (60, 5, 30)
    assert len(list((folder / "images").rglob("*.png"))) == 5
    done = invoke("prepare", "-c", folder / "simulate.yaml", "--json", "display_image_keys=null")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["n_trials"] == 60
    again = invoke(*words, "--format", "csv.gz")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_mistakes_are_sentences(tmp_path) -> None:
    result = invoke(
        "data", "simulate", "--trials", 60, "--images", 5, "--users", 11, "-o", tmp_path / "x"
    )
    assert result.exit_code == 2
    assert "use at least 12" in result.stderr
    assert invoke("data", "simulate", "--trials", 0).exit_code == 2
    assert list(tmp_path.iterdir()) == []
