"""A table of fixations and a folder of images."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickmap_cli.datasets.formats.fixations_csv import fixations_csv
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import array, by_id, gaussian_sum, picture, reasons, shared

SIZE = (12, 16)
HEADER = "image,subject,order,x,y"


def images(root):
    for seed, name in enumerate(("1.png", "cats/17.png", "dogs/big/17.png")):
        picture(root / "images" / name, SIZE, seed)
    return root / "images"


def table(root, *rows: str, header: str = HEADER, name: str = "fix.csv"):
    text = "\n".join([header, *rows]) + "\n"
    path = root / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["fix.csv", "fix.csv.gz"])
def test_points_people_ids_and_categories(tmp_path, name) -> None:
    path = table(
        tmp_path, "cats/17.png,b,1,5.5,6.25", "1.png,a,0,1,2", "cats/17.png,a,9,3,3",
        "cats/17.png,b,0,4,4", "cats\\17.png,a,10,2,2", "dogs/big/17.png,007,0,0,0", name=name,
    )  # fmt: skip
    found = by_id(fixations_csv(path, images(tmp_path)))
    assert {key: stimulus.category for key, stimulus in found.items()} == {
        "1": "all", "cats_17": "cats", "dogs_big_17": "big",
    }  # fmt: skip
    assert found["dogs_big_17"].points.subjects == ("007",)
    np.testing.assert_array_equal(found["cats_17"].points.x, [3, 2, 4, 5.5])


def test_points_come_person_after_person_in_their_order(tmp_path) -> None:
    path = table(
        tmp_path, "1.png,b,1,5.5,6.25", "1.png,a,10,2,2", "1.png,b,0,4,4", "1.png,a,9,3,3",
    )  # fmt: skip
    (stimulus,) = fixations_csv(path, images(tmp_path), sigma_px=2).stimuli
    np.testing.assert_array_equal(stimulus.points.x, [3, 2, 4, 5.5])
    np.testing.assert_array_equal(stimulus.points.y, [3, 2, 4, 6.25])
    np.testing.assert_array_equal(stimulus.points.subject, [0, 0, 1, 1])
    assert list(stimulus.people().names) == ["a", "b"]
    expected = gaussian_sum([3, 2, 4, 5], [3, 2, 4, 6], SIZE, 2)
    np.testing.assert_allclose(stimulus.truth(), expected / expected.sum(), rtol=1e-12)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1.png", "cats/17.png"]), st.sampled_from("abc"), st.integers(-5, 50),
            st.sampled_from(np.arange(-30, 200) / 10), st.sampled_from(np.arange(-30, 150) / 10),
        ),
        min_size=1,
    )
)  # fmt: skip
def test_as_a_plain_loop_reads_it(tmp_path, rows) -> None:
    path = table(tmp_path, *(",".join(map(str, row)) for row in rows))
    found = by_id(fixations_csv(path, images(tmp_path)))
    for name, key in (("1.png", "1"), ("cats/17.png", "cats_17")):
        mine = sorted((row for row in rows if row[0] == name), key=lambda row: row[1:3])
        inside = [row for row in mine if 0 <= row[3] < 16 and 0 <= row[4] < 12]
        if mine:
            points = found[key].points
            assert points.x.tolist() == [row[3] for row in inside]
            assert points.y.tolist() == [row[4] for row in inside]
            assert [points.subjects[code] for code in points.subject] == [r[1] for r in inside]


def test_what_lies_outside_or_cannot_be_read_is_counted(tmp_path) -> None:
    path = table(
        tmp_path, "1.png,a,0,1,1", "1.png,a,1,16,1", "1.png,a,2,-0.1,1", "1.png,a,3,inf,1",
        "1.png,a,4,,1", "1.png,a,5,nan,1", "1.png,a,x,1,1", "1.png,,6,1,1", "1.png,NA,0,2,2",
    )  # fmt: skip
    data = fixations_csv(path, images(tmp_path))
    np.testing.assert_array_equal(data.stimuli[0].points.x, [2, 1])
    assert data.stimuli[0].points.subjects == ("NA", "a")
    lost = [str(loss) for loss in data.losses]
    assert any("4 of 9 rows" in text for text in lost)
    assert any("3 of 5 fixations" in text for text in lost)


def test_bad_images_are_problems(tmp_path) -> None:
    folder = images(tmp_path)
    (folder / "bad.png").write_bytes(b"no picture")
    names = ("1.png", "../1.png", "/etc/passwd", "bad.png", "lost.png", "")
    path = table(tmp_path, *(f"{name},a,0,1,1" for name in names))
    data = fixations_csv(path, folder)
    assert list(by_id(data)) == ["1"]
    told = reasons(data)
    assert "climbs out" in told["../1.png"]
    assert "absolute" in told["/etc/passwd"]
    assert "not a readable image" in told["bad"]
    assert "no such image" in told["lost"]
    assert "empty" in told[""]


def test_maps_splits_and_subject_columns(tmp_path) -> None:
    folder = images(tmp_path)
    heat = array(tmp_path / "maps" / "cats_17.npy", np.random.default_rng(0).random(SIZE))
    array(tmp_path / "maps" / "dogs" / "big" / "17.npy", heat * 2)
    rows = ("1.png,w,0,1,1", "cats/17.png,w,0,1,1", "dogs/big/17.png,v,0,1,1")
    path = table(tmp_path, *rows, header="image,worker,order,x,y")
    data = fixations_csv(path, folder, maps=tmp_path / "maps", subject_column="worker")
    found = by_id(data)
    np.testing.assert_array_equal(found["cats_17"].truth(), heat)
    np.testing.assert_array_equal(found["dogs_big_17"].truth(), heat * 2)
    assert "no map 1" in reasons(data)["1"]
    (tmp_path / "test.txt").write_text("1\n")
    data = fixations_csv(path, folder, split="test", subject_column=None)
    assert list(by_id(data)) == ["1"]
    assert data.stimuli[0].points.subject is None
    with pytest.raises(DataError, match=r"no column subject \(found: image, worker"):
        fixations_csv(path, folder)


def test_tables_that_cannot_be_used(tmp_path) -> None:
    folder = images(tmp_path)
    picture(folder / "1.bmp", SIZE)
    with pytest.raises(DataError, match=r"'1\.bmp' and '1\.png' would both be called '1'"):
        fixations_csv(table(tmp_path, "1.png,a,0,1,1", "1.bmp,a,0,1,1"), folder)
    with pytest.raises(DataError, match="no column x and y"):
        fixations_csv(table(tmp_path, header="image,subject,order"), folder)
    with pytest.raises(DataError, match="found no images"):
        fixations_csv(table(tmp_path), folder)
    with pytest.raises(ConfigError, match="subject_column"):
        fixations_csv(table(tmp_path), folder, subject_column="x")
    with pytest.raises(DataError, match="no file at"):
        fixations_csv(tmp_path / "absent.csv", folder)
    with pytest.raises(DataError, match="images: no folder"):
        fixations_csv(table(tmp_path), tmp_path / "absent")
    for name, content in (("a.csv", b""), ("b.csv.gz", b"no gzip"), ("c.csv", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            fixations_csv(tmp_path / name, folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("header", ["image, subject, order, x ,y", "image,subject,order,x,y,,"])
def test_blanks_and_empty_names_in_the_header_change_nothing(tmp_path, header) -> None:
    rows = ("1.png,a,1,3,4", "1.png,a,0,1,2", "1.png,b,0,5,6")
    folder = images(tmp_path)
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.mkdir()
    other.mkdir()
    wanted = by_id(fixations_csv(table(plain, *rows), folder))["1"].points
    found = by_id(fixations_csv(table(other, *rows, header=header), folder))["1"].points
    for name in ("columns", "rows", "subject"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_a_column_that_is_used_and_named_twice_is_an_error(tmp_path) -> None:
    path = table(tmp_path, "1.png,a,0,1,1,2", header="image,subject,order,x,y,x")
    with pytest.raises(DataError, match="two columns are called x; rename one"):
        fixations_csv(path, images(tmp_path))


def test_commas_at_the_ends_of_lines_shift_nothing(tmp_path) -> None:
    path = table(tmp_path, "1.png,a,0,1,2,", "1.png,a,1,3,4,")
    (stimulus,) = fixations_csv(path, images(tmp_path)).stimuli
    np.testing.assert_array_equal(stimulus.points.x, [1, 3])


def test_ids_are_text_whatever_they_look_like(tmp_path) -> None:
    for ids, order in (
        (["nan", "NA", "null", "ann"], ["NA", "ann", "nan", "null"]),
        (["007", "7", "10", "9"], ["007", "7", "9", "10"]),
        (["1e3", "1000"], ["1000", "1e3"]),
        (["True", "False"], ["False", "True"]),
    ):
        rows = [f"1.png,{name},0,{at},1" for at, name in enumerate(ids)]
        data = fixations_csv(table(tmp_path, *rows), images(tmp_path))
        (stimulus,) = data.stimuli
        assert list(stimulus.points.subjects) == order
        assert [ids[int(x)] for x in stimulus.points.x] == order
        said = [text for text in data.notices if "are taken as names of participants" in text]
        assert len(said) == ("nan" in ids)


def test_images_are_text_whatever_they_look_like(tmp_path) -> None:
    folder = tmp_path / "images"
    for name in ("007.png", "7.png"):
        picture(folder / name, SIZE)
    data = fixations_csv(table(tmp_path, "007.png,a,0,1,2", "7.png,a,0,3,4"), folder)
    assert [stimulus.image_id for stimulus in data.stimuli] == ["007", "7"]


def test_blanks_around_ids_are_removed_and_counted(tmp_path) -> None:
    path = table(tmp_path, "1.png,ann,0,1,1", "1.png, ann ,1,2,2", "1.png,joe b,0,3,3")
    data = fixations_csv(path, images(tmp_path))
    assert data.stimuli[0].points.subjects == ("ann", "joe b")
    np.testing.assert_array_equal(data.stimuli[0].points.x, [1, 2, 3])
    (text,) = data.notices
    assert text == (
        f"{path}: subject: 1 of the ids have blanks around them, which were removed: ' ann '; "
        "'ann' is spelled with and without them, and each counts as one participant."
    )


def test_missing_cells_are_unreadable_rows(tmp_path) -> None:
    path = table(
        tmp_path, "0,1,1,a,1.png", "0,1,1,,1.png", "0,1,1, ,1.png", "0,1,1,a", "0,1,1",
        header="order,x,y,subject,image",
    )  # fmt: skip
    data = fixations_csv(path, images(tmp_path))
    assert len(data.stimuli[0].points) == 1
    lost = [str(loss) for loss in data.losses]
    assert lost[0].startswith("3 of 5 rows have an image, x, y, order or subject that cannot be")
    assert "the column image is empty" in str(data.problems)


def test_images_that_differ_in_case_only_are_reported(tmp_path) -> None:
    for name in ("a.png", "A.png"):
        picture(tmp_path / "images" / name, SIZE)
    data = fixations_csv(table(tmp_path, "a.png,a,0,1,2", "A.png,a,0,3,4"), tmp_path / "images")
    assert any("'A' and 'a'" in text for text in data.notices)


def test_eye_fixations_of_osie() -> None:
    root = shared("osie")
    data = fixations_csv(root / "fixations_eye.csv", root)
    assert len(data.stimuli) == 60
    assert not data.problems
    with (root / "fixations_eye.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = by_id(data)
    for key, stimulus in found.items():
        expected = np.zeros((600, 800), np.int64)
        people = set()
        for row in rows:
            x, y = float(row["x"]), float(row["y"])
            if row["image"] == f"{key}.jpg" and 0 <= x < 800 and 0 <= y < 600:
                expected[int(y), int(x)] += 1
                people.add(row["subject"])
        assert stimulus.size == (600, 800)
        np.testing.assert_array_equal(stimulus.points.counts(stimulus.size), expected)
        assert set(stimulus.people().names) == people
