"""Calls that the disk ended, at any of their files, and that are typed again as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.datasets.scenes import picture
from tests.helpers.studies import random_rows, write_csv


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    }


def gaze(root: Path) -> list[str]:
    for seed, name in enumerate(("a", "b", "c")):
        picture(root / "images" / f"{name}.png", (12, 16), seed)
    rows = [f"{name}.png,p{p},{at},{2 + p},{3 + at}\n"
            for name in "abc" for p in range(3) for at in range(3)]  # fmt: skip
    (root / "f.csv").write_text("image,subject,order,x,y\n" + "".join(rows))
    return ["name=fixations_csv", f"csv={root / 'f.csv'}", f"images={root / 'images'}",
            "sigma_px=2"]  # fmt: skip


def calls(root: Path) -> dict[str, list[object]]:
    """Every kind of call with its folder left out."""
    for at, name in enumerate(("x/p1/a.png", "y/p2/b.png", "x/p3/c.png")):
        picture(root / "raw" / name, (20, 30), at)
    data = write_csv(root / "trials.csv", random_rows(0, images=4, users=4))
    sets = gaze(root)
    return {
        "toy": ["data", "toy", "--images", 2],
        "simulate": ["data", "simulate", "--trials", 30, "--images", 3, "--users", 12],
        "split": ["data", "split", *sets, "--test-count", 1],
        "gt-mean": ["data", "gt-mean", *sets],
        "export": ["data", "export-pysaliency", *sets],
        "crop": ["data", "crop-heatmaps", root / "raw", "-j", 1],
        "ceiling": ["ceiling", "split-half", f"clickme_data={data}", "image_shape=[32,32]",
                    "min_subjects=1", "blur_size=5", "randomization_iters=2", "null_iterations=2",
                    "metric=[spearman,pearson]", "n_jobs=1"],
        "prepare": ["prepare", f"clickme_data={data}", "image_shape=[32,32]", "min_subjects=1",
                    "blur_size=5", "display_image_keys=null", "n_jobs=1", "backend=threading"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["toy", "simulate", "split", "gt-mean", "export", "crop", "ceiling", "prepare"]
)
def test_the_same_call_works_again_wherever_the_disk_was_full(tmp_path, full_after, name) -> None:
    words = calls(tmp_path)[name]
    whole = tmp_path / "whole" / "out"
    assert invoke(*words, "-o", whole).exit_code == 0
    wanted = set(contents(whole))
    for files in range(0, 60, 1 if name != "prepare" else 3):
        out = tmp_path / str(files) / "out"
        full_after(files)
        failed = invoke(*words, "-o", out)
        full_after(1_000_000)
        if failed.exit_code == 0:
            assert files > 0
            break
        assert failed.exit_code == 1, failed.output
        assert "the disk is full; free some room and run the same again" in failed.output
        again = invoke(*words, "-o", out)
        assert again.exit_code == 0, (files, again.output)
        assert set(contents(out)) == wanted
    else:
        pytest.fail("the disk never had room enough")
