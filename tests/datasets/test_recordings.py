"""Screen recordings: what is cropped from which, under which name, and what it looks like."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from clickmap_cli.datasets.classifier_images import image_folder
from clickmap_cli.datasets.recordings import KINDS, Crop, CropSettings, plan_crops
from clickmap_cli.runtime.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


def save(path, size=(12, 16), colour=True) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*size, 3) if colour else size, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def targets(plan) -> dict[str, str]:
    """Target -> name of the source."""
    return {str(crop.target): crop.source.name for crop in plan.crops}


def test_folders_give_class_and_participant(tmp_path) -> None:
    for name in ("C/p1/a.png", "P/p1/b.jpg", "more/P/p2/c.png", ".hidden/p/x.png", "C/p1/n.txt"):
        save(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("")
    plan = plan_crops(tmp_path, CropSettings())
    assert targets(plan) == {
        "C/p1/a.png": "a.png", "P/p1/b.png": "b.jpg", "P/p2/c.png": "c.png",
    }  # fmt: skip
    assert (plan.problems, plan.notices) == ((), ())
    assert [crop.box for crop in plan.crops] == [None] * 3


@pytest.mark.parametrize(
    ("pattern", "names", "wanted"),
    [
        (r"(?P<participant>p\d+)_(?P<class>\w)_(?P<name>.*)", ["p1_C_x.png", "deep/p2_P_y.png"],
         ["C/p1/x.png", "P/p2/y.png"]),
        (r"(?P<participant>p\d+).*", ["C/p1_x.png", "P/p1_y.png"],
         ["C/p1/p1_x.png", "P/p1/p1_y.png"]),
        (r"(?P<class>\w)-.*", ["p1/C-x.png", "all/p2/P-y.png"],
         ["C/p1/C-x.png", "P/p2/P-y.png"]),
        (r"(?P<name>\d+)_.*", ["C/p1/1_x.png", "P/p1/1_y.png"], ["C/p1/1.png", "P/p1/1.png"]),
        (r"(?P<participant>\d+)(?P<class>\w)(?P<part>[ab])?", ["1Ca.png", "1Cb.png", "1P.png"],
         ["C/1/1P.png"]),
    ],
)  # fmt: skip
def test_patterns_say_what_folders_do_not(tmp_path, pattern, names, wanted) -> None:
    for name in names:
        save(tmp_path / name)
    if "part" in re.compile(pattern).groupindex:
        wanted = ["P/1/1P.png", "a/C/1/1Ca.png", "b/C/1/1Cb.png"]
    plan = plan_crops(tmp_path, CropSettings(pattern=pattern))
    assert list(targets(plan)) == wanted
    assert plan.problems == ()


def test_the_raw_layout_has_its_own_boxes_and_names(tmp_path) -> None:
    save(tmp_path / "heatmap_fixed/10m23r2_4_P_h.png", (600, 1500))
    save(tmp_path / "heatmap_fixed/9m23r1_27_C_h.png", (600, 1500))
    for part in "abc":
        save(tmp_path / f"scanpaths_fixed/10m23r2_4_P_{part}.png", (600, 1400))
    with pytest.raises(
        ConfigError, match=r"holds heatmaps and scanpaths; say which: --kind heatmap"
    ):
        plan_crops(tmp_path, CropSettings())
    plan = plan_crops(tmp_path, CropSettings(kind="heatmaps"))
    assert list(targets(plan)) == ["C/9/9m23r1_27_C_h.png", "P/10/10m23r2_4_P_h.png"]
    assert {crop.box for crop in plan.crops} == {(0, 399, 1500, 599)}
    plan = plan_crops(tmp_path, CropSettings(kind="scanpaths", size=(20, 30)))
    assert list(targets(plan)) == [f"{part}/P/10/10m23r2_4_P_{part}.png" for part in "abc"]
    assert {crop.box for crop in plan.crops} == {(100, 399, 1400, 599)}
    assert plan.crops[0].pixels().shape == (20, 30)
    alone = plan_crops(tmp_path / "heatmap_fixed", CropSettings(box=(0, 0, 5, 5)))
    assert {crop.box for crop in alone.crops} == {(0, 0, 5, 5)}
    with pytest.raises(DataError, match="no folder scanpaths_fixed/"):
        plan_crops(tmp_path / "heatmap_fixed", CropSettings(kind="scanpaths"))
    assert {folder for folder, _, _ in KINDS.values()} == {"heatmap_fixed", "scanpaths_fixed"}


# --- pixels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [None, (5, 9)])
def test_pixels_are_cut_then_resized_then_rounded(tmp_path, colour, size) -> None:
    pixels = save(tmp_path / "C/p/a.png")
    box = (2, 1, 13, 11)
    (crop,) = plan_crops(tmp_path, CropSettings(box, size, colour)).crops
    found = crop.pixels()
    with Image.open(tmp_path / "C/p/a.png") as image:
        inside = image.convert("RGB" if colour else "L").crop(box)
    values = np.asarray(inside, dtype=np.float64)
    assert values.shape[:2] == (10, 11)
    if colour:
        np.testing.assert_array_equal(values, pixels[1:11, 2:13])
    if size is None:
        np.testing.assert_array_equal(found, values)
        return
    planes = torch.from_numpy(np.moveaxis(values, -1, 0) if colour else values[None])
    wanted = torch.nn.functional.interpolate(
        planes[None], size=size, mode="bilinear", antialias=True
    )[0].numpy()
    assert found.dtype == np.uint8
    assert found.shape == ((*size, 3) if colour else size)
    away = np.abs((np.moveaxis(found, -1, 0) if colour else found[None]) - wanted)
    assert away.max() <= 0.5 + 1e-3


def test_what_is_written_is_a_set_to_train_on(tmp_path) -> None:
    for name in ("C/p1/a.png", "P/p1/a.png", "C/p2/b.png", "P/p2/b.png"):
        save(tmp_path / "raw" / name, (12 + len(name) % 3, 16))
    plan = plan_crops(tmp_path / "raw", CropSettings(size=(8, 8)))
    files = [crop.write(tmp_path / "out") for crop in plan.crops]
    images = image_folder(tmp_path / "out")
    assert [f"{item.image_id}.png" for item in images.items] == [str(c.target) for c in plan.crops]
    assert images.sizes == {(8, 8): 4}
    for path, crop in zip(files, plan.crops, strict=True):
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), crop.pixels())


def test_results_inside_the_recordings_are_not_taken_for_recordings(tmp_path) -> None:
    save(tmp_path / "C/p/a.png")
    plan = plan_crops(tmp_path, CropSettings())
    plan.crops[0].write(tmp_path / "out")
    assert plan_crops(tmp_path, CropSettings(), leave_out=tmp_path / "out") == plan


# --- sentences ----------------------------------------------------------------------------------


def sentences(tmp_path, text) -> CropSettings:
    path = tmp_path / "sentences.csv"
    path.write_text(text)
    return CropSettings(sentences=path, pattern=r"(?P<participant>p\d)_(?P<name>\w+)")


def test_a_page_is_split_into_its_sentences(tmp_path) -> None:
    raw = tmp_path / "raw"
    pages = {name: save(raw / f"{name}.png") for name in ("p1_one", "p2_one", "p1_two")}
    given = sentences(
        tmp_path,
        "page,participant,sentence,class,left,top,right,bottom\n"
        "one,,1,C,0,0,16,4\none,,2,P,0,4,16,8\none,p2,only,P,1,1,3,3\ntwo,,1,C,0,2,5,9\n"
        "three,,1,C,0,0,1,1\n",
    )
    plan = plan_crops(raw, given)
    assert targets(plan) == {
        "C/p1/one_1.png": "p1_one.png", "P/p1/one_2.png": "p1_one.png",
        "P/p2/one_only.png": "p2_one.png", "C/p1/two_1.png": "p1_two.png",
    }  # fmt: skip
    (notice,) = plan.notices
    assert "1 of its pages are not there: three" in notice
    by_target = {str(crop.target): crop for crop in plan.crops}
    with Image.fromarray(pages["p1_one"]) as image:
        grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(by_target["P/p1/one_2.png"].pixels(), grey[4:8, :])


def test_rows_for_single_images(tmp_path) -> None:
    raw = tmp_path / "raw"
    for name in ("C/p1/x.png", "P/p1/x.png", "C/p2/y.png"):
        save(raw / name)
    path = tmp_path / "sentences.csv"
    path.write_text("image,sentence,left,top,right,bottom\nC/p1/x.png,s,0,0,2,2\ny.png,s,0,0,3,3\n")
    plan = plan_crops(raw, CropSettings(sentences=path))
    assert targets(plan) == {"C/p1/x_s.png": "x.png", "C/p2/y_s.png": "y.png"}
    (problem,) = plan.problems
    assert problem.image_id == "P/p1/x.png"
    assert "no row is for P/p1/x.png" in problem.reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence,left,top,right,bottom\ns,0,0,1,1\n", "one of the columns page and image"),
        ("page,image,sentence,left,top,right,bottom\na,a,s,0,0,1,1\n", "one of the columns page"),
        ("page,sentence,left,top,right\na,s,0,0,1\n", "no column bottom"),
        ("page,sentence,left,top,right,bottom\na,s,0,0,x,1\n", "line 2: .*whole numbers"),
        ("page,sentence,left,top,right,bottom\na,s,3,0,3,1\n", "line 2: .*it is empty"),
        ("page,sentence,left,top,right,bottom\na,s,-1,0,3,1\n", "line 2: .*between 0 and"),
        ("page,sentence,left,top,right,bottom\na,,0,0,3,1\n", "line 2: page or sentence is empty"),
        ("page,sentence,left,top,right,bottom\na,s,0,0,3,1\na,s,0,0,3,2\n",
         "line 3: the sentence 's' is there already"),
    ],
)  # fmt: skip
def test_tables_that_are_wrong(tmp_path, text, message) -> None:
    save(tmp_path / "raw/C/p1_a.png")
    with pytest.raises(DataError, match=message):
        plan_crops(tmp_path / "raw", sentences(tmp_path, text))


# --- what goes wrong ----------------------------------------------------------------------------


def test_two_sources_of_one_name_are_both_named(tmp_path) -> None:
    save(tmp_path / "a/C/p/x.png")
    save(tmp_path / "b/C/p/x.jpg")
    with pytest.raises(DataError, match=r"a/C/p/x.png' and '.*b/C/p/x.jpg' would both .*C/p/x.png"):
        plan_crops(tmp_path, CropSettings())


def test_recordings_that_give_nothing_are_problems(tmp_path) -> None:
    save(tmp_path / "C/p/good.png")
    save(tmp_path / "C/p/small.png", (4, 4))
    save(tmp_path / "alone.png")
    (tmp_path / "C/p/damaged.png").write_text("no picture")
    save(tmp_path / "p/one.png")
    plan = plan_crops(tmp_path, CropSettings(box=(0, 0, 8, 8)))
    assert list(targets(plan)) == ["C/p/good.png"]
    reasons = {problem.image_id: problem.reason for problem in plan.problems}
    assert set(reasons) == {"C/p/small.png", "alone.png", "C/p/damaged.png", "p/one.png"}
    assert "reaches outside the picture, which has 4 rows" in reasons["C/p/small.png"]
    assert "names a participant" in reasons["alone.png"]
    assert "not a readable image" in reasons["C/p/damaged.png"]
    assert "names its class" in reasons["p/one.png"]
    strict = plan_crops(tmp_path, CropSettings(pattern="(?P<name>g.*)"))
    assert all("does not match" in problem.reason for problem in strict.problems)
    assert len(strict.problems) == 4
    # the file may have changed since
    crop = Crop(tmp_path / "C/p/small.png", plan.crops[0].target, (0, 0, 8, 8), None, False)
    with pytest.raises(DataError, match="reaches outside"):
        crop.pixels()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"box": (5, 0, 5, 9)}, "box is .*it is empty"),
        ({"box": (0, 0, 70_000, 9)}, "between 0 and 65536"),
        ({"size": (0, 5)}, r"size is \[0, 5\]"),
        ({"kind": "videos"}, "kind is 'videos'; it must be one of heatmaps, scanpaths"),
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "(?P<user>.*)"}, "found user"),
        ({"pattern": ".*"}, "it has none of them"),
        ({"box": (0, 0, 1, 1), "sentences": Path("t.csv")}, "--box and --sentences are both set"),
    ],
)
def test_settings_that_are_wrong(tmp_path, given, message) -> None:
    save(tmp_path / "C/p/a.png")
    with pytest.raises(ConfigError, match=message):
        plan_crops(tmp_path, CropSettings(**given))
    with pytest.raises(DataError, match="no pictures"):
        (tmp_path / "empty").mkdir()
        plan_crops(tmp_path / "empty", CropSettings())


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("./\\~ aC\x00\n\u202e-"), max_size=12))
@example("..")
@example("a/../../b")
@example("fine")
def test_no_word_leaves_the_output_folder(tmp_path_factory, word) -> None:
    raw = tmp_path_factory.mktemp("raw")
    save(raw / "p1_a.png")
    table = raw / "t.csv"
    quoted = '"' + word.replace('"', '""') + '"'
    table.write_bytes(
        f"page,sentence,class,left,top,right,bottom\na,{quoted},{quoted},0,0,2,2\n".encode()
    )
    given = CropSettings(sentences=table, pattern="(?P<participant>p1)_(?P<name>a)")
    try:
        plan = plan_crops(raw, given)
    except DataError:
        assert not word.strip()  # of all words, the table refuses the empty one
        return
    assert len(plan.crops) + len(plan.problems) == 1
    assert plan.crops or word != "fine"
    out = (raw / "out").resolve()
    for crop in plan.crops:
        assert (out / crop.target).resolve().parent.parent.parent == out
