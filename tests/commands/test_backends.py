"""Where the work runs, from the command line: backends, and parts of a job array."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.helpers.digests import digests
from tests.helpers.studies import random_rows, write_csv

ROOT = Path(__file__).parents[2]


@pytest.fixture
def words(tmp_path) -> list[str]:
    data = write_csv(tmp_path / "trials.csv", random_rows(0))
    return [
        f"clickme_data={data}", f"assets={tmp_path}", "image_shape=[32,32]", "min_subjects=2",
        "display_image_keys=null",
    ]  # fmt: skip


def call(*words: str):
    return CliRunner().invoke(app, list(words))


def test_backends_and_parts_make_the_same_bytes(words, tmp_path) -> None:
    for backend in ("loky", "threading"):
        name = f"experiment_name={backend}"
        assert call("prepare", *words, name, "--backend", backend, "-j", "2").exit_code == 0
    wanted = digests(tmp_path / "loky")
    assert digests(tmp_path / "threading") == wanted
    name = "experiment_name=parts"
    found = call("prepare", *words, name, "--merge")
    assert found.exit_code == 1
    assert "holds no shards" in " ".join(found.stderr.split())
    found = call("prepare", *words, name, "--shard", "1/2", "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["shard"] == "1/2"
    assert "prepare --merge" in " ".join(found.stderr.split())
    assert call("prepare", *words, name, "--shard", "2/2").exit_code == 0
    assert call("prepare", *words, name, "--merge").exit_code == 0
    assert digests(tmp_path / "parts") == wanted


@pytest.mark.parametrize("command", [["prepare"], ["ceiling", "split-half"]])
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--backend", "dask"], "needs the address of a scheduler"),
        (["--scheduler", "tcp://127.0.0.1:1"], "add --backend dask"),
        (["--backend", "celery"], "backend is 'celery'"),
    ],
)
def test_wrong_backends_end_with_2(words, command, more, said) -> None:
    found = call(*command, *words, *more)
    assert found.exit_code == 2
    assert said in " ".join(found.stderr.split())


def test_benchmark_needs_a_scheduler_too(tmp_path) -> None:
    found = call(
        "benchmark", "datasets=[{name: folder, root: x}]", "models=[uniform]", "--backend", "dask"
    )
    assert found.exit_code == 2
    assert "needs the address of a scheduler" in " ".join(found.stderr.split())


def test_the_array_script_submits_every_part_and_the_merge(tmp_path) -> None:
    fake = tmp_path / "sbatch"
    fake.write_text('#!/bin/bash\nprintf "%s|" "$@" >> "$SEEN"\necho >> "$SEEN"\necho 77\n')
    fake.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SEEN": str(tmp_path / "seen")}
    subprocess.run(
        ["bash", str(ROOT / "configs/slurm_array.sh"), "my.yaml", "5"], env=env, check=True,
        capture_output=True,
    )  # fmt: skip
    array, merge = (tmp_path / "seen").read_text().splitlines()
    assert "|--array=1-5|" in array
    assert "prepare --config 'my.yaml' --n-jobs 4 --shard ${SLURM_ARRAY_TASK_ID}/5|" in array
    assert "--dependency=afterok:77|" in merge
    assert "prepare --config 'my.yaml' --merge|" in merge
