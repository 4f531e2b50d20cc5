"""SALICON's annotations, as JSON and as `.mat`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import io

from clickmap_cli.datasets.formats.salicon import salicon
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import by_id, gaussian_sum, grey, picture, reasons, shared

SIZE = (12, 16)


def content() -> dict:
    """Two images; worker 7 annotated the first one twice. Fixations are [row, column] from 1."""
    images = [{"id": at, "file_name": f"COCO_{at}.jpg", "height": 12, "width": 16} for at in (1, 2)]
    annotations = [
        {"id": 1, "image_id": 1, "worker_id": 7, "fixations": [[1, 1], [12, 16], [3, 2]]},
        {"id": 2, "image_id": 1, "worker_id": 9, "fixations": [[5, 5]]},
        {"id": 3, "image_id": 1, "worker_id": 7, "fixations": [[6, 7]]},
        {"id": 4, "image_id": 2, "worker_id": 9, "fixations": [[2, 9], [13, 1], [1, 17], [0, 1]]},
        {"id": 5, "image_id": 2, "worker_id": 7, "fixations": []},
    ]
    return {"images": images, "annotations": annotations}


def written(root, data=None, name="fixations_train2014.json"):
    for at in (1, 2):
        picture(root / "images" / f"COCO_{at}.jpg", SIZE, at)
    (root / name).write_text(json.dumps(content() if data is None else data))
    return root / name


def test_rows_and_columns_start_at_1_and_workers_are_people(tmp_path) -> None:
    written(tmp_path)
    data = salicon(tmp_path, sigma_px=2)
    one, two = data.stimuli
    assert [one.image_id, two.image_id] == ["COCO_1", "COCO_2"]
    np.testing.assert_array_equal(one.points.x, [0, 15, 1, 4, 6])
    np.testing.assert_array_equal(one.points.y, [0, 11, 2, 4, 5])
    assert [one.points.subjects[code] for code in one.points.subject] == list("77797")
    people = one.people()
    assert list(people.names) == ["7", "9"]
    assert people.target(0)._clicks.sum() == 4
    expected = gaussian_sum([4], [4], SIZE, 2)
    np.testing.assert_allclose(people.others(0), expected, rtol=1e-12)
    np.testing.assert_array_equal(two.points.x, [8])
    assert two.people() is None
    assert any(str(loss).startswith("3 of 9 fixations") for loss in data.losses)


def test_settings_override_the_layout(tmp_path) -> None:
    path = written(tmp_path / "a")
    for at in (1, 2):
        grey(tmp_path / "maps" / "train" / f"COCO_{at}.png", np.full(SIZE, at, np.uint8))
    data = salicon(fixations=path, images=tmp_path / "a" / "images", maps=str(tmp_path / "maps"))
    for at, stimulus in enumerate(data.stimuli, 1):
        np.testing.assert_array_equal(stimulus.truth(), np.full(SIZE, at))
        assert stimulus.image().shape == (*SIZE, 3)
    without = salicon(fixations=path)
    assert [stimulus.size for stimulus in without.stimuli] == [SIZE, SIZE]
    assert any("no folder of images" in text for text in without.notices)


def test_images_without_annotations(tmp_path) -> None:
    images = content()["images"]
    written(tmp_path, {"images": images}, "fixations_test2014.json")
    data = salicon(tmp_path, split="test")
    assert [stimulus.points for stimulus in data.stimuli] == [None, None]
    only_one = {"images": images, "annotations": content()["annotations"][:3]}
    written(tmp_path, only_one)
    assert [len(stimulus.points) for stimulus in salicon(tmp_path).stimuli] == [5, 0]


@pytest.mark.parametrize("how", ["split folders", "plain folders", "named folders"])
def test_images_and_maps_without_fixations(tmp_path, how) -> None:
    """The comparison of an EigenCAM study: published maps, without fixations."""
    inner = "val" if how == "split folders" else "."
    for at in (1, 2):
        picture(tmp_path / "images" / inner / f"COCO_{at}.jpg", SIZE, at)
        grey(tmp_path / "maps" / inner / f"COCO_{at}.png", np.full(SIZE, at, np.uint8))
    if how == "named folders":
        data = salicon(images=tmp_path / "images", maps=tmp_path / "maps", split="val")
        where = tmp_path / "maps"
    else:
        data = salicon(tmp_path, split="val")
        where = tmp_path
    assert [stimulus.image_id for stimulus in data.stimuli] == ["COCO_1", "COCO_2"]
    for at, stimulus in enumerate(data.stimuli, 1):
        assert (stimulus.size, stimulus.points, stimulus.people()) == (SIZE, None, None)
        np.testing.assert_array_equal(stimulus.truth(), np.full(SIZE, at))
        assert stimulus.image().shape == (*SIZE, 3)
    (said,) = data.notices
    assert said == (
        f"{where}: no fixations, only images and maps; scores against fixations (AUC, NSS, ...) "
        "stay empty."
    )


def test_images_and_maps_that_do_not_match(tmp_path) -> None:
    for at in (1, 2):
        picture(tmp_path / "images" / f"COCO_{at}.jpg", SIZE, at)
    for at in (2, 3):
        grey(tmp_path / "maps" / f"COCO_{at}.png", np.full(SIZE, at, np.uint8))
    data = salicon(tmp_path)
    assert list(by_id(data)) == ["COCO_2"]
    found = reasons(data)
    assert "no map COCO_1" in found["COCO_1"]
    assert "no such image" in found["COCO_3"]


@pytest.mark.parametrize(
    ("part", "change", "what"),
    [
        ("images", {"file_name": "../COCO_1.jpg"}, "climbs out"),
        ("images", {"file_name": ""}, "empty"),
        ("images", {"height": 13}, "12 x 16 pixels, its fixations are for 13 x 16"),
        ("images", {"width": None}, "height and width"),
        ("images", {"width": 1e300}, "height and width"),
        ("images", {"file_name": "lost.jpg"}, "no such image"),
        ("annotations", {"fixations": [[1, 2], [3]]}, "annotation 1 has no list of pairs"),
        ("annotations", {"fixations": [["a", 2]]}, "annotation 1 has no list of pairs"),
        ("annotations", {"fixations": None}, "annotation 1 has no list of pairs"),
        ("annotations", {"fixations": [[[1, 2]]]}, "annotation 1 has no list of pairs"),
        ("annotations", {"worker_id": None}, "no worker_id"),
    ],
)
def test_one_damaged_image_leaves_the_other(tmp_path, part, change, what) -> None:
    data = content()
    data[part][0].update(change)
    written(tmp_path, data)
    got = salicon(tmp_path)
    assert list(by_id(got)) == ["COCO_2"]
    (reason,) = reasons(got).values()
    assert what in reason


def test_coordinates_beyond_all_bounds_are_outside(tmp_path) -> None:
    data = content()
    data["annotations"][0]["fixations"] = [[2**62, 1], [1, -(2**62)], [1, 1], [1e300, 1.5]]
    written(tmp_path, data)
    np.testing.assert_array_equal(salicon(tmp_path).stimuli[0].points.x, [0, 4, 6])


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "3", '{"images": 3}', '{"images": [1]}', '{"annotations": []}',
             '{"images": [], "annotations": {}}', "[" * 100_000]
)  # fmt: skip
def test_what_is_not_an_annotation_file(tmp_path, text) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        salicon(fixations=tmp_path / "a.json")


def test_sets_that_cannot_be_used(tmp_path) -> None:
    with pytest.raises(ConfigError, match="set root, or fixations"):
        salicon()
    with pytest.raises(DataError, match=r"no fixations/train/\*\.mat"):
        salicon(tmp_path)
    written(tmp_path, {"images": [], "annotations": []})
    with pytest.raises(DataError, match="found no images"):
        salicon(tmp_path)
    data = content()
    data["annotations"][0]["image_id"] = 5
    written(tmp_path, data)
    with pytest.raises(DataError, match="for the image 5, which is not listed"):
        salicon(tmp_path)
    data = content()
    data["images"][1]["file_name"] = "COCO_1.png"
    written(tmp_path, data)
    with pytest.raises(DataError, match="would both be called 'COCO_1'"):
        salicon(tmp_path)
    written(tmp_path, name="fixations_train2017.json")
    with pytest.raises(DataError, match="name one in `fixations`"):
        salicon(tmp_path)


# --- .mat -------------------------------------------------------------------------------------


def mat(path, people, size=SIZE) -> None:
    """One image's file: `fixations` are [x, y] from 1."""
    gaze = np.zeros(
        (len(people), 1), dtype=[(n, object) for n in ("location", "timestamp", "fixations")]
    )
    for at, fixations in enumerate(people):
        gaze[at, 0] = (np.ones((4, 2)), np.arange(4.0), np.asarray(fixations, np.uint16))
    path.parent.mkdir(parents=True, exist_ok=True)
    io.savemat(path, {"image": path.stem, "resolution": np.array([size]), "gaze": gaze})


def test_mat_files(tmp_path) -> None:
    written(tmp_path)
    mat(
        tmp_path / "fixations" / "train" / "COCO_1.mat",
        [[[1, 1], [16, 12]], np.empty((0, 2)), [[3, 4]]],
    )
    mat(tmp_path / "fixations" / "train" / "COCO_2.mat", [[[17, 12], [2, 3]]])
    mat(tmp_path / "fixations" / "val" / "COCO_3.mat", [[[1, 1]]])
    data = salicon(tmp_path)
    one, two = data.stimuli
    np.testing.assert_array_equal(one.points.x, [0, 15, 2])
    np.testing.assert_array_equal(one.points.y, [0, 11, 3])
    assert list(one.people().names) == ["COCO_1#1", "COCO_1#3"]
    np.testing.assert_array_equal(two.points.y, [2])
    assert any(str(loss).startswith("1 of 5 fixations") for loss in data.losses)


def test_damaged_mat_files_are_problems(tmp_path) -> None:
    mat(tmp_path / "a.mat", [[[1, 1]]])
    mat(tmp_path / "b.mat", [[[1, 1]]], size=(0, 16))
    mat(tmp_path / "c.mat", [[[1, 1, 1]]])
    (tmp_path / "d.mat").write_bytes(b"nothing")
    io.savemat(tmp_path / "e.mat", {"resolution": np.array([SIZE]), "gaze": np.ones(3)})
    io.savemat(tmp_path / "f.mat", {"resolution": np.array([SIZE])})
    data = salicon(fixations=tmp_path)
    assert list(by_id(data)) == ["a"]
    told = reasons(data)
    for name, what in (("b", "height and width"), ("c", "not pairs"), ("d", "not a readable"),
                       ("e", "no field 'fixations'"), ("f", "no variable 'gaze'")):  # fmt: skip
        assert what in told[name]


def test_the_published_examples() -> None:
    root = shared("salicon")
    data = salicon(root)
    assert len(data.stimuli) == 10
    assert not data.problems
    with (root / "fixations_train2014examples.json").open() as file:
        raw = json.load(file)
    assert sum(len(s.points) for s in data.stimuli) == sum(
        len(annotation["fixations"]) for annotation in raw["annotations"]
    )
    for entry in raw["images"]:
        stimulus = by_id(data)[entry["file_name"].removesuffix(".jpg")]
        assert stimulus.image().shape == (entry["height"], entry["width"], 3)
        expected = np.zeros(stimulus.size, np.int64)
        workers = set()
        for annotation in raw["annotations"]:
            if annotation["image_id"] == entry["id"]:
                workers.add(str(annotation["worker_id"]))
                for row, column in annotation["fixations"]:
                    expected[row - 1, column - 1] += 1
        np.testing.assert_array_equal(stimulus.points.counts(stimulus.size), expected)
        assert set(stimulus.people().names) == workers
