"""`clickmap verify` as a person types it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.services.test_verify import stated, write_run

RUNNER = CliRunner()


def invoke(*words: object):
    return RUNNER.invoke(app, ["verify", *(str(word) for word in words)])


def test_whole_folders_exit_0_and_say_so(tmp_path) -> None:
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    result = invoke(one, two, "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert value["whole"] is True
    assert [folder["folder"] for folder in value["folders"]] == [str(one), str(two)]
    assert f"{two}: 3 files, all as their manifests state." in result.stderr
    quiet = invoke(one, "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_damage_exits_1_and_is_named_even_when_quiet(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    (run / "maps.h5").unlink()
    result = invoke(run, "--quiet", "--json")
    assert result.exit_code == 1
    assert f"{run}/maps.h5 is not there." in result.stderr
    assert "--resume" in result.stderr
    value = json.loads(result.stdout)
    assert value["whole"] is False
    assert value["folders"][0]["manifests"][0]["damage"] == [
        {"file": "maps.h5", "kind": "missing", "reason": "is not there"}
    ]


def test_a_folder_without_a_manifest_exits_2(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke(tmp_path / "empty")
    assert result.exit_code == 2
    assert "no manifest.json here or below" in result.stderr
    assert invoke(write_run(tmp_path / "run"), tmp_path / "empty").exit_code == 2
    (tmp_path / "run/maps.h5").unlink()
    assert invoke(tmp_path / "run", tmp_path / "empty").exit_code == 1
    missing = invoke(tmp_path / "none")
    assert missing.exit_code == 1
    assert "is not there" in missing.stderr


def test_an_unfinished_run_is_reported(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    journal = tmp_path / "other/.clickmap/journal"
    journal.mkdir(parents=True)
    (journal / "identity.json").write_text('{"identity": "x", "command": "benchmark"}')
    alone = invoke(tmp_path / "other")
    assert alone.exit_code == 1
    assert "holds an unfinished run of benchmark" in alone.stderr
    assert "nothing here is finished" in alone.stderr
    both = invoke(tmp_path)
    assert both.exit_code == 1
    assert "not everything is finished" in both.stderr
    assert invoke(run).exit_code == 0


def test_many_unknown_files_of_a_folder_are_one_note(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    for model in ("a", "b"):
        (run / "predictions" / model).mkdir(parents=True)
        for number in range(4):
            (run / "predictions" / model / f"{number}.npy").write_bytes(b"x")
    (run / "mine.txt").write_bytes(b"x")
    result = invoke(run, "--json")
    assert result.exit_code == 0
    assert f"{run}/predictions: 8 files that no manifest knows." in result.stderr
    assert f"{run}/mine.txt: a file that no manifest knows." in result.stderr
    assert len(json.loads(result.stdout)["folders"][0]["extra"]) == 9


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "\x1b[2Jclear", "[bold]x[/bold]"])
def test_hostile_names_are_printed_plainly(tmp_path, name) -> None:
    run = write_run(tmp_path / "run", {"ok": b"ok"}, **{name: stated(b"x")})
    result = invoke(run)
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert name.replace("\x1b", "\\x1b") in result.stderr


def test_a_name_that_is_refused_is_reported_with_the_manifest_that_has_it(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    write_run(run, {}, "visualize --html", "gallery.manifest.json", **{"../x": stated(b"x")})
    result = invoke(run)
    assert result.exit_code == 1
    assert f"{run}/gallery.manifest.json names '../x', which climbs out" in result.stderr


def test_a_damaged_manifest_is_a_sentence(tmp_path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    result = invoke(tmp_path)
    assert result.exit_code == 1
    assert "manifest.json is damaged" in result.stderr
    assert "Traceback" not in result.stderr
