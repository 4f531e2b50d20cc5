"""What `data simulate` writes: the same trials in every format, ready to be prepared."""

from __future__ import annotations

import csv
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.trials_file import read_trials
from clickmap_cli.clickmaps.simulation import people as simulated
from clickmap_cli.clickmaps.simulation.people import LargeStudy
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.data import simulate
from clickmap_cli.services.data.simulate import FORMATS, SimulateJob
from clickmap_cli.services.prepare import run as prepare

SIDE = 32


def job(folder: Path, **changed: object) -> SimulateJob:
    given: dict = {"trials": 150, "images": 7, "users": 40, "seed": 2, "side": SIDE, **changed}
    return SimulateJob(folder, **given)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    """Several blocks from few trials."""
    monkeypatch.setattr(simulated, "BLOCK", 64)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_as_the_study(tmp_path, kind) -> None:
    made = simulate.run(job(tmp_path, format=kind), Silent())
    study = LargeStudy(2, 7, 40, SIDE)
    blocks = list(study.blocks(150))
    rejected: list = []
    path, shapes = tmp_path / f"trials.{kind}", ImageShapes((SIDE, SIDE))
    trials, n_rows = read_trials(path, shapes, lambda *row: rejected.append(row), Silent())
    assert (n_rows, rejected) == (150, [])
    pixel = np.concatenate([block.pixel for block in blocks])
    np.testing.assert_array_equal(trials.x, pixel % SIDE)
    np.testing.assert_array_equal(trials.y, pixel // SIDE)
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
    np.testing.assert_array_equal(trials.n_clicks, lengths)
    images = [study.image_keys[code] for block in blocks for code in block.image]
    users = [study.user_names[code] for block in blocks for code in block.user]
    assert trials.images[trials.image].tolist() == images
    assert trials.users[trials.user].tolist() == users
    assert made.counts["trials"] == 150
    assert made.counts["clicks"] == len(pixel)
    assert made.counts["bytes"] == (tmp_path / f"trials.{kind}").stat().st_size


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_seed_gives_the_same_bytes(tmp_path, kind) -> None:
    for name, seed in (("a", 2), ("b", 2), ("c", 3)):
        simulate.run(job(tmp_path / name, format=kind, seed=seed), Silent())
    a, b, c = (digest(tmp_path / name / f"trials.{kind}") for name in "abc")
    assert a == b != c
    assert digest(tmp_path / "a/truth.csv") == digest(tmp_path / "b/truth.csv")


def test_fewer_rows_are_the_first_rows_of_more(tmp_path) -> None:
    for n in (70, 150):
        simulate.run(job(tmp_path / str(n), trials=n), Silent())
    few, many = ((tmp_path / str(n) / "trials.csv").read_text() for n in (70, 150))
    assert many.startswith(few)
    assert few.count("\n") == 71
    simulate.run(job(tmp_path / "gz", format="csv.gz"), Silent())
    assert gzip.decompress((tmp_path / "gz/trials.csv.gz").read_bytes()).decode() == many


@pytest.mark.parametrize("pictures", [False, True])
def test_the_config_beside_it_runs(tmp_path, pictures) -> None:
    folder = tmp_path / "a folder: with, odd #names"
    simulate.run(job(folder, pictures=pictures), Silent())
    loaded = load_experiment(folder / "simulate.yaml")
    assert loaded.notices == ()
    drawn: list[Path] = []

    def draw(example) -> None:
        drawn.append(example.path)
        example.path.parent.mkdir(exist_ok=True)
        example.path.write_bytes(b"drawn")

    result = prepare.run(loaded.config, Silent(), draw)
    assert (result.summary.images, result.summary.trials, result.summary.rejected) == (7, 150, 0)
    assert result.folder.parent == folder / "assets"
    assert bool(drawn) is pictures


def test_pictures_are_the_scenes_and_truth_names_every_user(tmp_path, monkeypatch) -> None:
    from PIL import Image

    monkeypatch.setattr(simulated, "SCENES", 3)
    simulate.run(job(tmp_path, pictures=True), Silent())
    study = LargeStudy(2, 7, 40, SIDE)
    scenes = [scene.pixels for scene in study.scenes()]
    for at, key in enumerate(study.image_keys):
        with Image.open(tmp_path / "images" / key) as image:
            np.testing.assert_array_equal(np.asarray(image), scenes[at % 3])
    with (tmp_path / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["user_id"] for row in rows] == study.user_names
    assert [row["role"] for row in rows] == study.roles.tolist()


def test_images_and_people_are_as_many_as_a_study_would_have(tmp_path) -> None:
    assert job(tmp_path, trials=6_000_000, images=None, users=None).n_images == 60_000
    assert job(tmp_path, trials=99, images=None).n_images == 1
    assert job(tmp_path, trials=720, images=60, users=None).n_users == 40
    assert job(tmp_path, trials=6_000_000, images=60_000, users=None).n_users == 333_333
    assert job(tmp_path, trials=900, images=1, users=None).n_users == 900
    assert job(tmp_path, trials=900, images=1, users=1000).n_users == 1000


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"users": 21}, "use at least 22"),
        ({"images": 151}, "every image needs a trial"),
        ({"format": "cvs"}, "Did you mean 'csv'"),
        ({"format": "npz", "trials": 500_001, "users": 90_000}, "use csv, csv.gz or parquet"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path, changed, says
) -> None:
    with pytest.raises(ConfigError, match=says):
        simulate.run(job(tmp_path / "new", **changed), Silent())
    assert not (tmp_path / "new").exists()


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path) -> None:
    simulate.run(job(tmp_path), Silent())
    before = digest(tmp_path / "trials.csv")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        simulate.run(job(tmp_path, seed=9), Silent())
    assert digest(tmp_path / "trials.csv") == before
    simulate.run(job(tmp_path, seed=9), Silent(), overwrite=True)
    assert digest(tmp_path / "trials.csv") != before
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_progress_counts_every_trial(tmp_path) -> None:
    class Counting(Silent):
        steps = 0

        def advance(self, steps: int = 1) -> None:
            self.steps += steps

    progress = Counting()
    simulate.run(job(tmp_path), progress)
    assert progress.steps == 150
