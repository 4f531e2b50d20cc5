"""Two processes that share every step's images learn what one would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clickmap_cli.models.weights import read_state
from tests.helpers.studies import read_csv
from tests.training import together

ROOT = Path(__file__).parents[2]


def test_two_processes_equal_one(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *words, "-m", "tests.training.together", str(two)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    threads = torch.get_num_threads()
    together.main(one)
    torch.set_num_threads(threads)
    assert len(read_csv(one / "history.csv")) == len(read_csv(two / "history.csv")) == 3
    for ours, theirs in zip(
        read_csv(one / "history.csv"), read_csv(two / "history.csv"), strict=True
    ):
        for name in ("train_loss", "val_loss", "val_NSS", "val_CC"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-5), name
    a, b = read_state(one / "final.pth"), read_state(two / "final.pth")
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], atol=1e-5, rtol=1e-5)
