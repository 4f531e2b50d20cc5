"""Folders of attention maps as commands make them: cut from recordings, or simulated."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.clickmaps.simulation.reading_study import ReadingStudy, to_grey
from clickmap_cli.config.loading import CLASSIFIER, load_config
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.classifier.data import load_study
from clickmap_cli.services.data.tools import reading_study


def invoke(*words: object):
    return CliRunner().invoke(app, ["data", *(str(word) for word in words)])


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def raw(tmp_path) -> Path:
    """Recordings of two participants, `<participant>_<class>_<page>.png`."""
    rng = np.random.default_rng(0)
    for name in ("p1_C_a", "p1_P_b", "p2_C_a", "p2_P_b"):
        pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
        path = tmp_path / "raw" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "raw"


PATTERN = r"(?P<participant>p\d)_(?P<class>\w)_(?P<name>\w)"


def test_recordings_become_maps_of_one_size(raw, tmp_path) -> None:
    done = invoke("crop-heatmaps", raw, "-o", tmp_path / "maps", "--pattern", PATTERN,
                  "--box", "4,5,24,25", "--colour", "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"maps": 4, "classes": 2, "participants": 2}
    for person, (label, page) in product("12", ("Ca", "Pb")):
        whole = pixels_of(raw / f"p{person}_{label}_{page}.png")
        found = pixels_of(tmp_path / f"maps/{label}/p{person}/{page}.png")
        assert np.array_equal(found, whole[5:25, 4:24])
    sized = invoke("crop-heatmaps", raw, "-o", tmp_path / "small", "--pattern", PATTERN,
                   "--size", "16x18", "-j", 2)  # fmt: skip
    assert sized.exit_code == 0, sized.stderr
    assert "4 maps, 2 classes, 2 participants" in sized.stderr
    assert {pixels_of(path).shape for path in (tmp_path / "small").rglob("*.png")} == {(16, 18)}


def test_maps_below_the_recordings_are_none_and_stay_unless_told(raw) -> None:
    words = ("crop-heatmaps", raw, "-o", raw / "out", "--pattern", PATTERN)
    assert invoke(*words).exit_code == 0
    before = contents(raw / "out")
    again = invoke(*words)
    assert again.exit_code == 2
    assert "is there already; add --overwrite" in again.stderr
    assert invoke(*words, "--overwrite").exit_code == 0
    assert contents(raw / "out") == before


def test_sentences_split_recordings(raw, tmp_path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("page,sentence,left,top,right,bottom\na,1,0,0,9,9\na,2,9,9,18,18\nb,1,0,0,9,9\n"
                     "z,1,0,0,9,9\n")  # fmt: skip
    done = invoke("crop-heatmaps", raw, "-o", tmp_path / "maps", "--pattern", PATTERN,
                  "--sentences", table)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert set(contents(tmp_path / "maps")) == {
        f"{name}.png" for p in ("p1", "p2") for name in (f"C/{p}/a_1", f"C/{p}/a_2", f"P/{p}/b_1")
    }
    assert "1 of its pages are not there: z" in done.stderr


def test_the_raw_layout_of_the_reading_study(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (620, 1500), np.uint8)
    for folder, name in (("heatmap_fixed", "10m23r2_4_P_a"), ("scanpaths_fixed", "7m1_C_b")):
        (tmp_path / f"raw/{folder}").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / f"raw/{folder}/{name}.png")
    which = invoke("crop-heatmaps", tmp_path / "raw", "-o", tmp_path / "maps")
    assert which.exit_code == 2
    assert "holds heatmaps and scanpaths; say which: --kind heatmaps" in which.stderr
    done = invoke("crop-heatmaps", tmp_path / "raw", "-o", tmp_path / "maps", "--kind", "heatmaps")
    assert done.exit_code == 0, done.stderr
    found = pixels_of(tmp_path / "maps/P/10/10m23r2_4_P_a.png")
    assert np.array_equal(found, pixels[399:599])


def test_what_gives_no_map_is_listed(raw, tmp_path) -> None:
    bad = raw / "p2_C_a.png"
    bad.write_bytes(bad.read_bytes()[:-200])
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(raw / "nobody.png")
    done = invoke("crop-heatmaps", raw, "-o", tmp_path / "maps", "--pattern", PATTERN)
    assert done.exit_code == 1
    assert "p2_C_a.png" in done.stderr
    assert "nobody.png: its name does not match --pattern" in done.stderr
    assert "3 maps" in done.stderr
    for path in raw.glob("p*.png"):
        path.unlink()
    none = invoke("crop-heatmaps", raw, "-o", tmp_path / "none", "--pattern", PATTERN)
    assert none.exit_code == 1
    assert "No map was written" in none.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--box", "1,2,3"], 2, "--box is '1,2,3'; it must be 4 whole numbers"),
        (["--box", "1,2,3,-4"], 2, "it must be 4 whole numbers"),
        (["--size", "wide"], 2, "--size is 'wide'; it must be 2 whole numbers"),
        (["--kind", "films"], 2, "kind is 'films'"),
        (["--n-jobs", "0"], 2, "--n-jobs is 0"),
        (["--pattern", "("], 2, "not a regular expression"),
        (["--pattern", PATTERN, "--box", "0,0,99,9"], 1, "reaches outside the picture"),
    ],
)
def test_mistakes_are_sentences(raw, tmp_path, words, code, says) -> None:
    done = invoke("crop-heatmaps", raw, "-o", tmp_path / "maps", *words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert says in done.stderr
    assert not (tmp_path / "maps").exists()


def test_the_simulated_study_is_the_documented_one(tmp_path) -> None:
    done = invoke("reading-study", "-o", tmp_path / "study", "--seed", 3, "--json")
    assert done.exit_code == 0, done.stderr
    counts = {"maps": 192, "participants": 16, "classes": 2}
    assert json.loads(done.stdout)["counts"] == counts
    drawn = next(iter(ReadingStudy(3).maps()))
    found = pixels_of(tmp_path / "study" / drawn.path)
    assert np.array_equal(found, to_grey(drawn.values))
    config = load_config(CLASSIFIER, None, [f"data.root={tmp_path / 'study'}"]).config
    read = load_study(config, Silent())
    assert (len(read.images.items), read.size, len(read.folds)) == (192, (128, 128), 5)
    again = invoke("reading-study", "-o", tmp_path / "study")
    assert again.exit_code == 2
    assert "is not empty; add --overwrite" in again.stderr
    reading_study(tmp_path / "other", 3, Silent())
    assert contents(tmp_path / "other") == contents(tmp_path / "study")


def test_a_study_of_another_seed_replaces_the_whole_one(tmp_path) -> None:
    folder = tmp_path / "study"
    assert invoke("reading-study", "-o", folder).exit_code == 0
    (folder / "notes.txt").write_text("mine")
    done = invoke("reading-study", "-o", folder, "--seed", 3, "--overwrite")
    assert done.exit_code == 0, done.stderr
    reading_study(tmp_path / "other", 3, Silent())
    assert contents(folder) == {**contents(tmp_path / "other"), "notes.txt": b"mine"}
    (tmp_path / "file").write_text("")
    refused = invoke("reading-study", "-o", tmp_path / "file", "--overwrite")
    assert refused.exit_code == 2
    assert "is a file" in refused.stderr


def test_the_help_names_every_layout() -> None:
    said = " ".join(invoke("crop-heatmaps", "--help").stdout.split())
    for word in ("<class>/<participant>/<name>.png", "heatmap_fixed/", "scanpaths_fixed/"):
        assert word in said
