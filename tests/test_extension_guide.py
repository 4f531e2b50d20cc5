"""The README's four diffs, applied as they stand to a copy of the project, and what they add."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.studies import random_rows, write_csv

ROOT = Path(__file__).parents[1]
DIFFS = dict(
    zip(
        ("metric", "data set", "model", "command"),
        re.findall(r"```diff\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL),
        strict=True,
    )
)
COPIED = ("clickmap_cli", "configs", "tests", "README.md", "pyproject.toml")


def ran(copy: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Python with these words, and the copy in place of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    line = [sys.executable, *map(str, words)]
    return subprocess.run(
        line, env=environment, cwd=copy, capture_output=True, text=True, check=False
    )


def clickmap(copy: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return ran(copy, "-m", "clickmap_cli", *words)


def passes(copy: Path, *words: str) -> None:
    """The project's own tests, run on the copy."""
    done = ran(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture
def extended(request, tmp_path) -> Path:
    """A copy of the project with one of the diffs applied."""
    if shutil.which("git") is None:
        pytest.skip("there is no git to apply diffs with")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "faults", "benchmarks")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    diff = DIFFS[request.param]
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = subprocess.run(
        ["git", "apply", "-"],
        input=diff, cwd=copy, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for file in re.findall(r"^\+\+\+ b/(\S+)", diff, re.MULTILINE):
        assert (copy / file).read_text() != (
            (ROOT / file).read_text() if (ROOT / file).exists() else ""
        )
        if file.endswith(".py"):
            assert ran(copy, "-m", "ruff", "check", file).returncode == 0
            assert ran(copy, "-m", "ruff", "format", "--check", file).returncode == 0
    return copy


@pytest.mark.parametrize("name", DIFFS)
def test_a_diff_is_short(name) -> None:
    assert len(DIFFS[name].splitlines()) < 40


@pytest.mark.parametrize("extended", ["metric"], indirect=True)
def test_the_new_metric_is_scored(extended, tmp_path) -> None:
    rng = np.random.default_rng(0)
    p, t = rng.random((2, 6, 7)).astype(np.float32)
    np.savez(tmp_path / "maps.npz", p=p, t=t)
    code = (
        "import sys, numpy as np; from clickmap_cli.metrics.map_scores import score_maps;"
        "m = np.load(sys.argv[1]); p, t = m['p'][None], m['t'][None];"
        "print(score_maps('bhattacharyya', p, t)[0])"
    )
    done = ran(extended, "-c", code, tmp_path / "maps.npz")
    p, t = (m.astype(np.float64) / m.astype(np.float64).sum() for m in (p, t))
    assert float(done.stdout) == pytest.approx(float(np.sqrt(p * t).sum()), abs=1e-9)

    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=4, users=4))
    done = clickmap(
        extended, "ceiling", "hold-one-out", f"clickme_data={data}", f"assets={tmp_path}",
        "image_shape=[32,32]", "min_subjects=2", "n_jobs=1", "metric=Bhattacharyya", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["metric"], found["higher_is_better"]) == ("bhattacharyya", True)
    assert 0 < found["ceiling_mean"] < 1
    files = ("metrics/test_map_scores.py", "config/test_documented.py", "test_registries.py")
    passes(extended, *(f"tests/{file}" for file in files), "-k", "bhattacharyya or definition")


def write_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Grey pictures with a noisy patch, and points in it."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    points = {}
    for at in range(3):
        pixels = np.full((40, 60, 3), 128, np.uint8)
        x, y = 8 + 16 * at, 10 + 8 * at
        pixels[y - 6 : y + 6, x - 6 : x + 6] = rng.integers(0, 256, (12, 12, 1))
        Image.fromarray(pixels).save(folder / f"p{at}.png")
        points[f"p{at}"] = rng.integers(-3, 3, (9, 2)) + np.array((x, y))
        np.savetxt(folder / f"p{at}.txt", points[f"p{at}"])
    return points


def benchmark(copy: Path, *words: str) -> tuple[int, dict]:
    done = clickmap(copy, "benchmark", *words, "n_jobs=1", "report_images=0", "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("extended", ["data set"], indirect=True)
def test_the_new_data_set_is_benchmarked(extended, tmp_path) -> None:
    points = write_pictures(tmp_path / "pictures")
    words = (
        f"datasets=[{{name: point_lists, root: {tmp_path / 'pictures'}}}]", "models=[center_bias]",
        "metrics=[NSS]", f"output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    code, found = benchmark(extended, *words)
    assert (code, found["failures"]) == (0, [])
    rows, columns = np.mgrid[0:40, 0:60]
    centre = np.exp(-(((rows - 19.5) / 10) ** 2 + ((columns - 29.5) / 15) ** 2) / 2)
    z = (centre - centre.mean()) / centre.std()
    wanted = np.mean([z[xy[:, 1], xy[:, 0]].mean() for xy in points.values()])
    (result,) = found["results"]
    assert (result["dataset"], result["n_images"]) == ("point_lists", 3)
    assert result["scores"]["NSS"]["mean"] == pytest.approx(wanted, rel=1e-5)

    # damage to one image is reported, and the others go on
    (tmp_path / "pictures" / "p1.txt").write_text("not numbers")
    again = (*words[:-1], f"output_dir={tmp_path / 'again'}", "max_lost=0.5")
    code, found = benchmark(extended, *again)
    assert code == 1
    assert [row["image_id"] for row in found["failures"]] == ["p1"]
    assert found["results"][0]["n_images"] == 2
    passes(
        extended, "tests/config/test_documented.py", "tests/test_registries.py", "-k", "data_set"
    )


@pytest.mark.parametrize("extended", ["model"], indirect=True)
def test_the_new_model_is_benchmarked(extended, tmp_path) -> None:
    points = write_pictures(tmp_path / "pictures")
    for stem, xy in points.items():
        counts = np.zeros((40, 60), np.int64)
        np.add.at(counts, (xy[:, 1], xy[:, 0]), 1)
        (tmp_path / "corpus" / "fixations").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "corpus" / "fixations" / f"{stem}.npy", counts)
    shutil.copytree(tmp_path / "pictures", tmp_path / "corpus" / "images")
    code, found = benchmark(
        extended, f"datasets=[{{name: folder, root: {tmp_path / 'corpus'}}}]",
        "models=[uniform, {name: local_contrast, sigma: 3}]", "metrics=[AUC,NSS]",
        f"output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert (code, found["failures"]) == (0, [])
    scores = {result["model"]: result["scores"] for result in found["results"]}
    assert scores["uniform"]["AUC"]["mean"] == 0.5
    # people looked where the contrast is, and nothing else is in the pictures
    assert scores["local_contrast"]["AUC"]["mean"] > 0.9
    assert scores["local_contrast"]["NSS"]["mean"] > 2
    listed = clickmap(extended, "benchmark", "--list").stdout
    assert "Reinagel, Zador (1999)" in listed
    wrong = clickmap(extended, "benchmark", "datasets=[{name: folder, root: .}]",
                     "models=[{name: local_contrast, sigmas: 3}]")  # fmt: skip
    assert "Did you mean 'sigma'?" in wrong.stderr
    passes(extended, "tests/config/test_documented.py", "-k", "data_set_and_model")


@pytest.mark.parametrize("extended", ["command"], indirect=True)
def test_the_new_command_answers(extended) -> None:
    done = clickmap(extended, "metrics")
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert ["spearman", "higher", "Spearman (1904)"] in lines
    assert ["kl", "lower", "Kullback and Leibler (1951); MIT KLDiv"] in lines
    assert "metrics" in clickmap(extended, "--help").stdout
    passes(extended, "tests/commands/test_help.py", "-k", "metrics or headline")
