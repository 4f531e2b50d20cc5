"""A blur and names that are not what was asked for, as a person types and reads them."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.helpers.studies import random_rows, write_csv

RUNNER = CliRunner()


@pytest.fixture
def config(tmp_path):
    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=4, users=3))
    path = tmp_path / "experiment.yaml"
    path.write_text(
        f"experiment_name: small\nclickme_data: {data}\nassets: {tmp_path / 'assets'}\n"
        "image_shape: [32, 32]\nmin_subjects: 2\nkernel_type: gaussian\n"
        "display_image_keys: null\nn_jobs: 1\nrandomization_iters: 2\nnull_iterations: 2\n"
    )
    return path


def said_by(*words: object) -> str:
    """Return a command's output for people, without line ends."""
    result = RUNNER.invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return " ".join(result.stderr.split())


def test_every_command_says_once_that_a_window_cuts(config) -> None:
    words = ("-c", config, "blur_sigma=20", "blur_size=21")
    said = "the effective sigma of the blur is 5.9 pixels"
    assert said_by("prepare", *words, "--dry-run").count(said) == 1
    assert said_by("prepare", *words).count(said) == 1
    assert said_by("ceiling", "split-half", *words, "--dry-run").count(said) == 1
    assert said_by("ceiling", "split-half", *words).count(said) == 1
    assert said_by("visualize", *words, "--dry-run").count(said) == 1
    assert said_by("visualize", *words).count(said) == 1
    folder = config.parent / "assets" / "small"
    again = f"clickme_data={folder}"
    assert said_by("ceiling", "hold-one-out", *words, again, "--dry-run").count(said) == 1


def test_a_sigma_alone_is_the_blur_that_is_made(tmp_path) -> None:
    rows = [("one.png", name, [(128, 128)] * 10) for name in ("ann", "bob")]
    data = write_csv(tmp_path / "trials.csv", rows)
    text = said_by(
        "prepare", f"clickme_data={data}", f"assets={tmp_path}", "kernel_type=gaussian",
        "blur_sigma=20", "min_subjects=1", "display_image_keys=null", "experiment_name=e",
    )  # fmt: skip
    assert "note" not in text
    with h5py.File(tmp_path / "e" / "maps.h5") as file:
        heat = np.asarray(file["clickmaps/one.png/clickmap"], np.float64)[0]
    along = heat.sum(axis=0) / heat.sum()
    at = np.arange(256) - 128
    assert np.sqrt((along * at**2).sum()) == pytest.approx(20, rel=0.01)
    # no square: the map fades out below one of 256 grey levels before it ends
    assert heat[128][heat[128] > 0].min() < heat.max() / 2000
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["config"]["blur_size"] == 161


def test_a_folder_of_the_default_window_is_resumed_by_the_same_window(config) -> None:
    said_by("prepare", "-c", config, "kernel_type=circle")
    words = ("prepare", "-c", config, "kernel_type=circle", "--resume")
    assert "nothing was changed" in said_by(*words, "blur_size=21")
    assert "nothing was changed" in said_by(*words, "blur_size=null", "blur_sigma=null")


def test_a_largest_kernel_that_cuts_is_reported(config) -> None:
    sizes = config.parent / "sizes.json"
    keys = [row[0] for row in random_rows(0, images=4, users=3)]
    sizes.write_text(json.dumps({keys[0]: [320, 320], "nowhere.png": [9, 9]}))
    words = (f"metadata_file={sizes}", "blur_size=41", "max_lost=1", "--dry-run")
    text = said_by("prepare", "-c", config, *words)
    assert "max_kernel_size: 51 cuts the blur of 1 of 4 images: a kernel of 41 pixels" in text
    assert "1 of 2 entries name no image of the trials, or more than one: 'nowhere.png'" in text


def test_names_that_match_nothing_or_look_alike_are_reported(config) -> None:
    rows = random_rows(0, images=3, users=3)
    rows += [(key.upper(), "nan", clicks) for key, _, clicks in rows[:1]]
    rows += [(key, f" {user}", clicks) for key, user, clicks in rows[:1]]
    data = write_csv(config.parent / "names.csv", rows)
    classes = config.parent / "classes.txt"
    classes.write_text("cat0\ncat1\nCAT0\ncow\n")
    text = said_by(
        "prepare", "-c", config, f"clickme_data={data}", f"class_filter_file={classes}",
        "file_inclusion_filter=[cat,horse,CAT]", "file_exclusion_filter=pig", "--dry-run",
    )  # fmt: skip
    assert "class_filter_file: 1 of 4 categories match no image: 'cow'" in text
    assert "file_inclusion_filter: no image's key contains 'horse' (" in text
    assert "file_exclusion_filter: no image's key contains 'pig' (" in text
    assert "1 image keys differ from another only in the case of letters" in text
    assert "user_id: 1 of the ids have blanks around them, which were removed: ' u" in text
    assert "user_id: 'nan' is taken as the name" in text
