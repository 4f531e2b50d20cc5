"""`split` names a list of ids, or is a label."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.datasets.formats.csv_indexed import csv_indexed
from clickmap_cli.datasets.formats.fixations_csv import fixations_csv
from clickmap_cli.datasets.formats.folder import folder
from clickmap_cli.datasets.gathering import read_split
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import by_id, picture

runner = CliRunner()


def images(root) -> None:
    for seed, name in enumerate("abc"):
        picture(root / "images" / f"{name}.png", seed=seed)
    rows = "".join(f"{name},images/{name}.png\n" for name in "abc")
    (root / "index.csv").write_text(f"image_id,image_path\n{rows}")
    rows = "".join(f"{name}.png,s,0,1,1\n" for name in "abc")
    (root / "fix.csv").write_text(f"image,subject,order,x,y\n{rows}")


def readers(root):
    return (
        lambda split: folder(root, split=split),
        lambda split: csv_indexed(root / "index.csv", split=split),
        lambda split: fixations_csv(root / "fix.csv", root / "images", split=split),
    )


def test_a_split_without_a_list_is_a_label(tmp_path) -> None:
    images(tmp_path)
    (tmp_path / "README.txt").write_text("about the data\n")
    for read in readers(tmp_path):
        data = read("test")
        assert list(by_id(data)) == ["a", "b", "c"]
        told = [text for text in data.notices if "'test' is taken as a label" in text]
        assert len(told) == 1
        assert f"no list at {tmp_path / 'test.txt'}; all 3 images are used" in told[0]
        assert not [text for text in read(None).notices if "label" in text]


def test_a_split_beside_other_lists_is_a_missing_list(tmp_path) -> None:
    images(tmp_path)
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "pilot.txt").write_text("b\n")
    for read in readers(tmp_path):
        assert list(by_id(read("train"))) == ["a"]
        with pytest.raises(DataError, match=r"no list of ids at .*test\.txt, but there is train"):
            read("test")
        with pytest.raises(DataError, match=r"but there is pilot\.txt and train\.txt"):
            read("pillot")


def test_a_split_that_is_a_list_must_exist(tmp_path, monkeypatch) -> None:
    images(tmp_path)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "b.txt").write_text("b\n")
    monkeypatch.chdir(lists)
    for read in readers(tmp_path):
        for split in ("lists/b.txt", "b.txt", str(lists / "b.txt")):
            assert list(by_id(read(split))) == ["b"]
        with pytest.raises(DataError, match=r"no list of ids at .*/c\.txt or .*/lists/c\.txt"):
            read("c.txt")
        for bad in ("lists/b", "../test", ".", "", 3, "a\0b"):
            with pytest.raises(ConfigError, match="split"):
                read(bad)
    (tmp_path / "empty.txt").write_text("# nobody\n")
    with pytest.raises(DataError, match="holds no id"):
        read_split(tmp_path, "empty")


COMMANDS = (
    ("config", "check"), ("benchmark", "--config"), ("benchmark", "--dry-run", "--config"),
    ("doctor", "--config"),
)  # fmt: skip
DOCTOR = ("doctor", "--config")
"""Takes long, as it looks at everything that is installed."""


def write_config(where, **settings) -> str:
    words = ", ".join(f"{name}: {value}" for name, value in settings.items())
    path = where / "bench.yaml"
    path.write_text(
        f"output_dir: {where / 'out'}\nmodels: [uniform]\nmetrics: [CC]\nn_jobs: 1\n"
        f"datasets:\n  - {{{words}}}\n"
    )
    return str(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ids", "none.txt", "No list of ids at none.txt"),
        ("split", "none.txt", "no list of ids at"),
        ("split", "test", "test.txt, but there is train.txt"),
    ],
)
@pytest.mark.parametrize("name", ["folder", "csv_indexed", "fixations_csv"])
def test_a_missing_list_is_the_same_error_in_every_command(
    tmp_path, monkeypatch, name, key, value, message
) -> None:
    images(tmp_path)
    (tmp_path / "train.txt").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    places = {
        "folder": {"root": "."},
        "csv_indexed": {"index_csv": "index.csv"},
        "fixations_csv": {"csv": "fix.csv", "images": "images"},
    }
    path = write_config(tmp_path, name=name, **places[name], **{key: value})
    for words in COMMANDS:
        if words == DOCTOR and (name, key) != ("folder", "ids"):
            continue
        result = runner.invoke(app, [*words, path])
        assert result.exit_code == 1, (words, result.stderr)
        assert message in " ".join((result.stdout + result.stderr).split()), words
    assert not (tmp_path / "out").exists()


def test_a_label_is_reported_by_every_command(tmp_path, monkeypatch) -> None:
    images(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gt_maps").mkdir()
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as image:
            size = image.size[::-1]
        np.save(tmp_path / "gt_maps" / f"{path.stem}.npy", np.random.default_rng(0).random(size))
    rows = "".join(f"{name},images/{name}.png,gt_maps/{name}.npy\n" for name in "abc")
    (tmp_path / "index.csv").write_text(f"image_id,image_path,map_path\n{rows}")
    for at, settings in enumerate(
        ({"name": "folder", "root": "."}, {"name": "csv_indexed", "index_csv": "index.csv"})
    ):
        path = write_config(tmp_path, label=f"set{at}", split="test", **settings)
        for words in COMMANDS[: 3 if at else 4]:
            more = ["--overwrite"] if words == COMMANDS[1] else []
            result = runner.invoke(app, [*words, path, *more])
            assert result.exit_code == 0, (words, result.stderr)
            said = " ".join((result.stdout + result.stderr).split())
            assert "'test' is taken as a label" in said, words


def test_the_column_split_of_a_table_needs_no_list(tmp_path, monkeypatch) -> None:
    images(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "index.csv").write_text(
        "image_id,image_path,split\na,images/a.png,x\nb,images/b.png,test\n"
    )
    path = write_config(tmp_path, name="csv_indexed", index_csv="index.csv", split="test")
    result = runner.invoke(app, ["config", "check", path])
    assert (result.exit_code, "label" in result.stderr) == (0, False)
    assert list(by_id(csv_indexed("index.csv", split="test"))) == ["b"]


def test_missing_lists_of_folds_are_found_by_config_check(tmp_path) -> None:
    text = (
        "task: saliency\nmodel: {name: readout, weights: none}\noutput_dir: out\n"
        "datasets: [{name: folder, root: .}]\ncv: {folds: 1, holdout: nobody.txt}\n"
    )
    path = tmp_path / "tune.yaml"
    path.write_text(text)
    result = runner.invoke(app, ["config", "check", str(path)])
    assert result.exit_code == 1, result.output
    assert "No list of ids at nobody.txt" in result.stderr
