"""Labelled key points: every form of file, what is refused, and the images they belong to."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickmap_cli.datasets.keypoint_labels import (
    KeypointLabels,
    match_images,
    reference_points,
    seeded_split,
    shared_files,
    swapped_pairs,
)
from clickmap_cli.datasets.keypoint_tables import read_labels, write_dlc_csv, write_flat_csv
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import picture, shared
from tests.storage.pandas_layout import fixed, table

NAN = np.nan
NAMES = ("nose tip", "left_eye")
POINTS = np.array([[[1.5, 2.0], [3.0, 4.25]], [[NAN, NAN], [0.0, 11.0]], [[7.0, 8.0], [NAN, NAN]]])
IMAGES = ("labeled-data/a/img1.png", "labeled-data/a/img2.png", "labeled-data/b/img1.png")

DLC = """\
scorer,me,me,me,me
bodyparts,nose tip,nose tip,left_eye,left_eye
coords,x,y,x,y
labeled-data/a/img1.png,1.5,2,3,4.25
labeled-data/a/img2.png,,,0,11
labeled-data/b/img1.png,7,8,NaN,nan
"""
FOLDERS = """\
scorer,,,me,me,me,me
bodyparts,,,nose tip,nose tip,left_eye,left_eye
coords,,,x,y,x,y
labeled-data,a,img1.png,1.5,2,3,4.25
labeled-data,a,img2.png,,,0,11
labeled-data,b,img1.png,7,8,,
"""
PREDICTED = """\
scorer,net,net,net,net,net,net
bodyparts,nose tip,nose tip,nose tip,left_eye,left_eye,left_eye
coords,x,y,likelihood,x,y,likelihood
labeled-data/a/img1.png,1.5,2,0.9,3,4.25,0.1
labeled-data/a/img2.png,,,,0,11,1
labeled-data/b/img1.png,7,8,0.5,,,what
"""
FLAT = """\
,nose tip x,nose tip y,left_eye x,left_eye y
labeled-data/a/img1.png,1.5,2,3,4.25
labeled-data/a/img2.png,,,0,11
labeled-data/b/img1.png,7,8,NaN,nan
"""
LEADING = """\
\ufeff,video,image_path,nose tip_x,nose tip_y,nose tip_likelihood,left_eye_x,left_eye_y
0,a,labeled-data\\a\\img1.png,1.5,2,1,3,4.25
1,a,labeled-data/a/img2.png,,,,0,11

2,b,./labeled-data/b/img1.png,"7"," 8 ",,,
"""


def written(folder, text, name="labels.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def is_hand_made(labels) -> None:
    assert labels.names == NAMES
    assert labels.images == IMAGES
    assert labels.points.dtype == np.float64
    np.testing.assert_array_equal(labels.points, POINTS)


@pytest.mark.parametrize("text", [DLC, FOLDERS, PREDICTED, FLAT, LEADING])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_forms_say_the_same(tmp_path, text, end) -> None:
    is_hand_made(read_labels(written(tmp_path, text.replace("\n", end))))


def test_compressed(tmp_path) -> None:
    path = tmp_path / "labels.csv.gz"
    path.write_bytes(gzip.compress(DLC.encode()))
    is_hand_made(read_labels(path))


def test_hdf5(tmp_path) -> None:
    columns = [("me", name, axis) for name in NAMES for axis in ("x", "y", "likelihood")]
    values = np.insert(POINTS, 2, 0.5, axis=2).reshape(3, 6)
    path = tmp_path / "a.h5"
    fixed(path, columns, list(IMAGES), [(range(6), values)])
    is_hand_made(read_labels(path))
    fixed(path, columns, [tuple(name.split("/")) for name in IMAGES], [(range(6), values)])
    is_hand_made(read_labels(path))
    table(path, columns, list(IMAGES), values)
    is_hand_made(read_labels(path))
    table(path, columns, [0, 1, 12], values)
    assert read_labels(path).images == ("0", "1", "12")


def test_hdf5_that_is_refused(tmp_path) -> None:
    path = tmp_path / "a.h5"
    columns = [("me", "nose", axis) for axis in ("x", "y")]
    values = np.ones((1, 2))
    table(path, [("me", "mouse1", "nose", axis) for axis in ("x", "y")], ["a.png"], values)
    with pytest.raises(DataError, match="several animals"):
        read_labels(path)
    table(path, [("nose", axis) for axis in ("x", "y")], ["a.png"], values)
    with pytest.raises(DataError, match="scorer, body part and x or y"):
        read_labels(path)
    table(path, columns, ["../a.png"], values)
    with pytest.raises(DataError, match=r"row 1: .*climbs out"):
        read_labels(path)
    table(path, columns, ["a.png"], values * np.inf)
    with pytest.raises(DataError, match="infinite"):
        read_labels(path)
    table(path, columns, ["a.png"], np.array([[1, NAN]]))
    with pytest.raises(DataError, match="row 1: the key point 'nose' has only one of x and y"):
        read_labels(path)


HEAD = "image,a x,a y\n"
DLC_HEAD = "scorer,m,m\nbodyparts,a,a\ncoords,x,y\n"
REFUSED = {
    "": "empty",
    "\n,,\n": "empty",
    HEAD: "names no image",
    "image,width\n1.png,7\n": "no columns of key points",
    "image\n1.png\n": "no columns of key points",
    "image,a x,a y,comment\n1.png,1,2,-\n": "column 4 is 'comment', neither x nor y",
    "image,a x\n1.png,1\n": "'a' has no column y",
    "image,a x,b y\n1.png,1,2\n": "'a' has no column y",
    "image,a x,a y,a x\n1.png,1,2,3\n": "'a' has two columns x",
    "image, x,a y\n1.png,1,2\n": "no column x",
    HEAD + "1.png,1\n": "line 2: 2 fields where the header has 3",
    HEAD + "1.png,1,2\n\n1.png,3,4\n": "'1.png' is in line 2 and line 4",
    HEAD + "b.png,1,2\n./b.png,3,4\n": "'b.png' is in line 2 and line 3",
    HEAD + "1.png,1,2\n2.png,3,two\n": "line 3, column 'a y': 'two' is not a number",
    HEAD + "1.png,1,inf\n": "'inf' is not a number",
    HEAD + "1.png,1_0,2\n": "'1_0' is not a number",
    HEAD + '1.png,"1,5",2\n': "'1,5' is not a number",
    HEAD + "1.png,1,\n": "line 2: the key point 'a' has only one of x and y",
    HEAD + "1.png,,1\n": "only one of x and y",
    HEAD + "../1.png,1,2\n": "climbs out",
    HEAD + "/data/1.png,1,2\n": "absolute; name it inside its folder, found '/data/1.png'",
    HEAD + "c:/1.png,1,2\n": "absolute",
    HEAD + ",1,2\n": "the image's name is empty",
    HEAD + '"1.png,1,2\n': "not a readable CSV",
    HEAD + "\x00.png,1,2\n": "control characters",
    DLC_HEAD: "names no image",
    DLC_HEAD + "1.png,1,\n": "line 4: the key point 'a' has only one",
    DLC_HEAD + "1.png,1,z\n": "line 4, column 'a y': 'z' is not a number",
    "scorer,m,m\nindividuals,i,i\nbodyparts,a,a\ncoords,x,y\n1.png,1,2\n": "several animals",
    "scorer,m,m\nbodyparts,a,a\n": "expected DeepLabCut's rows",
    "scorer,m,m\ncoords,x,y\nbodyparts,a,a\n": "expected DeepLabCut's rows",
    "scorer,m,m\nbodyparts,a\ncoords,x,y\n": "unequal numbers of columns",
    "scorer,m,n\nbodyparts,a,a\ncoords,x,y\n1.png,1,2\n": "labels of 2 scorers, 'm' and 'n'",
    "scorer,m,m\nbodyparts,a,a\ncoords,x,z\n1.png,1,2\n": "'a' has a column 'z'",
    "scorer,m,m\nbodyparts,a,\ncoords,x,y\n1.png,1,2\n": "'a' has no column y|name is ''",
    "scorer\nbodyparts\ncoords\n1.png\n": "no key points",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_a_sentence(tmp_path, text) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=REFUSED[text]) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_files_that_are_not_text(tmp_path) -> None:
    with pytest.raises(DataError, match="No file"):
        read_labels(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"image,a x,a y\n\xff.png,1,2\n")
    with pytest.raises(DataError, match="not a readable CSV"):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_labels(tmp_path)


def test_images_by_number_have_no_ending(tmp_path) -> None:
    text = "frame,note,a x,a y\n0,5.png,1,2\n1,,3,4\n"
    assert read_labels(written(tmp_path, text)).images == ("0", "1")


# --- writing ----------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=8)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(words, min_size=1, max_size=4, unique=True),
    st.lists(words.map("{}.png".format), min_size=1, max_size=4, unique=True),
    st.booleans(),
    st.data(),
)
def test_what_is_written_is_read_back(tmp_path, names, files, in_folders, data) -> None:
    images = [f"labeled-data/a/{name}" if in_folders else name for name in files]
    images = [image.replace("\\", "-") for image in images]
    numbers = st.floats(-0.5, 1e5, width=64) | st.just(NAN)
    points = np.array(
        [[[data.draw(numbers), data.draw(st.floats(-0.5, 1e5))] for _ in names] for _ in images]
    )
    points[np.isnan(points).any(axis=2)] = NAN
    labels = KeypointLabels(tuple(names), tuple(images), points)
    for write in (write_flat_csv, write_dlc_csv):
        try:
            write(tmp_path / "out.csv", labels)
            found = read_labels(tmp_path / "out.csv")
        except DataError:
            # such names are refused when they are read, `//` or a leading `c:` for two
            assert any("/" in name or ":" in name or name.startswith(".") for name in files)
            continue
        if all("/" not in name for name in files):
            assert found.images == tuple(images)
        assert found.names == tuple(names)
        np.testing.assert_array_equal(found.points, points)


def test_deeplabcuts_columns(tmp_path) -> None:
    """With `labeled-data` in the first cell below the header it reads three columns of names."""
    labels = KeypointLabels(NAMES, IMAGES, POINTS)
    write_dlc_csv(tmp_path / "out.csv", labels, scorer="net")
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[0] == ["scorer", "", "", "net", "net", "net", "net"]
    assert rows[1] == ["bodyparts", "", "", "nose tip", "nose tip", "left_eye", "left_eye"]
    assert rows[2] == ["coords", "", "", "x", "y", "x", "y"]
    assert rows[3] == ["labeled-data", "a", "img1.png", "1.5", "2.0", "3.0", "4.25"]
    assert rows[4] == ["labeled-data", "a", "img2.png", "", "", "0.0", "11.0"]
    images = ("img1.png", *IMAGES[1:])
    write_dlc_csv(tmp_path / "out.csv", KeypointLabels(NAMES, images, POINTS))
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[0] == ["scorer", *["clickmap"] * 4]
    assert [row[0] for row in rows[3:]] == list(images)


@pytest.mark.parametrize("folders", [False, True])
def test_pandas_reads_it_as_deeplabcut_does(tmp_path, folders) -> None:
    import pandas as pd

    images = IMAGES if folders else tuple(f"img{number}.png" for number in range(3))
    write_dlc_csv(tmp_path / "out.csv", KeypointLabels(NAMES, images, POINTS))
    index = [0, 1, 2] if folders else 0
    frame = pd.read_csv(tmp_path / "out.csv", header=[0, 1, 2], index_col=index)
    assert list(frame.columns) == [("clickmap", name, axis) for name in NAMES for axis in "xy"]
    np.testing.assert_array_equal(frame.to_numpy().reshape(3, 2, 2), POINTS)
    found = ["/".join(row) if folders else row for row in frame.index]
    assert found == list(images)


# --- images -----------------------------------------------------------------------------------


def scene(folder):
    for seed, name in enumerate(("a/img1.png", "a/img2.png", "a/more.png", "b/img1.png")):
        picture(folder / "labeled-data" / name, (12, 16 + seed), seed)
    return folder / "labeled-data"


def labels_of(images, points=None):
    n = len(images)
    return KeypointLabels(("p",), tuple(images), np.ones((n, 1, 2)) if points is None else points)


def test_images_are_found_by_their_endings(tmp_path) -> None:
    root = scene(tmp_path)
    labels = KeypointLabels(NAMES, IMAGES, POINTS)
    for folder in (root, tmp_path):
        found = match_images(labels, folder)
        assert [image.name for image in found.images] == list(IMAGES)
        assert [image.path for image in found.images] == [tmp_path / name for name in IMAGES]
        assert [image.size for image in found.images] == [(12, 16), (12, 17), (12, 19)]
        np.testing.assert_array_equal([image.points for image in found.images], POINTS)
        assert found.without_file == ()
        assert [name.split("/")[-1] for name in found.without_label] == ["more.png"]
        assert any("3 sizes, from 12 x 16 to 12 x 19" in text for text in found.notices())
    inside = match_images(labels.take([1, 0]), root / "a")
    assert [image.path.name for image in inside.images] == ["img2.png", "img1.png"]
    with pytest.raises(DataError, match=r"'labeled-data/a/img1.png' and .* would both be"):
        match_images(labels, root / "a")


def test_what_does_not_match_is_listed(tmp_path) -> None:
    root = scene(tmp_path)
    (root / "a" / "notes.txt").write_text("no image")
    picture(root / ".hidden" / "img3.png")
    (root / "a" / "._img1.png").write_bytes(b"a Mac's")
    labels = labels_of(("a/img1.png", "a/img9.png", "img1.png", "a/more.png", "gone.png"))
    labels.points[[3, 4]] = NAN
    found = match_images(labels, root)
    assert [image.name for image in found.images] == ["a/img1.png"]
    # two files may be img1.png; and what has no label at all has lost nothing
    assert found.without_file == ("a/img9.png", "img1.png")
    assert found.without_label == ("a/img2.png", "a/more.png", "b/img1.png")
    first, second = found.notices()
    assert first.startswith("the labels: 2 of 3 labelled images have no file of their own")
    assert "3 images have no label in the labels: a/img2.png, a/more.png, b/img1.png." in second


def test_long_lists_are_cut(tmp_path) -> None:
    root = scene(tmp_path)
    found = match_images(labels_of(["a/img1.png", *(f"{at}.png" for at in range(9))]), root)
    assert found.notices()[0].endswith("0.png, 1.png, 2.png, 3.png, 4.png and 4 more.")


def test_labels_outside_their_image(tmp_path) -> None:
    root = scene(tmp_path)
    for x, y in ((-0.5, -0.5), (16, 12), (NAN, NAN)):
        match_images(labels_of(("a/img2.png", "a/img1.png"), np.array([[[1, 1]], [[x, y]]])), root)
    for x, y in ((-0.51, 0), (0, -1), (16.01, 3), (3, 13), (1e300, 1)):
        with pytest.raises(DataError, match=r"'p' of 'a/img1\.png' .* image of 16 x 12 pixels"):
            match_images(labels_of(("a/img1.png",), np.array([[[x, y]]])), root)


def test_folders_without_the_images(tmp_path) -> None:
    root = scene(tmp_path)
    with pytest.raises(DataError, match="none of the 1 images"):
        match_images(labels_of(("other.png",)), root)
    with pytest.raises(DataError, match="No folder of images"):
        match_images(labels_of(("a.png",)), tmp_path / "gone")
    (root / "a" / "img1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="not a readable image"):
        match_images(labels_of(("a/img1.png",)), root)


def test_files_in_two_sets(tmp_path) -> None:
    root = scene(tmp_path)
    train = match_images(labels_of(("a/img1.png", "a/img2.png")), root)
    test = match_images(labels_of(("img2.png", "more.png")), root / "a")
    assert shared_files(train, test) == ["img2.png"]


def test_another_order_of_key_points() -> None:
    labels = KeypointLabels(("a", "b", "c"), ("1.png",), np.arange(6.0).reshape(1, 3, 2))
    turned = labels.in_order(("c", "a", "b"))
    assert turned.names == ("c", "a", "b")
    np.testing.assert_array_equal(turned.points, [[[4, 5], [0, 1], [2, 3]]])
    for names in (("a", "b"), ("a", "b", "d"), ("a", "b", "c", "d")):
        with pytest.raises(DataError, match="is in one of them only"):
            labels.in_order(names)


# --- split ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(words, min_size=2, max_size=30, unique=True),
    st.floats(0.001, 0.999),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_splits(names, share, seed, random) -> None:
    train, test = seeded_split(names, share, seed)
    assert sorted(train + test) == list(range(len(names)))
    assert train == sorted(train)
    assert test == sorted(test)
    assert train
    assert test
    if 1 <= round(share * len(names)) < len(names):
        assert len(test) == round(share * len(names))
    shuffled = random.sample(names, len(names))
    again = seeded_split(shuffled, share, seed)[1]
    assert {shuffled[at] for at in again} == {names[at] for at in test}


def test_splits_depend_on_the_seed() -> None:
    names = [str(at) for at in range(40)]
    assert len({tuple(seeded_split(names, 0.25, seed)[1]) for seed in range(20)}) == 20
    counts = np.zeros(40)
    for seed in range(400):
        counts[seeded_split(names, 0.25, seed)[1]] += 1
    # 400 draws at 1/4: mean 100, standard deviation 8.7
    assert counts.min() > 60
    assert counts.max() < 140


def test_splits_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        seeded_split(["a"], 0.5, 0)


# --- real labels ------------------------------------------------------------------------------


def test_the_mouse_faces() -> None:
    root = shared("mouse_face")
    train, test, dlc = (
        read_labels(root / f"CollectedData{name}.csv") for name in ("Train", "Test", "_dlc")
    )
    assert (len(train), len(test), len(dlc)) == (30, 10, 40)
    assert len(dlc.names) == 12
    assert train.names == test.names == dlc.names
    both = {name: points for labels in (train, test)
            for name, points in zip(labels.images, labels.points, strict=True)}  # fmt: skip
    for name, points in zip(dlc.images, dlc.points, strict=True):
        np.testing.assert_array_equal(points, both[name])
    found = match_images(train, root / "images")
    assert len(found.images) == 30
    assert {image.size for image in found.images} == {(335, 448)}
    assert found.without_label == tuple(sorted(test.images))
    assert shared_files(found, match_images(test, root / "images")) == []


EYES = ("nose", "eye top", "eye bottom", "0")


def test_reference_points_by_name_number_and_default() -> None:
    assert reference_points(EYES, None) == (1, 2)
    assert reference_points(("Eye_Bottom", "x", "eye-top"), None) == (2, 0)
    assert reference_points(EYES, ["nose", "eye top"]) == (0, 1)
    assert reference_points(EYES, [3, 0]) == (3, 0)
    assert reference_points(EYES, ["0", 0]) == (3, 0)  # a name that looks like a number


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([0, 4], "4 is out of range; the 4 key points are counted from 0 to 3"),
        ([-1, 0], "-1 is out of range"),
        (["nose", "eye topp"], "no key point 'eye topp'. Did you mean 'eye top'"),
        (["nose", True], "no key point 'True'"),
        ([1, 1], "both are 'eye top'"),
        (["eye top", 1], "both are 'eye top'"),
    ],
)
def test_reference_points_that_are_none(given, what) -> None:
    with pytest.raises(ConfigError, match=what):
        reference_points(EYES, given)


def test_no_default_without_an_eye() -> None:
    with pytest.raises(ConfigError, match=r"reference_points must be set.*Known: a, eye top"):
        reference_points(("a", "eye top"), None)


def test_pairs() -> None:
    assert swapped_pairs(EYES, []) == ()
    assert swapped_pairs(EYES, [["0", "nose"], [1, "eye bottom"]]) == ((3, 0), (1, 2))
    for pairs, what in (
        ([["nose", "nose"]], "'nose' is there twice"),
        ([["nose", "0"], ["eye top", 0]], "'nose' is there twice"),
        ([["nose", "tail"]], "no key point 'tail'"),
    ):
        with pytest.raises(ConfigError, match=rf"augment\.pairs: .*{what}"):
            swapped_pairs(EYES, pairs)
