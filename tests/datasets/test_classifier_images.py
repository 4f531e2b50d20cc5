"""Folders of labelled attention images, and the messages about them before training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clickmap_cli.config.loading import load_experiment
from clickmap_cli.datasets.classifier_images import (
    LabelledImage,
    LabelledImages,
    folds_fault,
    image_folder,
    labelled_clickmaps,
    one_class_notices,
    read_pixels,
    safe_word,
    training_faults,
)
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.studies import random_rows, write_csv

RNG = np.random.default_rng(0)


def save(path, size=(8, 10), colour=False) -> np.ndarray:
    """A random picture, and its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*size, 3) if colour else size, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def study(folder, sizes=None) -> dict[str, np.ndarray]:
    """Two classes; p1 and p2 are in both, p3 in one."""
    ids = ["C/p1/a", "C/p1/b", "P/p1/a", "C/p2/a", "P/p2/a", "P/p3/z"]
    sizes = sizes or {}
    return {i: save(folder / f"{i}.png", sizes.get(i, (8, 10))) for i in ids}


def test_the_layout_gives_class_participant_and_name(tmp_path) -> None:
    pixels = study(tmp_path)
    for n_jobs in (1, 3):
        images = image_folder(tmp_path, n_jobs=n_jobs)
        assert [item.image_id for item in images.items] == sorted(pixels)
        assert images.classes == ("C", "P")
        assert images.participants == {"p1": ("C", "P"), "p2": ("C", "P"), "p3": ("P",)}
        assert images.sizes == {(8, 10): 6}
        assert images.channels == 1
        assert (images.problems, images.notices) == ((), ())
        assert set(images.files) == set(tmp_path.rglob("*.png"))
        assert images.codes(images.items).tolist() == [0, 0, 0, 1, 1, 1]
    for item in images.items:
        label, participant, _ = item.image_id.split("/")
        assert (item.label, item.participant) == (label, participant)
        found = item.read()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, pixels[item.image_id] / 255, atol=1e-7)


def test_colours_and_sizes(tmp_path) -> None:
    rgb = save(tmp_path / "C/p/one.png", (20, 30), colour=True)
    grey = save(tmp_path / "P/p/two.png", (7, 9))
    images = image_folder(tmp_path, colour=True, size=(12, 15))
    assert (images.channels, images.sizes) == (3, {(12, 15): 2})
    for item, pixels in zip(images.items, (rgb, np.stack([grey] * 3, axis=-1)), strict=True):
        planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() / 255
        wanted = torch.nn.functional.interpolate(
            planes, size=(12, 15), mode="bilinear", antialias=True
        )[0]
        np.testing.assert_allclose(item.read(), wanted.permute(1, 2, 0).numpy(), atol=1e-5)


def test_sixteen_bits_of_grey_are_kept(tmp_path) -> None:
    values = RNG.integers(0, 65536, (5, 6)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = read_pixels(tmp_path / "deep.png", False)
    np.testing.assert_allclose(found, values / 65535, atol=1e-7)
    np.testing.assert_array_equal(
        read_pixels(tmp_path / "deep.png", True), np.stack([found] * 3, axis=-1)
    )
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="a picture of floats"):
        read_pixels(tmp_path / "float.tif", False)
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(DataError, match="more than 16 bits"):
        read_pixels(tmp_path / "wide.tif", False)


def test_unreadable_images_are_problems_and_the_others_stay(tmp_path) -> None:
    study(tmp_path)
    whole = (tmp_path / "C/p1/a.png").read_bytes()
    (tmp_path / "C/p1/a.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "P/p2/a.png").write_text("no picture")
    images = image_folder(tmp_path, n_jobs=2)
    assert [problem.image_id for problem in images.problems] == ["C/p1/a", "P/p2/a"]
    assert all("not a readable image" in problem.reason for problem in images.problems)
    assert len(images.items) == 4
    assert images.sizes == {(8, 10): 4}
    assert images.participants["p2"] == ("C",)


def test_classes_may_be_chosen_and_ordered(tmp_path) -> None:
    study(tmp_path)
    save(tmp_path / "F/p1/f.png")
    images = image_folder(tmp_path, classes=["P", "C"])
    assert images.classes == ("P", "C")
    assert {item.label for item in images.items} == {"C", "P"}
    assert any("folders that are no class here: F" in text for text in images.notices)
    with pytest.raises(ConfigError, match=r"nothing in .* is of class 'X' \(found: C, F, P\)"):
        image_folder(tmp_path, classes=["X", "C"])
    with pytest.raises(ConfigError, match="'C' is there twice"):
        image_folder(tmp_path, classes=["C", "C"])


def test_pictures_in_the_wrong_place_and_none_at_all(tmp_path) -> None:
    study(tmp_path)
    save(tmp_path / "stray.png")
    save(tmp_path / "C/stray.png")
    save(tmp_path / ".hidden/p/x.png")
    (tmp_path / "C/p1/notes.txt").write_text("")
    images = image_folder(tmp_path)
    assert len(images.items) == 6
    (notice,) = images.notices
    assert "2 pictures lie in no participant's folder" in notice
    with pytest.raises(DataError, match="no pictures in <class>/<participant>"):
        image_folder(tmp_path / "C")
    with pytest.raises(DataError, match="no folder at"):
        image_folder(tmp_path / "none")
    save(tmp_path / "C/p1/a.jpg")
    with pytest.raises(DataError, match=r"'a.jpg' and 'a.png' would both be called 'a'"):
        image_folder(tmp_path)


@pytest.mark.parametrize("word", ["", " ", ".", "..", "a/b", "a\\b", "\x1b[31m", "x" * 201, ".a"])
def test_words_that_cannot_name_a_file(word) -> None:
    with pytest.raises(DataError, match="The class"):
        safe_word(word, "class")


@pytest.mark.parametrize("word", ["a", "ä b", "a..b", "p-1_x"])
def test_words_that_can(word) -> None:
    assert safe_word(word, "class") == word


# --- before training ----------------------------------------------------------------------------


def test_maps_that_are_stretched_are_counted(tmp_path) -> None:
    save(tmp_path / "C" / "p0" / "a.png", (8, 10))
    save(tmp_path / "P" / "p1" / "b.png", (10, 10))
    (said,) = image_folder(tmp_path, size=(16, 20)).notices
    assert said.startswith("1 of 2 maps are stretched")
    assert "from 10 x 10 to 16 x 20 (height x width)" in said
    found = image_folder(tmp_path, size=(40, 40))
    assert found.notices[0].startswith("1 of 2 maps are stretched")
    assert found.sizes == {(40, 40): 2}


def never() -> np.ndarray:
    raise AssertionError("nothing is read for this")


def images_of(rows, sizes=None) -> LabelledImages:
    """A set of (class, participant) pairs."""
    items = tuple(
        LabelledImage(f"{label}/{person}/{at}", person, label, never)
        for at, (label, person) in enumerate(rows)
    )
    return LabelledImages(items, ("C", "P"), {(8, 8): len(items)} if sizes is None else sizes)


FULL = [(label, f"p{at}") for at in range(8) for label in "CP"]


def test_a_good_set_gives_nothing_to_say() -> None:
    for rows in (FULL, FULL[::-1]):
        assert training_faults(images_of(rows), 4, 3) == []
        assert one_class_notices(images_of(rows)) == []


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    images = images_of([("C", "p0"), ("C", "p1")], {(8, 8): 1, (9, 8): 1})
    sizes, classes, folds = training_faults(images, 5, 4)
    assert "2 sizes, 8 x 8 (1 images), 9 x 8 (1 images); set size" in sizes
    assert "two classes or more; all are of class 'C'" in classes
    assert "2 participants cannot be divided into 5 test folds" in folds
    assert [text.split()[1] for text in one_class_notices(images)] == ["'p0'", "'p1'"]
    assert "there are none" in training_faults(images_of([], {}), 2, 2)[0]


def test_participants_with_one_class_are_named() -> None:
    images = images_of([*FULL, ("P", "alone")])
    assert training_faults(images, 4, 3) == []
    (notice,) = one_class_notices(images)
    assert "'alone' has images of class 'P' only" in notice


def test_a_class_whose_images_cannot_be_read_is_a_fault() -> None:
    images = images_of(FULL)
    more = LabelledImages(images.items, ("C", "F", "P"), images.sizes)
    (fault,) = training_faults(more, 4, 3)
    assert "of class F; leave it out" in fault


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 14), st.integers(0, 6), st.integers(0, 6))
def test_folds_are_possible_where_each_has_somebody(n, outer, inner) -> None:
    fault = folds_fault(n, outer, inner)
    largest = math.ceil(n / outer) if outer else 0
    possible = outer >= 2 and inner >= 2 and n >= outer and n - largest >= inner
    assert (fault is None) == possible


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
