from __future__ import annotations

import time

import pytest

from clickmap_cli.runtime.errors import ConfigError, DataError, IncompleteError, MissingExtraError
from clickmap_cli.runtime.progress import Checks, Findings, Progress, Silent, Stopwatch


def test_a_clock_that_jumps_changes_no_duration(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    watch = Stopwatch()
    monkeypatch.setattr(time, "time", lambda: 5.0)
    seconds = watch.seconds
    assert 0 <= seconds <= watch.seconds
    assert seconds < 600
    assert watch.began == 1e9


def make_checks(progress: Progress) -> None:
    checks = Checks(progress)
    with checks.part("data set a"):
        raise DataError("No file at a.csv.")
    with checks.part("data set b"):
        raise ConfigError("data set b: unknown setting 'rot'.\nset root.")
    with checks.part("model m"):
        raise KeyError("mine")
    checks.require_all()


def test_the_first_error_ends_a_run() -> None:
    with pytest.raises(DataError, match=r"a\.csv"):
        make_checks(Silent())


def test_findings_hear_of_every_error() -> None:
    found = Findings(ignored=(MissingExtraError,))
    with pytest.raises(IncompleteError):
        make_checks(found)
    with pytest.raises(IncompleteError):
        make_checks(found)  # which collects nothing twice
    assert found.problems == [
        "data set a: No file at a.csv.",
        "data set b: unknown setting 'rot'.",
        "data set b: set root.",
        "model m: KeyError: 'mine'",
    ]
    assert found.exit_code == 2
    with Checks(found).part():
        raise MissingExtraError("emd", "metric: emd")
    assert len(found.problems) == 4
    Checks(found).require_all()
