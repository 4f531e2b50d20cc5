"""Who may write into an experiment's folder, and what a dead run leaves behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clickmap_cli.runtime.errors import ConfigError, DiskFullError, RunError
from clickmap_cli.storage.atomic import write_bytes
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.lock import only_run
from clickmap_cli.storage.manifest import Manifest, describe_files, load_manifest

HOLD = """
import sys, time
from pathlib import Path
from clickmap_cli.storage.folder import RunFolder
with RunFolder(Path(sys.argv[1]), "prepare").held():
    print("held", flush=True)
    time.sleep(60)
"""


def manifest(folder: RunFolder, identity: str, names: list[str]) -> Manifest:
    outputs = describe_files(folder.path, [folder.path / name for name in names])
    return Manifest("prepare", {}, identity, {}, outputs, {}, {}, 0)


def finish(
    folder: RunFolder, identity: str, files: dict[str, bytes], when=WhenPresent.STOP
) -> None:
    with folder.held():
        assert folder.reuse_or_begin(identity, when) is None
        for name, data in files.items():
            write_bytes(folder.path / name, data)
        folder.finish(manifest(folder, identity, list(files)))


def test_a_second_run_is_told_who_holds_the_folder_and_a_dead_one_holds_nothing(tmp_path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "held\n"
    with (
        pytest.raises(RunError, match=f"prepare, process {run.pid}"),
        RunFolder(tmp_path, "prepare").held(),
    ):
        pytest.fail("two runs hold one folder")
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    with RunFolder(tmp_path, "prepare").held():
        assert os.path.isdir(tmp_path)


def test_outputs_stop_a_plain_run(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    finish(folder, "one", {"a": b"1"})
    with pytest.raises(ConfigError, match="finished prepare run; add --resume"):
        folder.reuse_or_begin("one", WhenPresent.STOP)


def test_an_unfinished_run_stops_a_plain_run_too(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    assert folder.reuse_or_begin("one", WhenPresent.STOP) is None
    with pytest.raises(ConfigError, match="an unfinished prepare run"):
        folder.reuse_or_begin("one", WhenPresent.STOP)


def test_resume_keeps_a_whole_run_and_redoes_a_damaged_one(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    finish(folder, "one", {"a": b"1", "b": b"2"})
    kept = folder.reuse_or_begin("one", WhenPresent.RESUME)
    assert kept is not None
    assert set(kept.outputs) == {"a", "b"}
    (tmp_path / "b").write_bytes(b"x")
    assert folder.reuse_or_begin("one", WhenPresent.RESUME) is None


def test_resume_with_other_settings_is_refused(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    finish(folder, "one", {"a": b"1"})
    with pytest.raises(ConfigError, match="other settings"):
        folder.reuse_or_begin("two", WhenPresent.RESUME)
    assert load_manifest(tmp_path) is not None


def test_resume_on_a_new_folder_is_a_plain_run(tmp_path) -> None:
    finish(RunFolder(tmp_path / "new", "prepare"), "one", {"a": b"1"}, WhenPresent.RESUME)


def test_overwrite_drops_outputs_that_are_no_longer_made_and_nothing_else(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    (tmp_path / "mine.txt").write_text("notes")
    finish(folder, "one", {"a": b"1", "sub/b": b"2"})
    finish(folder, "two", {"a": b"3"}, WhenPresent.OVERWRITE)
    assert (tmp_path / "mine.txt").exists()
    assert not (tmp_path / "sub/b").exists()
    assert (tmp_path / "a").read_bytes() == b"3"


def test_files_of_an_unfinished_run_are_known_by_patterns(tmp_path) -> None:
    folder = RunFolder(tmp_path, "finetune", ("fold_*/best.pth",))
    assert folder.reuse_or_begin("eight folds", WhenPresent.STOP) is None
    for name in ("fold_01/best.pth", "fold_05/best.pth", "fold_05/notes.txt", "folds/best.pth"):
        write_bytes(tmp_path / name, b"old")
    finish(folder, "four folds", {"fold_01/best.pth": b"new"}, WhenPresent.OVERWRITE)
    assert (tmp_path / "fold_01/best.pth").read_bytes() == b"new"
    assert not (tmp_path / "fold_05/best.pth").exists()
    assert (tmp_path / "fold_05/notes.txt").exists()
    assert (tmp_path / "folds/best.pth").exists()


def test_what_would_be_refused_can_be_asked_without_beginning(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    finish(folder, "one", {"a": b"1"})
    before = sorted(path.name for path in tmp_path.rglob("*"))
    folder.require_same("one", WhenPresent.RESUME)
    folder.require_same("two", WhenPresent.OVERWRITE)
    with pytest.raises(ConfigError, match="other settings"):
        folder.require_same("two", WhenPresent.RESUME)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_manifest_cannot_delete_outside_the_folder(tmp_path) -> None:
    folder = RunFolder(tmp_path / "run", "prepare")
    outside = tmp_path / "precious"
    outside.write_text("x")
    finish(folder, "one", {"a": b"1"})
    text = (tmp_path / "run/manifest.json").read_text().replace('"a"', '"../precious"')
    (tmp_path / "run/manifest.json").write_text(text)
    finish(folder, "two", {"b": b"1"}, WhenPresent.OVERWRITE)
    assert outside.exists()


def test_finished_pieces_are_known_by_their_bytes(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    assert folder.reuse_or_begin("one", WhenPresent.STOP) is None
    write_bytes(tmp_path / "piece", b"1")
    folder.record("p1", describe_files(tmp_path, [tmp_path / "piece"]))
    assert folder.reuse_or_begin("one", WhenPresent.RESUME) is None
    assert folder.recorded("p1") is not None
    assert folder.recorded("p2") is None
    (tmp_path / "piece").write_bytes(b"2")
    assert folder.recorded("p1") is None
    # another run's pieces are not ours
    assert folder.reuse_or_begin("two", WhenPresent.OVERWRITE) is None
    assert folder.recorded("p1") is None


def test_a_damaged_run_knows_what_its_manifest_proved_until_it_is_made_again(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    finish(folder, "one", {"a": b"1", "b": b"2"})
    (tmp_path / "b").write_bytes(b"x")
    for _ in range(2):  # a killed repair is taken up by another process
        folder = RunFolder(tmp_path, "prepare")
        assert folder.reuse_or_begin("one", WhenPresent.RESUME) is None
        assert set(folder.proved(["a"]) or ()) == {"a"}
        for names in (["b"], ["a", "b"], ["c"]):
            assert folder.proved(names) is None
    assert folder.reuse_or_begin("one", WhenPresent.OVERWRITE) is None
    assert folder.proved(["a"]) is None


def test_what_a_kill_left_behind_a_whole_run_goes_with_the_next_look(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    finish(folder, "one", {"a": b"1"})
    with folder.held():
        tidy = {path for path in tmp_path.rglob("*") if path.is_file()}
    state = tmp_path / ".clickmap"
    for name in ("journal/identity.json", "previous_manifest.json", "owner.json.7a.partial"):
        write_bytes(state / name, b"{}")
    with folder.held():
        assert folder.reuse_or_begin("one", WhenPresent.RESUME) is not None
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == tidy


def test_a_damaged_manifest_is_reported(tmp_path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", ".clickmap/journal/identity.json"])
def test_what_is_damaged_is_named_and_overwriting_does_not_ask(tmp_path, name) -> None:
    folder = RunFolder(tmp_path, "prepare")
    if name == "manifest.json":
        finish(folder, "one", {"a": b"1"})
    else:
        assert folder.reuse_or_begin("one", WhenPresent.STOP) is None
    (tmp_path / name).write_text('{"ident')
    for when in (WhenPresent.STOP, WhenPresent.RESUME):
        with pytest.raises(RunError, match=f"{name} is damaged; .* --overwrite"):
            folder.reuse_or_begin("one", when)
        with pytest.raises(RunError, match="is damaged"):
            folder.require_startable(when)
    folder.require_startable(WhenPresent.OVERWRITE)
    finish(folder, "one", {"b": b"2"}, WhenPresent.OVERWRITE)
    kept = load_manifest(tmp_path)
    assert kept is not None
    assert list(kept.outputs) == ["b"]


def test_what_is_lacking_is_named_where_it_may_be_what_differs(tmp_path) -> None:
    folder = RunFolder(tmp_path, "benchmark")
    finish(folder, "one", {"a": b"1"})
    with pytest.raises(ConfigError, match=r"than are here now \(x/0.png: no such image\);"):
        folder.reuse_or_begin("two", WhenPresent.RESUME, ["x/0.png: no such image.", "another"])


def test_what_an_error_leaves_half_written_goes_and_what_is_others_stays(tmp_path) -> None:
    theirs = tmp_path / "ceiling" / ".clickmap" / "x.json.7.partial"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    folder = RunFolder(tmp_path, "prepare")
    with pytest.raises(ZeroDivisionError), folder.held():
        (tmp_path / "maps.h5.7.partial").touch()
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*.partial")] == [theirs.name]


def test_a_folder_that_a_run_holds_is_reported_before_any_work(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    assert folder.reuse_or_begin("one", WhenPresent.STOP) is None
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "held\n"
    for when in WhenPresent:
        with pytest.raises(RunError, match=f"Another run is working in .*process {run.pid}"):
            folder.require_startable(when)
    run.kill()
    run.wait()
    run.stdout.close()
    with pytest.raises(ConfigError, match="an unfinished prepare run"):
        folder.require_startable(WhenPresent.STOP)


def test_a_disk_that_turns_read_only_does_not_hide_what_ended_the_run(
    tmp_path, monkeypatch
) -> None:
    folder = RunFolder(tmp_path, "prepare")

    def read_only(path, missing_ok=False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with pytest.raises(ZeroDivisionError), folder.held():
        (tmp_path / "a.csv.7.partial").touch()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", read_only)
            with only_run(tmp_path / "other" / ".clickmap", "ceiling"):
                pass
        raise ZeroDivisionError
    with folder.held():
        pass


def test_leftovers_of_a_killed_run_are_removed(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    (tmp_path / "maps.h5.77.partial").write_text("half")
    assert folder.reuse_or_begin("one", WhenPresent.STOP) is None
    assert not list(tmp_path.glob("*.partial"))


def fill(folder: RunFolder, identity: str, when: WhenPresent = WhenPresent.STOP) -> None:
    """A run that the disk ends after its first piece."""
    with pytest.raises(DiskFullError), folder.held():
        assert folder.reuse_or_begin(identity, when) is None
        (folder.path / "a").write_bytes(b"1")
        folder.record("first", describe_files(folder.path, [folder.path / "a"]))
        raise DiskFullError("b: the disk is full; free some room and run the same again.")


def test_a_plain_run_that_filled_the_disk_is_repeated_as_it_was_typed(tmp_path) -> None:
    fill(RunFolder(tmp_path, "prepare"), "one")
    again = RunFolder(tmp_path, "prepare")
    assert again.require_startable(WhenPresent.STOP) is WhenPresent.RESUME
    assert again.reuse_or_begin("one", WhenPresent.STOP) is None
    assert again.recorded("first") is not None
    # from now on it is a run like any other
    with pytest.raises(ConfigError, match="an unfinished prepare run"):
        RunFolder(tmp_path, "prepare").require_startable(WhenPresent.STOP)


def test_it_is_repeated_when_the_disk_is_still_full_and_with_other_settings_refused(
    tmp_path,
) -> None:
    for _ in range(3):
        fill(RunFolder(tmp_path, "prepare"), "one")
    with pytest.raises(ConfigError, match="other settings or inputs"):
        RunFolder(tmp_path, "prepare").reuse_or_begin("two", WhenPresent.STOP)
    assert RunFolder(tmp_path, "prepare").reuse_or_begin("two", WhenPresent.OVERWRITE) is None
    fill(RunFolder(tmp_path, "prepare"), "two", WhenPresent.RESUME)
    finish(RunFolder(tmp_path, "prepare"), "two", {"a": b"2"})


def test_a_run_that_had_not_begun_marks_nobody_elses(tmp_path) -> None:
    folder = RunFolder(tmp_path, "benchmark")
    folder.reuse_or_begin("one", WhenPresent.STOP)
    with pytest.raises(DiskFullError), RunFolder(tmp_path, "benchmark").held():
        raise DiskFullError("full")
    with pytest.raises(ConfigError, match="an unfinished benchmark run"):
        folder.require_startable(WhenPresent.STOP)
