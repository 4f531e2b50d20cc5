"""Trials of a prepared experiment with a class each."""

from __future__ import annotations

import numpy as np
import pytest

from clickmap_cli.config.loading import load_experiment
from clickmap_cli.datasets.labelled_clickmaps import labelled_clickmaps
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.studies import random_rows, write_csv


def prepared(tmp_path, words=(), rows=None):
    """Four images of three people, every trial's map stored."""
    rows = random_rows(1, images=4, users=3) if rows is None else rows
    data = write_csv(tmp_path / "trials.csv", rows)
    base = [
        f"clickme_data={data}", f"assets={tmp_path / 'out'}", "image_shape=[32,32]",
        "min_subjects=1", "min_clicks=1", "display_image_keys=null", "blur_size=7",
        "save_maps=participants",
    ]  # fmt: skip
    config = load_experiment(None, [*base, *words]).config
    return prepare.run(config, Silent(), draw_example).folder


def table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


BY_USER = "user_id,label\nu0,good\nu1,bad\nu2,good\n"


def test_every_trial_has_its_participants_class_and_the_stored_map(tmp_path) -> None:
    folder = prepared(tmp_path, ["center_crop=[20,24]"])
    images = labelled_clickmaps(folder, table(tmp_path, BY_USER))
    assert images.classes == ("bad", "good")
    assert images.participants == {"u0": ("good",), "u1": ("bad",), "u2": ("good",)}
    assert (images.sizes, images.channels) == ({(20, 24): 12}, 1)
    assert (images.problems, images.notices) == ((), ())
    store = MapStore(folder)
    for item in images.items:
        label, user, name = item.image_id.split("/")
        assert (item.label, item.participant) == (label, user)
        stored = store.read(name)[int(user[1:])]
        found = item.read()
        assert found.dtype == np.float32
        assert found.max() == 1
        np.testing.assert_allclose(found, stored / stored.max(), atol=1e-6)
    resized = labelled_clickmaps(folder, table(tmp_path, BY_USER), size=(16, 16))
    assert resized.sizes == {(16, 16): 12}


def test_a_table_of_images_and_people(tmp_path) -> None:
    folder = prepared(tmp_path)
    text = "image_path,user_id,label\n0.png,u0,P\ncat1/1.png,u0,C\nimages/cat0/2.png,u1,P\n"
    images = labelled_clickmaps(folder, table(tmp_path, text), classes=["P", "C"])
    assert [item.image_id for item in images.items] == [
        "C/u0/cat1_1.png", "P/u0/cat0_0.png", "P/u1/cat0_2.png",
    ]  # fmt: skip
    assert images.classes == ("P", "C")
    (notice,) = images.notices
    assert "9 trials" in notice


def test_an_image_of_its_own_goes_before_a_row_for_all(tmp_path) -> None:
    folder = prepared(tmp_path)
    text = "image_path,user_id,label\n,u0,C\ncat0/0.png,u0,P\n"
    images = labelled_clickmaps(folder, table(tmp_path, text))
    assert {item.image_id for item in images.items} == {
        "P/u0/cat0_0.png", "C/u0/cat1_1.png", "C/u0/cat0_2.png", "C/u0/cat1_3.png",
    }  # fmt: skip


def test_names_that_are_not_there_are_noticed(tmp_path) -> None:
    folder = prepared(tmp_path)
    text = "image_path,user_id,label\n,u0,C\n,nobody,C\nnone.png,u1,P\n,u1,P\n"
    images = labelled_clickmaps(folder, table(tmp_path, text))
    assert [text.split(": ", 1)[1] for text in images.notices[:2]] == [
        "1 people have no trial here: nobody.", "1 images have no trial here: none.png.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,label\nu0,a\nu0,b\n", "line 3: 'u0' is of class 'b' here and of 'a' in line 2"),
        ("user_id,label\nu0,\n", "line 2: user_id or label is empty"),
        ("user_id,label\nnobody,a\n", "none of its people and images has a trial"),
        ("user_id,label\nu0,a/b\n", "The class 'a/b' holds a slash"),
        ("user,label\nu0,a\n", "no column user_id"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, message) -> None:
    folder = prepared(tmp_path)
    with pytest.raises(DataError, match=message):
        labelled_clickmaps(folder, table(tmp_path, text))


def test_a_class_that_nobody_has(tmp_path) -> None:
    folder = prepared(tmp_path)
    with pytest.raises(ConfigError, match="is of class 'ugly'"):
        labelled_clickmaps(folder, table(tmp_path, BY_USER), classes=["good", "ugly"])
    with pytest.raises(DataError, match="no finished run of prepare"):
        labelled_clickmaps(tmp_path / "none", table(tmp_path, BY_USER))


def test_someones_second_trial_of_an_image_and_names_with_slashes(tmp_path) -> None:
    rows = [
        ("a.png", "x/y", [(3, 3), (9, 9)]),
        ("a.png", "x/y", [(20, 20)]),
        ("a.png", "z", [(5, 5)]),
    ]
    folder = prepared(tmp_path, ["filter_duplicates=false"], rows)
    text = "user_id,label\nx/y,P\nz,C\n"
    images = labelled_clickmaps(folder, table(tmp_path, text))
    ids = {item.image_id: item for item in images.items}
    assert set(ids) == {"P/x_y/a.png", "P/x_y/a.png_2", "C/z/a.png"}
    assert ids["P/x_y/a.png_2"].participant == "x/y"
    assert ids["P/x_y/a.png_2"].read()[20, 20] == 1
