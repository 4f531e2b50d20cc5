"""`run_job` on a job of one file: what it refuses, keeps, resumes, replaces and cleans up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clickmap_cli.runtime.errors import ConfigError, DataError, DiskFullError, RunError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.job import Identity, Job, run_job, run_jobs
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import load_manifest


class Doubling(Job[int, int]):
    """Writes twice a number; `fault` is raised after the first of two files."""

    command = "double"
    owns = ("doubled.txt", "extra.txt")

    def __init__(self, folder: Path, number: int, *, extra=True, fault=None) -> None:
        self.folder = folder
        self.number = number
        self.extra = extra
        self.fault = fault
        self.worked = 0
        self.loaded = 0

    def recorded_config(self):
        return {"number": self.number}

    def load(self, progress, *, dry_run):
        self.loaded += 1
        if self.number < 0:
            raise DataError(f"number: {self.number} is negative.")
        return self.number

    def identity(self, inputs):
        return Identity(str(inputs), {"number": {"sha256": str(inputs)}})

    def preview(self, inputs):
        return 0

    def stored(self, inputs, manifest):
        return int((self.folder / "doubled.txt").read_text())

    def failures(self, summary):
        return [f"{summary} is odd"] if summary % 2 else []

    def work(self, inputs, run):
        self.worked += 1
        self.todo = [job.number for job in run.todo]
        self.resumed = run.resumed
        (run.path / "doubled.txt").write_text(str(2 * inputs))
        if self.fault is not None:
            raise self.fault
        run.add([run.path / "doubled.txt"])
        if self.extra:
            (run.path / "extra.txt").write_text("more")
            run.add([run.path / "extra.txt"])
        run.counts = {"numbers": 1}
        run.progress.notice("doubled")
        return 2 * inputs


def go(job, when=WhenPresent.STOP, **kwargs):
    return run_job(job, when, progress=Silent(), **kwargs)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".clickmap"}


def test_a_new_folder_gets_results_and_a_manifest(tmp_path) -> None:
    outcome = go(Doubling(tmp_path, 3))
    assert (outcome.summary, outcome.outputs) == (6, ("doubled.txt", "extra.txt"))
    assert (outcome.written, outcome.reused, outcome.failures) == (True, False, ())
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    assert (manifest.command, manifest.config) == ("double", {"number": 3})
    assert (manifest.config_hash, manifest.counts) == ("3", {"numbers": 1})
    assert list(manifest.notices) == ["doubled"]
    assert not (tmp_path / ".clickmap" / "journal").exists()


def test_a_dry_run_loads_and_writes_nothing(tmp_path) -> None:
    job = Doubling(tmp_path / "out", 3)
    outcome = go(job, dry_run=True)
    assert (outcome.written, outcome.summary, job.loaded, job.worked) == (False, 0, 1, 0)
    assert not (tmp_path / "out").exists()


def test_a_plain_call_refuses_results_before_it_loads(tmp_path) -> None:
    go(Doubling(tmp_path, 3))
    job = Doubling(tmp_path, 3)
    with pytest.raises(ConfigError, match="already holds a finished double run"):
        go(job)
    assert job.loaded == 0
    assert go(Doubling(tmp_path, 3), dry_run=True).summary == 0  # a dry run may look


def test_resume_keeps_an_equal_run_and_refuses_another(tmp_path) -> None:
    go(Doubling(tmp_path, 3))
    job, progress = Doubling(tmp_path, 3), Silent()
    outcome = run_job(job, WhenPresent.RESUME, progress=progress)
    assert (outcome.summary, outcome.reused, job.worked) == (6, True, 0)
    assert outcome.outputs == ("doubled.txt", "extra.txt")
    assert any("Already done" in text for text in progress.notices)
    assert progress.kept == []
    with pytest.raises(ConfigError, match="other settings or inputs"):
        go(Doubling(tmp_path, 4), WhenPresent.RESUME)


def test_resume_works_again_where_a_byte_changed(tmp_path) -> None:
    go(Doubling(tmp_path, 3))
    (tmp_path / "doubled.txt").write_text("7")
    job = Doubling(tmp_path, 3)
    assert (go(job, WhenPresent.RESUME).summary, job.worked, job.resumed) == (6, 1, True)


def test_overwrite_replaces_and_removes_what_is_no_longer_made(tmp_path) -> None:
    go(Doubling(tmp_path, 3))
    (tmp_path / "mine.txt").write_text("mine")
    job = Doubling(tmp_path, 4, extra=False)
    assert (go(job, WhenPresent.OVERWRITE).summary, job.resumed) == (8, False)
    assert files(tmp_path) == {"doubled.txt", "manifest.json", "mine.txt"}


def test_unusable_input_does_not_block_the_next_call(tmp_path) -> None:
    with pytest.raises(DataError, match="negative"):
        go(Doubling(tmp_path, -1))
    with pytest.raises(DataError, match="found out late"):
        go(Doubling(tmp_path, 3, fault=DataError("found out late")))
    assert go(Doubling(tmp_path, 4)).summary == 8


def test_an_interrupted_run_must_be_resumed_or_replaced(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(Doubling(tmp_path, 3, fault=KeyboardInterrupt()))
    assert not (tmp_path / "manifest.json").exists()
    with pytest.raises(ConfigError, match="unfinished"):
        go(Doubling(tmp_path, 3))
    assert go(Doubling(tmp_path, 3), WhenPresent.RESUME).summary == 6


def test_a_plain_call_resumes_where_the_disk_was_full(tmp_path) -> None:
    with pytest.raises(DiskFullError):
        go(Doubling(tmp_path, 3, fault=DiskFullError("full")))
    job = Doubling(tmp_path, 3)
    assert (go(job).summary, job.resumed) == (6, True)


def test_a_locked_folder_is_refused_before_loading(tmp_path) -> None:
    job = Doubling(tmp_path, 3)
    with RunFolder(tmp_path, "other").held(), pytest.raises(RunError, match="Another run"):
        go(job)
    assert job.loaded == 0


def test_failures_are_those_of_the_summary(tmp_path) -> None:
    class Odd(Doubling):
        def work(self, inputs, run):
            return super().work(inputs, run) + 1

    assert go(Odd(tmp_path, 3)).failures == ("7 is odd",)


def test_jobs_of_one_call_share_inputs_and_know_what_is_left(tmp_path) -> None:
    def three():
        return [Doubling(tmp_path / str(n), n) for n in (1, 2, 3)]

    go(three()[1])
    jobs = three()
    for job in jobs:
        job.load = lambda progress, *, dry_run: 5
        job.identity = lambda inputs, n=job.number: Identity(str(n), {})
    outcomes = run_jobs(jobs, WhenPresent.RESUME, progress=Silent())
    assert [outcome.reused for outcome in outcomes] == [False, True, False]
    assert [outcome.summary for outcome in outcomes] == [10, 4, 10]
    assert jobs[0].todo == jobs[2].todo == [1, 3]


def test_a_refused_job_leaves_the_other_folders_as_they_are(tmp_path) -> None:
    go(Doubling(tmp_path / "b", 2))
    jobs = [Doubling(tmp_path / "a", 1), Doubling(tmp_path / "b", 1)]
    with pytest.raises(ConfigError, match="b was made with other settings"):
        run_jobs(jobs, WhenPresent.RESUME, progress=Silent())
    assert not (tmp_path / "a" / ".clickmap" / "journal").exists()
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["config"] == {"number": 2}


def test_only_the_first_process_writes(tmp_path) -> None:
    class Second(Doubling):
        first = False

        def share(self, value):
            return 6 if isinstance(value, int) and not isinstance(value, bool) else value

        def work(self, inputs, run):
            return 0

    assert go(Second(tmp_path / "out", 3)).summary == 6
    assert not (tmp_path / "out").exists()
