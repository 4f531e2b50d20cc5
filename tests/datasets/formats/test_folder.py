"""Folders with one file an image, and tables that name the files."""

from __future__ import annotations

import gzip
from dataclasses import MISSING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickmap_cli.config.fields import read_settings, settings_of
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.datasets.formats.cat2000 import cat2000
from clickmap_cli.datasets.formats.csv_indexed import csv_indexed
from clickmap_cli.datasets.formats.folder import folder
from clickmap_cli.datasets.formats.pysaliency import pysaliency
from clickmap_cli.datasets.formats.salicon import salicon
from clickmap_cli.datasets.gathering import files_by_stem
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import array, by_id, counts, gaussian_sum, grey, picture, reasons

SIZE = (12, 16)


def corpus(root) -> None:
    """a: everything; b: fixations; c: a map; d: a picture alone."""
    for seed, name in enumerate("abcd"):
        picture(root / "images" / f"{name}.png", SIZE, seed)
    for name in "ab":
        array(root / "fixations" / f"{name}.npy", counts(SIZE, ord(name)))
    array(root / "gt_maps" / "a.npy", np.random.default_rng(9).random(SIZE))
    grey(root / "gt_maps" / "c.png", np.arange(192, dtype=np.uint8).reshape(SIZE))
    array(root / "nonfix" / "a.npy", counts(SIZE, 77))


def test_everything_is_optional(tmp_path) -> None:
    corpus(tmp_path)
    data = folder(tmp_path, sigma_px=2)
    found = by_id(data)
    assert list(found) == ["a", "b", "c", "d"]
    assert not data.problems
    for name in "ab":
        np.testing.assert_array_equal(found[name].points.counts(SIZE), counts(SIZE, ord(name)))
        assert found[name].people() is None
    np.testing.assert_array_equal(found["a"].nonfixations.counts(SIZE), counts(SIZE, 77))
    np.testing.assert_array_equal(found["a"].truth(), np.load(tmp_path / "gt_maps" / "a.npy"))
    rows, columns = np.nonzero(counts(SIZE, ord("b")))
    times = counts(SIZE, ord("b"))[rows, columns]
    expected = gaussian_sum(np.repeat(columns, times), np.repeat(rows, times), SIZE, 2)
    np.testing.assert_allclose(found["b"].truth(), expected / expected.sum(), rtol=1e-12)
    np.testing.assert_array_equal(found["c"].truth(), np.arange(192).reshape(SIZE))
    np.testing.assert_array_equal(found["d"].truth(), np.ones(SIZE))
    assert [text for text in data.scoring_notices if "1 of 4 images" in text and "uniform" in text]
    assert {stimulus.category for stimulus in data.stimuli} == {"all"}


def test_without_pictures_sizes_come_from_fixations_or_maps(tmp_path) -> None:
    array(tmp_path / "fixations" / "a.npy", counts((5, 7)))
    grey(tmp_path / "gt_maps" / "b.png", np.ones((3, 4), np.uint8))
    found = by_id(folder(tmp_path))
    assert [found[name].size for name in "ab"] == [(5, 7), (3, 4)]
    with pytest.raises(DataError, match="no image"):
        found["a"].image()


def test_damage_to_one_image_is_its_problem(tmp_path) -> None:
    corpus(tmp_path)
    (tmp_path / "images" / "d.png").write_bytes(b"no picture")
    array(tmp_path / "fixations" / "b.npy", counts((12, 17)))
    array(tmp_path / "fixations" / "c.npy", -counts(SIZE) - 1)
    picture(tmp_path / "images" / "x\ny.png", SIZE)
    data = folder(tmp_path)
    assert list(by_id(data)) == ["a"]
    told = reasons(data)
    assert "not a readable image" in told["d"]
    assert "12 x 17" in told["b"]
    assert "12 x 16" in told["b"]
    assert "negative" in told["c"]
    assert "control characters" in told["x\\ny"]


def test_two_images_with_one_stem_are_an_error(tmp_path) -> None:
    corpus(tmp_path)
    picture(tmp_path / "images" / "a.jpg", SIZE)
    with pytest.raises(DataError, match=r"'a\.jpg' and 'a\.png'"):
        folder(tmp_path)


def test_a_split_is_a_list_of_ids(tmp_path) -> None:
    corpus(tmp_path)
    (tmp_path / "images" / "d.png").write_bytes(b"no picture")
    (tmp_path / "test.txt").write_text("c\n\n a \nlost\n")
    data = folder(str(tmp_path), split="test")
    assert list(by_id(data)) == ["a", "c"]
    assert not data.problems
    (loss,) = [loss for loss in data.losses if loss.lost]
    assert str(loss).startswith("1 of 3 ids")
    assert "'lost'" in loss.cause
    with pytest.raises(DataError, match=r"no list of ids at .*val\.txt, but there is test\.txt"):
        folder(tmp_path, split="val")
    for bad in ("../test", "", "a/b", ".", 3):
        with pytest.raises(ConfigError, match="split"):
            folder(tmp_path, split=bad)


def test_nothing_there(tmp_path) -> None:
    with pytest.raises(DataError, match="found no images"):
        folder(tmp_path)
    with pytest.raises(DataError, match="no folder at"):
        folder(tmp_path / "absent")
    corpus(tmp_path)
    (tmp_path / "test.txt").write_text("lost\n")
    with pytest.raises(DataError, match="found no images that the split lists"):
        folder(tmp_path, split="test")


@pytest.mark.parametrize("reader", [folder, cat2000, salicon, pysaliency, csv_indexed])
@pytest.mark.parametrize("sigma", [0, -1, float("nan"), float("inf"), "wide", None, True, 1e6])
def test_sigma_is_a_positive_number(reader, sigma) -> None:
    with pytest.raises(ConfigError, match="data set x: sigma_px is"):
        required = {n: "a" for n, each in settings_of(reader).items() if each.default is MISSING}
        read_settings(reader, {**required, "sigma_px": sigma}, "data set x")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(st.text("ab.é _-", min_size=1, max_size=6), max_size=6))
def test_stems_are_names_without_the_ending(tmp_path_factory, stems) -> None:
    base = tmp_path_factory.mktemp("stems")
    for stem in stems:
        (base / f"{stem}.PNG").touch()
        (base / f"{stem}.txt").touch()
    expected = {stem for stem in stems if not stem.startswith(".")}
    assert set(files_by_stem(base, (".png",))) == expected


# --- a table of files -------------------------------------------------------------------------

HEADER = "image_id,image_path,fix_path,map_path"


def table(root, *rows: str, header: str = HEADER, name: str = "index.csv"):
    text = "\n".join([header, *rows]) + "\n"
    path = root / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_the_table_names_files(tmp_path) -> None:
    corpus(tmp_path)
    rows = (
        "one,images/a.png,fixations/a.npy,gt_maps/a.npy",
        "two,images/b.png,fixations/b.npy,",
        'three,"images/c.png",,gt_maps/c.png',
        "four,images/d.png,,",
    )
    for name in ("index.csv", "index.csv.gz"):
        data = csv_indexed(table(tmp_path, *rows, name=name))
        found, plain = by_id(data), by_id(folder(tmp_path))
        assert sorted(found) == ["four", "one", "three", "two"]
        for own, other in zip(("one", "two", "three", "four"), "abcd", strict=True):
            np.testing.assert_array_equal(found[own].truth(), plain[other].truth())
            np.testing.assert_array_equal(found[own].image(), plain[other].image())
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    assert len(csv_indexed(table(elsewhere, *rows), root=tmp_path).stimuli) == 4


def test_categories_and_splits_may_stand_in_the_table(tmp_path) -> None:
    corpus(tmp_path)
    header = f"split,{HEADER},category"
    rows = ("test,a,images/a.png,,,cats", "train,b,images/b.png,,,", "test,c,images/c.png,,,dogs")
    path = table(tmp_path, *rows, header=header)
    found = by_id(csv_indexed(path, split="test"))
    assert {name: s.category for name, s in found.items()} == {"a": "cats", "c": "dogs"}
    assert by_id(csv_indexed(path))["b"].category == "all"
    (tmp_path / "some.txt").write_text("b\n")
    plain = table(tmp_path, "a,images/a.png,,", "b,images/b.png,,", name="plain.csv")
    assert list(by_id(csv_indexed(plain, split="some"))) == ["b"]
    with pytest.raises(DataError, match=r"found no images of split: 'val' .* has: test, train"):
        csv_indexed(path, split="val")
    assert list(by_id(csv_indexed(path, split="some.txt"))) == ["b"]
    numbered = table(
        tmp_path, "a,images/a.png,1", "b,images/b.png,2", header="image_id,image_path,split",
        name="numbered.csv",
    )  # fmt: skip
    assert list(by_id(csv_indexed(numbered, split=2))) == ["b"]


def test_bad_rows_are_problems_with_their_line(tmp_path) -> None:
    corpus(tmp_path)
    path = table(
        tmp_path, "good,images/a.png,,", "short,images/a.png", "up,../images/a.png,,",
        "abs,/none/a.png,,", "none,,,", "lost,images/lost.png,,", "bad/id,images/b.png,,",
        "fix,images/b.png,fixations/lost.npy,", ",images/c.png,,", f"long,{'a' * 5000}.png,,",
        "nul,a\0b.png,,", "dir,images,,", "text,index.csv,,",
    )  # fmt: skip
    data = csv_indexed(path)
    assert list(by_id(data)) == ["good"]
    told = reasons(data)
    assert "line 3" in told["line 3"]
    assert f"line 4: image_path: no file at {tmp_path}/../images/a.png or " in told["up"]
    assert told["abs"].endswith("line 5: image_path: no file at /none/a.png.")
    assert "line 6: names no file" in told["none"]
    assert f"line 7: image_path: no file at {tmp_path}/images/lost.png or" in told["lost"]
    assert "no file at" in told["long"]
    assert "control characters" in told["nul"]
    assert "no file at" in told["dir"]
    assert "not a readable image" in told["text"]
    assert "holds a slash" in told["bad/id"]
    assert "line 9" in told["fix"]
    assert "is not a name" in told[""]


def test_tables_that_cannot_be_used(tmp_path) -> None:
    corpus(tmp_path)
    with pytest.raises(DataError, match=r"'line 2' and 'line 3' .* 'a'"):
        csv_indexed(table(tmp_path, "a,images/a.png,,", "a,images/b.png,,"))
    with pytest.raises(DataError, match=r"no column image_path \(found: image_id"):
        csv_indexed(table(tmp_path, header="image_id,fix_path,map_path"))
    with pytest.raises(DataError, match=r"'map_pth' is not known; rename it to map_path"):
        csv_indexed(table(tmp_path, header="image_id,image_path,map_pth"))
    with pytest.raises(DataError, match="No file"):
        csv_indexed(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="found no images"):
        csv_indexed(table(tmp_path))


def test_optional_columns_may_be_absent(tmp_path) -> None:
    corpus(tmp_path)
    plain = by_id(folder(tmp_path))
    rows = ("a,images/a.png,fixations/a.npy", "b,images/b.png,fixations/b.npy")
    data = csv_indexed(table(tmp_path, *rows, header="image_id,image_path,fix_path"))
    assert not data.problems
    np.testing.assert_array_equal(by_id(data)["b"].truth(), plain["b"].truth())
    data = csv_indexed(table(tmp_path, "d,images/d.png", header="image_id,image_path"))
    assert list(by_id(data)) == ["d"]
    assert any("uniform" in text for text in data.scoring_notices)


def test_paths_start_from_the_table_or_the_working_folder_or_are_absolute(
    tmp_path, monkeypatch
) -> None:
    corpus(tmp_path / "data")
    (tmp_path / "tables").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    rows = (
        "work,images/a.png,,gt_maps/a.npy",
        f"abs,{tmp_path}/data/images/b.png,{tmp_path}/data/fixations/b.npy,",
        "up,../data/images/c.png,,",
    )
    data = csv_indexed(table(tmp_path / "tables", *rows))
    assert not data.problems
    plain, found = by_id(folder(tmp_path / "data")), by_id(data)
    for own, other in (("work", "a"), ("abs", "b"), ("up", "c")):
        np.testing.assert_array_equal(found[own].image(), plain[other].image())
    np.testing.assert_array_equal(found["work"].truth(), plain["a"].truth())
    np.testing.assert_array_equal(found["abs"].truth(), plain["b"].truth())
    told = [text for text in data.notices if "2 of 5 paths" in text]
    assert told
    assert "'images/a.png' for one" in told[0]
    assert {name: s.category for name, s in found.items()} == dict.fromkeys(found, "all")

    # the table's own folder comes first
    picture(tmp_path / "tables" / "images" / "a.png", SIZE, 50)
    both = csv_indexed(table(tmp_path / "tables", "both,images/a.png,,"))
    assert not np.array_equal(both.stimuli[0].image(), plain["a"].image())
    assert not [text for text in both.notices if "paths" in text]


def test_all_readers_are_registered() -> None:
    for name in ("folder", "csv_indexed", "CAT2000", "salicon", "fixations_csv", "pysaliency"):
        assert callable(DATASETS.get(name))
