"""Small jobs on data sets, as functions and as commands."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.config.benchmark import model_specs
from clickmap_cli.config.loading import BENCHMARK, load_config
from clickmap_cli.models.precomputed import Precomputed
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.data import read_set
from clickmap_cli.services.data import tools as data_tools
from clickmap_cli.storage.map_store import MapStore
from clickmap_cli.storage.text_files import read_ids
from tests.datasets.formats.test_clickmaps import study
from tests.datasets.scenes import array, by_id, counts, gaussian_sum, picture


def invoke(*words):
    return CliRunner().invoke(app, ["data", *(str(word) for word in words)])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def photos(root: Path, n: int = 9) -> Path:
    for at in range(n):
        picture(root / "images" / f"p{at}.png", seed=at)
    return root


def gaze(root: Path, text: str, names=("a", "b"), size=(12, 16)) -> dict[str, str]:
    """A table of fixations and its images; the settings that read it."""
    for seed, name in enumerate(names):
        picture(root / "images" / f"{name}.png", size, seed)
    (root / "f.csv").write_text("image,subject,order,x,y\n" + text)
    return {
        "name": "fixations_csv", "csv": str(root / "f.csv"), "images": str(root / "images"),
        "sigma_px": 2.0,
    }  # fmt: skip


# --- toy ---------------------------------------------------------------------------------------


def test_one_seed_one_corpus(tmp_path) -> None:
    def made(name: str, seed: int) -> dict[str, bytes]:
        folder = tmp_path / name
        found = data_tools.toy(folder, 3, seed, Silent())
        assert found.counts["images"] == 3
        files = contents(folder)
        assert len(files["fixations.csv"].splitlines()) == found.counts["fixations"] + 1
        del files["benchmark.yaml"]  # it names the folder
        return files

    one, two, other = made("one", 0), made("two", 0), made("other", 1)
    assert one == two
    assert sorted(one) == sorted(other)
    assert all(one[name] != other[name] for name in one)


def test_a_toy_is_a_folder_of_data(tmp_path) -> None:
    data_tools.toy(tmp_path, 3, 0, Silent())
    data = read_set("folder", {"root": str(tmp_path)}, "x")
    assert (list(data.problems), list(data.notices)) == ([], [])
    named = by_id(read_set("fixations_csv", settings_of_toy(tmp_path), "x"))
    assert [s.image_id for s in data.stimuli] == sorted(named)
    assert len(named) == 3
    for stimulus in data.stimuli:
        assert stimulus.size == (128, 128)
        assert stimulus.image().shape == (128, 128, 3)
        assert stimulus.truth().sum() == pytest.approx(1, abs=1e-5)  # the density itself
        other = named[stimulus.image_id]
        assert len(np.unique(other.points.subject)) == 12
        np.testing.assert_array_equal(
            stimulus.points.counts((128, 128)), other.points.counts((128, 128))
        )
        # where people look, the true density is high
        at = stimulus.truth()[stimulus.points.rows, stimulus.points.columns]
        assert at.mean() > 2 * stimulus.truth().mean()


def settings_of_toy(folder: Path) -> dict[str, object]:
    (spec,) = load_config(BENCHMARK, folder / "benchmark.yaml").config.datasets
    assert spec.name == "fixations_csv"
    return dict(spec.settings)


@pytest.mark.parametrize("name", ["toy", "a b, {c}: #d", "'quoted'", 'say "x"'])
def test_the_toys_config_runs_whatever_its_folder_is_called(tmp_path, name) -> None:
    folder = tmp_path / name
    data_tools.toy(folder, 2, 0, Silent())
    config = load_config(BENCHMARK, folder / "benchmark.yaml").config
    assert Path(config.output_dir) == folder / "results"
    assert len(read_set("fixations_csv", settings_of_toy(folder), "x").stimuli) == 2
    assert model_specs(config)[0].label == "uniform"


def test_a_toy_touches_nothing_that_is_there(tmp_path) -> None:
    (tmp_path / "mine").write_text("x")
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ConfigError, match="is not empty; choose another --output"):
            data_tools.toy(folder, 2, 0, Silent())
    assert contents(tmp_path) == {"mine": b"x"}
    (tmp_path / "empty").mkdir()
    data_tools.toy(tmp_path / "empty", 2, 0, Silent())


def test_toy_as_a_command(tmp_path) -> None:
    result = invoke("toy", "--output", tmp_path / "t", "--images", 2, "--seed", 3, "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert value["counts"]["images"] == 2
    assert value["problems"] == []
    assert contents(tmp_path / "t").keys() >= {"benchmark.yaml", "fixations.csv"}
    data_tools.toy(tmp_path / "same", 2, 3, Silent())
    assert (tmp_path / "t/fixations.csv").read_bytes() == (
        tmp_path / "same/fixations.csv"
    ).read_bytes()
    again = invoke("toy", "--output", tmp_path / "t")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is not empty" in again.stderr
    assert invoke("toy", "--images", 1, "--output", tmp_path / "u").exit_code == 2
    quiet = invoke("toy", "--output", tmp_path / "v", "--images", 2, "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


# --- split -------------------------------------------------------------------------------------


def test_a_split_is_whole_disjoint_and_the_seeds(tmp_path) -> None:
    settings = {"name": "folder", "root": str(photos(tmp_path / "d"))}

    def lists(folder: str, seed: int):
        made = data_tools.split(settings, tmp_path / folder, 4, seed)
        assert dict(made.counts) == {"train": 5, "test": 4}
        return [read_ids(tmp_path / folder / f"{name}.txt") for name in ("train", "test")]

    train, test = lists("one", 0)
    assert (len(train), len(test)) == (5, 4)
    assert sorted(train + test) == [f"p{at}" for at in range(9)]
    assert (train, test) == (sorted(train), sorted(test))
    assert lists("again", 0) == [train, test]
    assert len({tuple(lists(f"seed{seed}", seed)[1]) for seed in range(8)}) > 4


def test_which_images_are_held_out_depends_on_ids_and_seed_alone(tmp_path) -> None:
    """Not on pixels, the order of files or the kind of data set."""
    photos(tmp_path / "one")
    for at in reversed(range(9)):
        picture(tmp_path / "two" / "images" / f"p{at}.bmp", seed=99 - at)
    array(tmp_path / "two" / "fixations" / "p3.npy", counts())
    found = []
    for name in ("one", "two"):
        data_tools.split({"name": "folder", "root": str(tmp_path / name)}, None, 4, 0)
        found.append(read_ids(tmp_path / name / "test.txt"))
    assert found[0] == found[1]


def test_every_image_is_held_out_about_as_often(tmp_path) -> None:
    settings = {"name": "folder", "root": str(photos(tmp_path))}
    times = dict.fromkeys((f"p{at}" for at in range(9)), 0)
    for seed in range(90):
        data_tools.split(settings, None, 3, seed, overwrite=True)
        for image_id in read_ids(tmp_path / "test.txt"):
            times[image_id] += 1
    # 90 draws of a third: 30 expected, 4.5 the standard deviation
    assert all(14 <= n <= 46 for n in times.values()), times


def test_lists_are_used_through_ids_and_split(tmp_path) -> None:
    root = str(photos(tmp_path))
    data_tools.split({"name": "folder", "root": root}, None, 4, 0)
    test = read_ids(tmp_path / "test.txt")
    for more in ({"split": "test"}, {"ids": str(tmp_path / "test.txt")}):
        data = read_set("folder", {"root": root, **more}, "x")
        assert [s.image_id for s in data.stimuli] == test
        assert list(data.problems) == []
    toy = tmp_path / "toy"
    data_tools.toy(toy, 4, 0, Silent())
    settings = settings_of_toy(toy)
    data_tools.split({"name": "fixations_csv", **settings}, toy, 1, 0)
    (held,) = read_set("fixations_csv", {**settings, "split": "test"}, "x").stimuli
    assert held.image_id == read_ids(toy / "test.txt")[0]


def test_ids_may_be_a_list_and_none_that_is_there_is_an_error_with_examples(tmp_path) -> None:
    root = str(photos(tmp_path))
    there = [s.image_id for s in read_set("folder", {"root": root}, "x").stimuli]
    data = read_set("folder", {"root": root, "ids": [there[2], there[0], "gone"]}, "x")
    assert [s.image_id for s in data.stimuli] == [there[0], there[2]]
    assert any(str(loss).startswith("1 of 3 ids of its list ids") for loss in data.losses)
    with pytest.raises(ConfigError) as caught:
        read_set("folder", {"root": root, "ids": [f"images/{there[0]}.png"]}, "x")
    assert (
        f"none of the 1 ids in its list ids is in it; 'images/{there[0]}.png' is one of them"
        in (str(caught.value))
    )
    assert f"the set has '{there[0]}'" in str(caught.value)
    with pytest.raises(ConfigError, match="ids is an empty list"):
        read_set("folder", {"root": root, "ids": []}, "x")


def test_a_split_of_clickmaps(tmp_path) -> None:
    folder, _ = study(tmp_path)
    data_tools.split({"name": "clickmaps", "root": str(folder)}, tmp_path / "lists", 2, 0)
    ids = {name: read_ids(tmp_path / f"lists/{name}.txt") for name in ("train", "test")}
    assert (len(ids["train"]), len(ids["test"])) == (3, 2)
    for name, listed in ids.items():
        where = {"root": str(folder), "ids": str(tmp_path / f"lists/{name}.txt")}
        assert [s.image_id for s in read_set("clickmaps", where, "x").stimuli] == listed


@pytest.mark.parametrize(
    ("settings", "count", "error", "says"),
    [
        ({"root": "ROOT"}, 2, ConfigError, "Say which data set"),
        ({"name": 3}, 2, ConfigError, "Say which data set"),
        ({"name": "foldr", "root": "ROOT"}, 2, ConfigError, "Did you mean 'folder'"),
        ({"name": "folder", "rot": "ROOT"}, 2, ConfigError, "Did you mean 'root'"),
        ({"name": "folder"}, 2, ConfigError, "data set folder: set root"),
        ({"name": "looks"}, 1, ConfigError, "Say where the lists go"),
        ({"name": "folder", "root": "ROOT"}, 9, ConfigError, "there are only 9 images to split"),
        ({"name": "folder", "root": "nowhere"}, 2, DataError, "no folder at nowhere"),
    ],
)
def test_splits_that_cannot_be(tmp_path, settings, count, error, says) -> None:
    root = str(photos(tmp_path))
    given = {k: root if v == "ROOT" else v for k, v in settings.items()}
    if settings.get("name") == "looks":  # one that has no root
        given = gaze(tmp_path / "looks", LOOKS)
    with pytest.raises(error, match=says):
        data_tools.split(given, None, count, 0)
    assert not (tmp_path / "test.txt").exists()


def test_split_as_a_command(tmp_path, monkeypatch) -> None:
    root = photos(tmp_path / "d")
    words = ["split", "name=folder", f"root={root}", "--test-count", 4]
    result = invoke(*words, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {
        "folder": str(root), "counts": {"train": 5, "test": 4}, "problems": []
    }  # fmt: skip
    first = read_ids(root / "test.txt")
    assert invoke(*words, "--output", tmp_path / "x", "--seed", 0).exit_code == 0
    assert read_ids(tmp_path / "x/test.txt") == first
    for wrong in (["name=folder", f"root={root}", "--test-count", 0], ["folder"], []):
        assert invoke("split", *wrong).exit_code == 2
    (root / "images" / "p9.png").write_bytes(b"damaged")
    assert invoke(*words).exit_code == 2  # what is there is not replaced
    result = invoke(*words, "--overwrite")
    assert result.exit_code == 1  # the lists are written, an image is in neither
    assert "p9" in result.stderr
    assert "p9" not in [*read_ids(root / "train.txt"), *read_ids(root / "test.txt")]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(root)
    home = ["split", "name=folder", "root=~/d", "--test-count", 4, "--overwrite"]
    assert invoke(*home).exit_code == 1
    assert not (root / "~").exists()


# --- mean ground truth -------------------------------------------------------------------------

LOOKS = "".join(
    f"{row}\n"
    for row in (
        "a.png,u1,0,3,4", "a.png,u1,1,9,9", "a.png,u1,2,9.7,2", "a.png,u2,0,12,1", "a.png,u3,0,3,4",
        "a.png,u3,1,3,5", "b.png,u1,0,1,1",
    )
)  # fmt: skip


def to_one(values: np.ndarray) -> np.ndarray:
    return values / values.sum()


@pytest.mark.parametrize("aggregate", ["mean", "median"])
def test_mean_maps_of_fixations(tmp_path, aggregate) -> None:
    settings = gaze(tmp_path, LOOKS)
    made = data_tools.mean_maps(settings, tmp_path / "gt", aggregate, Silent())
    assert dict(made.counts) == {"maps": 1}
    assert list(made.problems) == ["b: fewer than two named people looked at it."]
    assert [path.name for path in (tmp_path / "gt").iterdir()] == ["a.npy"]
    people = [([3, 9, 9], [4, 9, 2]), ([12], [1]), ([3, 3], [4, 5])]
    densities = [to_one(gaussian_sum(x, y, (12, 16), 2.0)) for x, y in people]
    pooled = np.mean(densities, axis=0) if aggregate == "mean" else np.median(densities, axis=0)
    found = np.load(tmp_path / "gt" / "a.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, to_one(pooled), rtol=1e-5, atol=1e-9)
    assert found.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)


def test_mean_maps_of_clickmaps_and_back(tmp_path) -> None:
    folder, _ = study(tmp_path, ["center_crop=[20,25]"])
    settings = {"name": "clickmaps", "root": str(folder)}
    made = data_tools.mean_maps(settings, tmp_path / "gt", "mean", Silent())
    assert (dict(made.counts), list(made.problems)) == ({"maps": 5}, [])
    store = MapStore(folder)
    for stimulus in read_set("clickmaps", {"root": str(folder)}, "x").stimuli:
        own = store.read(stimulus.image_id, "participants").astype(np.float64)
        wanted = np.mean([to_one(values) for values in own], axis=0)
        found = np.load(tmp_path / "gt" / f"{stimulus.image_id}.npy")
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-8)
        # they can be scored as a model
        model = Precomputed(str(tmp_path / "gt"))
        np.testing.assert_array_equal(model.predict(stimulus), found)


def test_somebody_without_a_point_does_not_count(tmp_path) -> None:
    """An empty map is not a density; the mean of the others is used."""
    settings = gaze(tmp_path, "a.png,u1,0,3,4\na.png,u2,0,5,5\na.png,u3,0,99,99\n", names=["a"])
    with pytest.raises(DataError, match="1 of 3 fixations lie outside"):
        data_tools.mean_maps(settings, tmp_path / "gt", "mean", Silent())
    data_tools.mean_maps({**settings, "max_lost": 0.4}, tmp_path / "gt", "mean", Silent())
    densities = [to_one(gaussian_sum([x], [y], (12, 16), 2.0)) for x, y in ((3, 4), (5, 5))]
    np.testing.assert_allclose(
        np.load(tmp_path / "gt" / "a.npy"), np.mean(densities, axis=0), rtol=1e-5
    )


def test_mean_maps_that_cannot_be(tmp_path) -> None:
    settings = {"name": "folder", "root": str(photos(tmp_path, 2))}
    with pytest.raises(DataError, match="No map was written; p0: fewer than two named people"):
        data_tools.mean_maps(settings, tmp_path / "gt", "mean", Silent())
    with pytest.raises(ConfigError, match="--aggregate is 'mode'; it must be mean or median"):
        data_tools.mean_maps(settings, tmp_path / "gt", "mode", Silent())
    assert not (tmp_path / "gt").exists()


def test_gt_mean_as_a_command(tmp_path) -> None:
    whole = gaze(tmp_path / "w", "a.png,u1,0,3,4\na.png,u2,0,5,5\n", names=["a"])
    words = [f"{key}={value}" for key, value in whole.items()]
    result = invoke("gt-mean", *words, "--output", tmp_path / "gt", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["counts"] == {"maps": 1}
    some = gaze(tmp_path / "s", LOOKS)
    words = [f"{key}={value}" for key, value in some.items()]
    result = invoke("gt-mean", *words, "-o", tmp_path / "gt2", "--aggregate", "median", "--json")
    assert result.exit_code == 1  # an image was left out
    assert json.loads(result.stdout)["problems"] == ["b: fewer than two named people looked at it."]
    assert "b: fewer than two" in result.stderr
    assert invoke("gt-mean", *words, "--aggregate", "mode").exit_code == 2
    assert invoke("gt-mean", "name=folder", f"root={tmp_path / 'none'}").exit_code == 1


# --- pysaliency --------------------------------------------------------------------------------


def same_data(one, other) -> None:
    assert len(one.stimuli) == len(other.stimuli) > 0
    for a, b in zip(one.stimuli, other.stimuli, strict=True):
        assert a.size == b.size
        assert (a.image_id, a.category) == (b.image_id, b.category)
        np.testing.assert_allclose(a.image(), b.image(), atol=1e-6)
        assert (a.points is None) == (b.points is None)
        np.testing.assert_array_equal(a.points.x, b.points.x)
        np.testing.assert_array_equal(a.points.y, b.points.y)
        if a.points.subject is not None:
            assert [a.points.subjects[c] for c in a.points.subject] == [
                b.points.subjects[c] for c in b.points.subject
            ]


@pytest.mark.parametrize("kind", ["fixations_csv", "folder"])
def test_an_export_comes_back(tmp_path, kind) -> None:
    data_tools.toy(tmp_path / "toy", 3, 0, Silent())
    settings = settings_of_toy(tmp_path / "toy") if kind == "fixations_csv" else {}
    settings = settings or {"root": str(tmp_path / "toy")}
    made = data_tools.export_pysaliency({"name": kind, **settings}, tmp_path / "out")
    assert dict(made.counts) == {"images": 3, "files": 2}
    back = read_set(
        "pysaliency",
        {
            "stimuli": str(tmp_path / "out/stimuli.hdf5"),
            "fixations": str(tmp_path / "out/fixations.hdf5"),
        },
        "x",
    )
    assert list(back.problems) == []
    same_data(read_set(kind, settings, "x"), back)


def test_an_export_of_clickmaps_comes_back(tmp_path) -> None:
    """Their images exist on the maps' pixels only, so they go along as arrays."""
    folder, _ = study(tmp_path, ["center_crop=[20,25]"])
    data_tools.export_pysaliency({"name": "clickmaps", "root": str(folder)}, tmp_path / "out")
    one = read_set("clickmaps", {"root": str(folder)}, "x")
    files = {name: str(tmp_path / f"out/{name}.hdf5") for name in ("stimuli", "fixations")}
    other = read_set("pysaliency", files, "x")
    for a, b in zip(one.stimuli, other.stimuli, strict=True):
        assert (a.size, a.image_id, a.category) == (b.size, b.image_id, b.category)
        np.testing.assert_allclose(a.image(), b.image(), atol=0.5 / 255 + 1e-6)
        np.testing.assert_array_equal(a.points.counts(a.size), b.points.counts(b.size))


def test_pysaliency_reads_an_export(tmp_path) -> None:
    trapezoid = vars(np).get("trapezoid") or vars(np)["trapz"]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(np, "trapz", trapezoid, raising=False)
        pysaliency = pytest.importorskip("pysaliency", reason="the extra is not installed")
        data_tools.toy(tmp_path / "toy", 2, 0, Silent())
        settings = settings_of_toy(tmp_path / "toy")
        data_tools.export_pysaliency({"name": "fixations_csv", **settings}, tmp_path / "out")
        stimuli = pysaliency.read_hdf5(str(tmp_path / "out/stimuli.hdf5"))
        fixations = pysaliency.read_hdf5(str(tmp_path / "out/fixations.hdf5"))
        ours = read_set("fixations_csv", settings, "x").stimuli
        assert len(stimuli) == 2
        for at, stimulus in enumerate(ours):
            np.testing.assert_allclose(stimuli.stimuli[at] / 255, stimulus.image(), atol=1e-6)
            np.testing.assert_array_equal(fixations.x[fixations.n == at], stimulus.points.x)
            np.testing.assert_array_equal(fixations.y[fixations.n == at], stimulus.points.y)


def test_export_as_a_command(tmp_path) -> None:
    root = photos(tmp_path / "d", 2)
    array(root / "fixations" / "p0.npy", counts())
    words = ["export-pysaliency", "name=folder", f"root={root}", "--output", tmp_path / "out"]
    result = invoke(*words, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["counts"] == {"images": 2, "files": 2}
    Image.new("RGB", (3, 3)).save(root / "images" / "p2.gif")  # no image of the set
    (root / "images" / "p3.png").write_bytes(b"damaged")
    refused = invoke(*words, "--json")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert invoke(*words, "--overwrite").exit_code == 1  # a third of the images
    assert invoke(*words, "--overwrite", "max_lost=2").exit_code == 2
    result = invoke(*words, "--json", "--overwrite", "max_lost=0.5")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["counts"] == {"images": 2, "files": 2}
    assert invoke("export-pysaliency", f"root={root}").exit_code == 2


def test_every_command_has_help_and_a_mistake_is_a_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("--help").exit_code == 0
    for name in ("toy", "split", "gt-mean", "export-pysaliency"):
        assert invoke(name, "--help").exit_code == 0
        if name != "toy":
            result = invoke(name, "name=foldr")
            assert result.exit_code == 2
            assert "Did you mean 'folder'?" in result.stderr
            assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
