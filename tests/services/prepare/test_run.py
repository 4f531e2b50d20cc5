"""`prepare` from a file of trials to a folder: what it writes, and that it is always the same."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from clickmap_cli.clickmaps.maps import image_clicks, mean_map, trial_maps
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import load_trials
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ClickmapError, ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import maps as prepare_maps
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.studies import random_rows, write_csv

DATA = Path(os.environ.get("CLICKMAP_DATA", Path(__file__).parents[4] / "shared" / "data"))


def run(data: Path, *words: str, progress=None, when=WhenPresent.STOP, dry_run=False):
    base = [
        f"clickme_data={data}", f"assets={data.parent / 'assets'}", "image_shape=[32,32]",
        "min_subjects=2", "blur_size=5", "display_image_keys=null",
    ]  # fmt: skip
    config = load_experiment(None, [*base, *words]).config
    return prepare.run(config, progress or Silent(), draw_example, when, dry_run)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    }


@pytest.fixture
def data(tmp_path) -> Path:
    return write_csv(tmp_path / "trials.csv", random_rows(0, images=7, users=5))


def test_everything_that_is_promised_is_written(data) -> None:
    result = run(data, "display_image_keys=auto", "n_jobs=1")
    folder = result.folder
    assert (result.summary.images, result.summary.trials) == (7, 35)
    assert set(result.outputs) == set(digests(folder))
    names = {
        "maps.h5",
        "trials.npz",
        "medians.json",
        "click_counts.json",
        "funnel.csv",
        "rejected.csv",
    }
    assert names <= set(result.outputs)
    manifest = load_manifest(folder)
    assert manifest is not None
    assert damaged_outputs(folder, manifest.outputs) == []
    assert manifest.inputs[str(data)]["sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert manifest.config["blur_size"] == 5
    assert set(manifest.versions) >= {"clickmap", "python", "numpy"}
    counts = json.loads((folder / "click_counts.json").read_text())
    assert sum(counts.values()) == result.summary.clicks
    with (folder / "funnel.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["clicks"]) == result.summary.clicks
    for picture in (folder / "examples").glob("*.png"):
        with Image.open(picture) as opened:
            opened.verify()


def test_the_hdf5_layout_is_the_fields(data) -> None:
    folder = run(data, "save_maps=both", "click_bins=3").folder
    trials = load_trials(folder / "trials.npz")
    with h5py.File(folder / "maps.h5") as file:
        assert set(file) == {"clickmaps", "click_counts", "metadata"}
        assert file["metadata"].attrs["total_unique_images"] == 7
        for code, key in enumerate(trials.images.tolist()):
            name = key.replace("/", "_")
            group = file["clickmaps"][name]
            clicks = image_clicks(trials, trials.image_slices(), code)
            settings = MapSettings((32, 32), None, "circle", 5, None, 51, None)
            assert group.attrs["original_path"] == key
            assert group.attrs["n_participants"] == 5
            assert group.attrs["n_clicks"] == len(clicks.x) == file["click_counts"][name][()]
            assert group["clickmap"].shape == (1, 32, 32)
            assert group["bin_clickmaps"].shape == (3, 32, 32)
            np.testing.assert_array_equal(group["clickmap"][0], mean_map(clicks, settings))
            np.testing.assert_array_equal(group["participants"], trial_maps(clicks, settings))
            np.testing.assert_allclose(
                group["participants"][...].mean(axis=0), group["clickmap"][0], atol=1e-7
            )


@pytest.mark.parametrize("kind", ["mean", "participants", "both"])
def test_three_formats_hold_the_same_maps(data, kind) -> None:
    stores = {}
    for name in ("hdf5", "numpy", "npz"):
        folder = run(
            data, f"output_format={name}", f"save_maps={kind}", f"experiment_name={name}",
            "click_bins=2",
        ).folder  # fmt: skip
        stores[name] = MapStore(folder)
    kinds = ["clickmap", "bin_clickmaps", *(["participants"] if kind == "both" else [])]
    names = list(stores["hdf5"].names())
    assert len(names) == 7
    for name in names:
        for which in kinds:
            wanted = stores["hdf5"].read(name, which)
            assert len(wanted) == {"clickmap": 5 if kind == "participants" else 1}.get(
                which, len(wanted)
            )
            for other in ("numpy", "npz"):
                np.testing.assert_array_equal(stores[other].read(name, which), wanted)


@pytest.mark.parametrize("shard", [1000, 2])
def test_bytes_do_not_depend_on_workers_or_interleaving(data, tmp_path, monkeypatch, shard) -> None:
    monkeypatch.setattr(prepare_maps, "MAX_SHARD_IMAGES", shard)
    words = ("save_maps=both", "click_bins=2")
    first = run(data, "n_jobs=1", *words)
    wanted = digests(first.folder)
    assert ("maps_shards/maps_00001.h5" in wanted) == (shard == 2)
    again = run(data, "n_jobs=2", "experiment_name=two", *words)
    assert digests(again.folder) == wanted
    rows = random_rows(0, images=7, users=5)
    queues = {key: [row for row in rows if row[0] == key] for key, _, _ in rows}
    mixed = []
    while any(queues.values()):
        key = random.Random(len(mixed)).choice([k for k, q in queues.items() if q])
        mixed.append(queues[key].pop(0))
    other = write_csv(tmp_path / "other" / "trials.csv", mixed)
    shuffled = digests(run(other, "n_jobs=2", *words).folder)
    assert {k: v for k, v in shuffled.items() if k != "funnel.csv"} == {
        k: v for k, v in wanted.items() if k != "funnel.csv"
    }


def test_resume_redoes_only_what_is_missing(data, monkeypatch) -> None:
    monkeypatch.setattr(prepare_maps, "MAX_SHARD_IMAGES", 2)
    wanted = digests(run(data, "n_jobs=1").folder)
    written = []
    original = prepare_maps.write_shard

    def stops_at_third(job):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job.piece)
        return original(job)

    monkeypatch.setattr(prepare_maps, "write_shard", stops_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(data, "n_jobs=1", "experiment_name=stopped")
    monkeypatch.setattr(
        prepare_maps, "write_shard", lambda job: (written.append(job.piece), original(job))[1]
    )
    with pytest.raises(ConfigError, match="unfinished"):
        run(data, "n_jobs=1", "experiment_name=stopped")
    folder = run(data, "n_jobs=1", "experiment_name=stopped", when=WhenPresent.RESUME).folder
    assert digests(folder) == wanted
    assert len(written) == len(set(written)) == 4
    again = run(data, "n_jobs=2", "experiment_name=stopped", when=WhenPresent.RESUME)
    assert again.reused
    assert again.summary.images == 7


@pytest.mark.parametrize("kind", ["hdf5", "numpy", "npz"])
def test_of_a_finished_run_only_what_was_damaged_is_made_again(data, monkeypatch, kind) -> None:
    monkeypatch.setattr(prepare_maps, "MAX_SHARD_IMAGES", 2)
    words = [
        f"output_format={kind}", "save_maps=both", "click_bins=2", "n_jobs=1",
        "display_image_keys=[cat0/0.png,cat1/1.png]",
    ]  # fmt: skip
    folder = run(data, *words).folder
    wanted = digests(folder)
    made: list[str] = []
    original = prepare_maps.write_shard
    monkeypatch.setattr(
        prepare_maps, "write_shard", lambda job: (made.append(job.piece), original(job))[1]
    )

    def repaired(*damaged: str, when=WhenPresent.RESUME) -> int:
        """Return how many shards are made again when these files are missing."""
        for name in damaged:
            (folder / name).unlink()
        made.clear()
        run(data, *words, when=when)
        assert digests(folder) == wanted
        assert not (folder / ".clickmap" / "journal").exists()
        return len(made)

    shards = {
        "hdf5": "maps_shards/maps_00002.h5",
        "numpy": "maps/participants/cat0_0.png.npy",
        "npz": "maps.npz",
    }
    n_shards = 1 if kind == "npz" else 4
    example = min(name for name in wanted if name.startswith("examples/"))
    assert repaired(example) == 0
    assert repaired(example, shards[kind], "medians.json") == 1
    assert repaired(when=WhenPresent.OVERWRITE) == n_shards
    # a repair that is killed goes on with what it knew; one that begins again knows nothing
    (folder / shards[kind]).unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "draw_examples", _interrupted)
        run(data, *words, when=WhenPresent.RESUME)
    assert repaired(example) == 0
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "write_maps", _interrupted)
        run(data, *words, when=WhenPresent.OVERWRITE)
    assert repaired() == n_shards


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_maps_of_an_unfinished_run_in_another_format_do_not_stay(data, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_npz", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data)
    result = run(data, "output_format=npz", when=WhenPresent.OVERWRITE)
    assert set(digests(result.folder)) == set(result.outputs)
    assert MapStore(result.folder).path.name == "maps.npz"


def test_a_dry_run_that_would_prepare_nothing_names_the_filter(data) -> None:
    with pytest.raises(DataError, match=r"No image is left: .* came to min_subjects \(1000\)"):
        run(data, "min_subjects=1000", dry_run=True)


def test_dry_run_writes_nothing(data) -> None:
    before = sorted(data.parent.rglob("*"))
    result = run(data, dry_run=True)
    assert (result.summary.images, result.written) == (7, False)
    assert sorted(data.parent.rglob("*")) == before


def test_rejected_rows_are_listed_and_counted(data) -> None:
    text = data.read_text().splitlines()
    text.insert(3, '../x.png,"{""(1,2),(3,4)""}",u9')
    text.insert(5, "cat0/0.png,what,u9")
    data.write_text("\n".join(text) + "\n")
    result = run(data)
    assert (result.summary.rows, result.summary.rejected, result.summary.trials) == (37, 2, 35)
    with (result.folder / "rejected.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["column"]) for row in rows] == [("4", "image_path"), ("6", "clicks")]
    assert result.summary.funnel[0].trials == 37
    assert result.summary.funnel[1].trials == 35


def test_nothing_left_says_which_filter(data) -> None:
    with pytest.raises(DataError, match=r"came to min_subjects \(6\), and none passed"):
        run(data, "min_subjects=6")


def test_a_run_without_usable_input_does_not_block_the_next(data) -> None:
    with pytest.raises(DataError):
        run(data, "min_subjects=6")
    assert run(data).summary.images == 7
    with pytest.raises(DataError):
        run(data, "min_subjects=6", when=WhenPresent.OVERWRITE)
    # what was to be replaced is not quietly declared finished again
    with pytest.raises(ConfigError, match="unfinished"):
        run(data)


def test_a_header_alone_and_a_wrong_image_shape_are_reported(data) -> None:
    progress = Silent()
    with pytest.raises(DataError, match=r"clicks lie outside their image .*raise max_lost"):
        run(data, "image_shape=[16,16]", "min_clicks=1")
    run(data, "image_shape=[16,16]", "min_clicks=1", "max_lost=1", progress=progress)
    (said,) = [text for text in progress.notices if "clicks lie outside" in text]
    assert said in progress.to_repeat
    manifest = load_manifest(data.parent / "assets" / "experiment")
    assert manifest is not None
    assert said in manifest.notices
    data.write_text("image_path,clicks,user_id\n")
    with pytest.raises(DataError, match="a header and no rows"):
        run(data, "experiment_name=empty")


def test_two_names_that_collide(tmp_path) -> None:
    rows = [
        (key, f"u{u}", [(1, k) for k in range(12)]) for key in ("a/b.png", "a_b.png") for u in "xy"
    ]
    data = write_csv(tmp_path / "trials.csv", rows)
    with pytest.raises(DataError, match=r"'a/b\.png' and 'a_b\.png'"):
        run(data, "duplicate_maps=keep_all")


def test_native_sizes_and_pictures_of_other_sizes(tmp_path) -> None:
    rows = [("a.png", u, [(90, 40 + k) for k in range(12)]) for u in "xyz"]
    rows += [("b.png", u, [(9, 10 + k) for k in range(12)]) for u in "xyz"]
    data = write_csv(tmp_path / "trials.csv", rows)
    (tmp_path / "sizes.json").write_text(json.dumps({"a.png": [100, 60], "b.png": [32, 32]}))
    Image.new("RGBA", (200, 120), (255, 0, 0, 255)).save(tmp_path / "a.png")
    Image.new("L", (10, 20), 128).save(tmp_path / "b.png")
    progress = Silent()
    words = [
        f"metadata_file={tmp_path / 'sizes.json'}", f"image_dir={tmp_path}",
        "duplicate_maps=keep_all", "display_image_keys=[a.png,b.png,none.png]",
    ]  # fmt: skip
    folder = run(data, *words, progress=progress).folder
    with h5py.File(folder / "maps.h5") as file:
        assert file["clickmaps/a.png/clickmap"].shape == (1, 32, 53)
        assert file["clickmaps/b.png/clickmap"].shape == (1, 32, 32)
    assert {path.name for path in (folder / "examples").iterdir()} == {"a.png", "b.png"}
    assert any("'none.png'" in text for text in progress.notices)


def test_missing_inputs_are_sentences(data, tmp_path) -> None:
    for word in (
        "clickme_data=none.csv",
        "metadata_file=none.npy",
        "class_filter_file=none.json",
        "mask_dir=none",
    ):
        with pytest.raises(ClickmapError) as caught:
            run(data, word)
        assert "none" in str(caught.value)
    with pytest.raises(ConfigError, match="clickme_data is not set"):
        run(data, "clickme_data=null")


@pytest.mark.parametrize("ending", [".npy", ".json", ".yaml", ".txt"])
def test_class_filters_in_every_file(data, tmp_path, ending) -> None:
    path = tmp_path / f"classes{ending}"
    if ending == ".npy":
        np.save(path, np.array({"cat1": "a class"}, dtype=object), allow_pickle=True)
    else:
        path.write_text({".json": '["cat1"]', ".yaml": "- cat1\n", ".txt": "cat1\n"}[ending])
    assert run(data, f"class_filter_file={path}").summary.images == 3


def test_real_trials(tmp_path) -> None:
    source = DATA / "osie" / "trials_mouse.csv.gz"
    if not source.is_file():
        pytest.skip(f"the OSIE mouse trials are not at {source}")
    words = [
        f"clickme_data={source}",
        f"image_dir={DATA}",
        f"assets={tmp_path}",
        "display_image_keys=null",
    ]
    config = load_experiment(
        Path(__file__).parents[3] / "configs" / "osie_mouse.yaml", words
    ).config
    result = prepare.run(config, Silent(), draw_example)
    assert (result.summary.rows, result.summary.rejected, result.summary.images) == (5866, 0, 60)
    # people look at things: the hottest tenth of pixels holds far more heat than a tenth
    store = MapStore(result.folder)
    for name in store.names():
        heat = np.sort(store.read(name)[0].ravel())[::-1]
        assert heat[: heat.size // 10].sum() > 0.3 * heat.sum()


def test_other_pictures_of_a_finished_run_are_reported(data) -> None:
    run(data)
    progress = Silent()
    result = run(data, "display_image_keys=auto", when=WhenPresent.RESUME, progress=progress)
    assert result.reused
    assert any("another display_image_keys" in text for text in progress.notices)
    progress = Silent()
    run(data, when=WhenPresent.RESUME, progress=progress)
    assert not any("example pictures" in text for text in progress.notices)


def test_a_folder_of_masks_that_is_not_there_is_reported_before_reading(data) -> None:
    with pytest.raises(DataError, match="mask_dir: no folder at nowhere"):
        run(data, "mask_dir=nowhere")


def test_images_without_a_size_of_their_own_are_reported(data, tmp_path) -> None:
    sizes = tmp_path / "sizes.json"
    sizes.write_text('{"cat0/0.png": [32, 32]}')
    progress = Silent()
    with pytest.raises(DataError, match="6 of 7 images have no size in metadata_file"):
        run(data, f"metadata_file={sizes}")
    run(data, f"metadata_file={sizes}", "max_lost=0.9", progress=progress)
    assert any("6 of 7 images have no size" in text for text in progress.to_repeat)
