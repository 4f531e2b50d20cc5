"""One try of every kind of fault; `make faults` makes many, for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import disk
from tests.faults.lab import tally
from tests.faults.study import Study
from tests.faults.table import all_faults, chosen

ROOT = Path(__file__).parents[2]
SHORT = (
    "input gone before, finetune", "input gone during, benchmark", "input gone before, ceiling",
    "maps cut or changed, unfinished, prepare", "maps cut or changed, finished, prepare",
    "checkpoint cut, unfinished, finetune", "result cut or changed, unfinished, benchmark",
    "result cut or changed, finished, ceiling", "manifest cut, prepare", "journal cut, benchmark",
    "cached predictions cut or changed, benchmark", "second run, first held, ceiling",
    "two runs at once, prepare", "clock that jumps, prepare",
)  # fmt: skip
ON_DISKS = ("disk full, prepare", "disk read-only, benchmark", "folder not writable, ceiling")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Iterator[Study]:
    return Study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_loses_nothing(study, tmp_path, name) -> None:
    (fault,) = chosen([name])
    found = tally(fault, study, tmp_path, tries=1)
    assert (found.tries, found.lost) == (1, [])


def test_full_and_unwritable_disks_lose_nothing() -> None:
    if disk.private_mounts() is None:
        pytest.skip("no disk may be mounted here, neither as root nor with unshare")
    words = [sys.executable, "-m", "tests.faults.table", "--tries", "1", "--only", *ON_DISKS]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.rpartition(": ")[0] for line in done.stdout.splitlines()] == list(ON_DISKS)


def test_every_kind_of_fault_has_a_short_cut() -> None:
    def kind(name: str) -> str:
        return name.rpartition(", ")[0]

    left = {kind(fault.name) for fault in all_faults()} - {kind(name) for name in SHORT + ON_DISKS}
    # what stands for them is finer: of a finished and of an unfinished run
    assert left == {"checkpoint cut, finished"}
