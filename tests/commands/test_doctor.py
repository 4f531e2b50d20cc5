"""`clickmap doctor` as a person types it, with packages that work and packages that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.studies import random_rows, write_csv


def doctor(folder: Path, *words: object, path: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clickmap_cli", "doctor", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": path} if path else dict(os.environ)
    return subprocess.run(
        line, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )


def test_a_sound_installation_and_a_config_that_runs(tmp_path) -> None:
    write_csv(tmp_path / "trials.csv", random_rows(0, images=3, users=3))
    (tmp_path / "e.yaml").write_text(
        "clickme_data: trials.csv\nimage_shape: [32, 32]\nkernel_type: circle\nmin_subjects: 3\n"
        "display_image_keys: null\nn_jobs: 1\n"
    )
    done = doctor(tmp_path, "--config", "e.yaml", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["ok"], value["problems"]) == (True, [])
    assert value["config"]["file"] == "e.yaml"
    for words in ("clickmap", "cores", "memory", "GPU", "disk", "tensorboard"):
        assert words in done.stderr
    assert "e.yaml: nothing here stands in its way (experiment)." in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.yaml", "trials.csv"]


def test_broken_packages_are_sentences_and_exit_1(tmp_path) -> None:
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "torch.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    for name in ("torchvision", "timm", "sklearn", "matplotlib"):
        (fakes / f"{name}.py").write_text("raise ImportError('no such library')")
    root = str(Path(__file__).parents[2])
    done = doctor(
        tmp_path, "device=cuda", "clickme_data=none.csv", path=f"{fakes}{os.pathsep}{root}"
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "torch is installed and does not import" in done.stderr
    assert "SIGSEGV" in done.stderr
    assert "timm is installed and does not import: ImportError: no such library." in done.stderr
    assert "device: cuda will not work: torch does not work here" in done.stderr
    assert "clickme_data: no file at none.csv" in done.stderr
