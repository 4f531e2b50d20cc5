"""`visualize` from a prepared folder to its figures: what is chosen, gathered, written and kept."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.clickmaps.maps import bin_maps, trial_maps
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.reports import ceiling as ceiling_report
from clickmap_cli.reports.figures import all_figures
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.results import CeilingFigures
from clickmap_cli.services.visualize import figures as visualize
from clickmap_cli.services.visualize.agreement import find_agreement
from clickmap_cli.services.visualize.experiment import (
    click_tracks,
    cumulative_maps,
    densest,
    load_picture,
    open_experiment,
    participant_maps,
)
from clickmap_cli.services.visualize.figures import Figures
from clickmap_cli.services.visualize.numbers import distributions
from clickmap_cli.services.visualize.options import KINDS, Look, VisualizeOptions
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from tests.helpers.prepared_studies import SIDE, prepared_study, rows_of_sizes, words

PEOPLE = (3, 6, 4, 6, 2)


class Recorder:
    """Keeps what it is asked to draw, and writes a few bytes of it in place of a figure."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.drawn: list[tuple[str, object]] = []
        self._fail_at = fail_at

    def figures(self) -> Figures:
        numbers = ("distributions/clicks_per_trial", "distributions/agreement_by_category")
        kinds = ("overlay", "participants", "clicks", "bins", "sheet")
        return {name: self._of(name) for name in (*kinds, *numbers)}

    def _of(self, name):
        def draw(*content, look, paths):
            if self._fail_at is not None and len(self.drawn) == self._fail_at:
                raise RunError("the lights went out")
            self.drawn.append((name, content[0]))
            for kind, path in paths.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{name} {kind} {look}")

        return draw

    def pieces(self, name):
        return [piece for kind, piece in self.drawn if kind == name]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    prepared_study(folder, rows_of_sizes(PEOPLE))
    return folder


@pytest.fixture
def config(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return load_experiment(None, words(tmp_path)).config


def run(config, *, when=WhenPresent.STOP, figures=None, progress=None, dry_run=False, **options):
    options.setdefault("kinds", ("overlay",))
    return visualize.run(
        config,
        VisualizeOptions(**options),
        progress or Silent(),
        figures or Recorder().figures(),
        when,
        dry_run,
    )


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    }


def keys(result) -> list[str]:
    return [row.image_path for row in result.summary.images]


# --- which images -------------------------------------------------------------------------------


def test_top_by_participants_is_a_plain_sort(config) -> None:
    names = sorted(f"cat{i % 2}/{i}.png" for i in range(len(PEOPLE)))
    people = {f"cat{i % 2}/{i}.png": n for i, n in enumerate(PEOPLE)}
    wanted = sorted(names, key=lambda key: -people[key])  # stable: ties by key
    for n in (1, 3, 5, 99):
        assert keys(run(config, top=n, dry_run=True)) == wanted[:n]


@pytest.mark.parametrize(("metric", "sign"), [("spearman", -1), ("kl", 1)])
def test_top_by_agreement_and_disagreement(config, metric, sign) -> None:
    config = dataclasses.replace(config, metric=[metric])
    experiment = open_experiment(config, Silent())
    found = find_agreement(experiment, config, True, Silent())
    scored = dict(zip(experiment.keys, found.values.tolist(), strict=True))
    most = sorted(scored, key=lambda key: sign * scored[key])
    assert keys(run(config, top=3, by="agreement", dry_run=True)) == most[:3]
    assert keys(run(config, top=3, by="disagreement", dry_run=True)) == most[::-1][:3]
    if metric == "spearman":  # clicks of image i spread by i, so people agree on image 0 most
        assert most[0] == "cat0/0.png"


def test_random_images_depend_on_the_seed_alone(config) -> None:
    seeds = [dataclasses.replace(config, seed=seed) for seed in range(8)]
    drawn = [keys(run(each, random=2, dry_run=True)) for each in seeds]
    assert drawn == [keys(run(each, random=2, dry_run=True)) for each in seeds]
    assert len({tuple(pair) for pair in drawn}) > 1
    for pair in drawn:
        assert len(set(pair)) == 2
        assert pair == sorted(pair)
    assert len(keys(run(config, random=50, dry_run=True))) == len(PEOPLE)


def test_named_images_and_those_that_are_not_there(config) -> None:
    progress = Silent()
    named = dataclasses.replace(config, display_image_keys=["3.png", "cat0/0.png", "nobody.png"])
    found = keys(run(named, dry_run=True, progress=progress))
    assert found == ["cat1/3.png", "cat0/0.png"]
    assert any("nobody.png" in text for text in progress.notices)
    assert keys(run(dataclasses.replace(config, display_image_keys=[]), dry_run=True)) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 2, "random": 2}, "--top and --random"),
        ({"by": "agreement"}, "--by agreement needs --top"),
        ({"top": 2, "by": "agrement"}, "Did you mean 'agreement'"),
        ({"top": 0}, "--top is 0"),
        ({"random": -1}, "--random is -1"),
        ({"bins": 1000}, "--bins is 1000"),
        ({"kinds": ("overlays",)}, "Did you mean 'overlay'"),
    ],
)
def test_options_that_make_no_sense(config, options, words) -> None:
    with pytest.raises(ConfigError, match=words):
        run(config, **options)
    assert not (Path(config.assets) / "small" / "figures").exists()


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ({"alpha": math.nan}, "--alpha is nan; it must be between 0 and 1."),
        ({"alpha": 1.5}, "--alpha is 1.5"),
        ({"normalize": "minmax"}, "--normalize names 'minmax'"),
        ({"order": "paths"}, "Did you mean 'path'"),
    ],
)
def test_looks_that_do_not_exist(look, words) -> None:
    with pytest.raises(ConfigError, match=words):
        Look(**look)


# --- agreement ----------------------------------------------------------------------------------


def run_ceiling(config, method="hold-one-out"):
    figures = CeilingFigures(ceiling_report.draw_ceiling, ceiling_report.draw_curve)
    return ceiling.run(config, method, Silent(), figures, WhenPresent.OVERWRITE)


def test_agreement_computed_here_is_the_ceilings(config) -> None:
    experiment = open_experiment(config, Silent())
    progress = Silent()
    computed = find_agreement(experiment, config, True, progress)
    assert computed.table is None
    assert "clickmap ceiling hold-one-out metric=spearman" in progress.notices[0]
    result = run_ceiling(config)[0].summary
    progress = Silent()
    read = find_agreement(experiment, config, True, progress)
    assert read.table is not None
    assert read.table.parent.name == "hold-one-out-spearman"
    assert progress.notices == []
    ceilings = {row.image_path: row.ceiling for row in result.images}
    np.testing.assert_allclose(computed.values, [ceilings[key] for key in experiment.keys])
    np.testing.assert_allclose(read.values, computed.values)


def test_a_ceiling_that_is_there_is_shown_and_none_is_computed_for_pictures_alone(config) -> None:
    progress = Silent()
    alone = run(config, top=2, progress=progress)
    assert progress.notices == []
    assert all(math.isnan(row.agreement) for row in alone.summary.images)
    result = run_ceiling(config)[0].summary
    ceilings = {row.image_path: row.ceiling for row in result.images}
    beside = run(config, top=2, when=WhenPresent.OVERWRITE)
    assert [row.agreement for row in beside.summary.images] == pytest.approx(
        [ceilings[key] for key in keys(beside)]
    )


def test_a_ceiling_of_other_maps_is_not_used(config, tmp_path) -> None:
    run_ceiling(load_experiment(None, words(tmp_path, "blur_size=9")).config)
    experiment = open_experiment(config, Silent())
    progress = Silent()
    assert find_agreement(experiment, config, True, progress).table is None
    assert "other maps" in progress.notices[0]


def test_a_damaged_table_is_named_with_its_line(config) -> None:
    run_ceiling(config)
    experiment = open_experiment(config, Silent())
    table = experiment.folder / "ceiling" / "hold-one-out-spearman" / "per_image.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], lines[2].replace(",", ";"), *lines[3:]]))
    with pytest.raises(DataError, match=r"per_image.csv, line 3"):
        find_agreement(experiment, config, True, Silent())


def test_many_trials_are_not_scored_for_a_figure_alone(config, monkeypatch) -> None:
    monkeypatch.setattr("clickmap_cli.services.visualize.agreement.QUICK_TRIALS", 5)
    recorder, progress = Recorder(), Silent()
    result = run(config, kinds=("distributions",), figures=recorder.figures(), progress=progress)
    assert [name for name, _ in recorder.drawn] == ["distributions/clicks_per_trial"]
    assert any("21 trials" in text for text in progress.notices)
    assert result.summary.numbers.agreed == ()


# --- what is drawn of an image -------------------------------------------------------------------


def test_people_clicks_and_bins_are_those_of_the_trials(config) -> None:
    experiment = open_experiment(config, Silent())
    code = experiment.keys.index("cat0/2.png")
    clicks, picture = experiment.clicks(code), load_picture(experiment, code)
    maps = trial_maps(clicks, experiment.settings)
    np.testing.assert_allclose(picture.heat, maps.mean(axis=0), atol=1e-7)
    assert (picture.n_participants, picture.n_clicks) == (4, 48)
    names, people = participant_maps(experiment, code)
    assert names == ["u0", "u1", "u2", "u3"]
    np.testing.assert_array_equal(people, maps)
    for trial, track in enumerate(click_tracks(experiment, code)):
        x, y = clicks.trial(trial)
        np.testing.assert_array_equal(track.x, x)
        np.testing.assert_array_equal(track.y, y)
        np.testing.assert_array_equal(track.number, np.arange(12) + 1)
    bins, labels = cumulative_maps(experiment, code, 4, by_time=False)
    assert labels == [f"first {n} clicks" for n in (3, 6, 9, 12)]
    np.testing.assert_allclose(bins[-1], picture.heat, atol=1e-7)
    assert np.all(np.diff(bins, axis=0) >= 0)
    assert cumulative_maps(experiment, code, 12, by_time=False)[1][0] == "first click"
    assert cumulative_maps(experiment, code, 4, by_time=True)[1][0] == "first 25%"


def test_clicks_keep_their_numbers_where_some_are_cropped_away(tmp_path) -> None:
    config = prepared_study(tmp_path, rows_of_sizes((2, 2)), "center_crop=[10,8]")
    experiment = open_experiment(config, Silent())
    picture = load_picture(experiment, 1)
    assert picture.heat.shape == (10, 8)
    x, y = experiment.clicks(1).trial(0)
    track = click_tracks(experiment, 1)[0]
    inside = [
        (int(a) - 8, int(b) - 7, n)
        for n, (a, b) in enumerate(zip(x, y, strict=True), 1)
        if 8 <= a < 16 and 7 <= b < 17
    ]
    assert list(zip(track.x, track.y, track.number, strict=True)) == inside
    assert 0 < len(inside) < track.n_clicks == 12


@pytest.mark.parametrize("output_format", ["hdf5", "numpy", "npz"])
def test_maps_of_every_format(tmp_path, output_format) -> None:
    config = prepared_study(
        tmp_path, rows_of_sizes((3, 2)), f"output_format={output_format}",
        "save_maps=participants", "click_bins=3",
    )  # fmt: skip
    experiment = open_experiment(config, Silent())
    picture = load_picture(experiment, 0)
    clicks = experiment.clicks(0)
    wanted = trial_maps(clicks, experiment.settings).mean(axis=0)
    np.testing.assert_allclose(picture.heat, wanted, atol=1e-7)
    wanted = bin_maps(clicks, experiment.settings, 3, time_based=False)
    np.testing.assert_array_equal(cumulative_maps(experiment, 0, 3, False)[0], wanted)
    assert len(cumulative_maps(experiment, 0, 5, True)[0]) == 5


def test_densest() -> None:
    assert densest(np.array([[1.0, 0, 0, 3]], np.float32)) == 3
    assert densest(np.array([[np.nan, -5, 1, 0]], np.float32)) == 3
    assert densest(np.zeros((2, 2), np.float32)) == 0
    assert densest(np.full((2, 2), np.nan, np.float32)) == 0


# --- images of any kind -------------------------------------------------------------------------


def any_kind(key: str, path: Path) -> None:
    ramp = np.linspace(0, 65_535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8))
    number = path.stem
    if number == "0":
        return  # missing
    if number == "1":
        noise.convert("L").save(path)
    elif number == "2":
        noise.convert("RGBA").save(path)
    elif number == "3":
        noise.convert("CMYK").save(path, format="JPEG")
    elif number == "4":
        Image.fromarray(ramp).save(path)
    elif number == "5":
        exif = Image.Exif()
        exif[0x0112] = 6
        noise.resize((SIDE, 2 * SIDE)).save(path, exif=exif)
    elif number == "6":
        noise.resize((4 * SIDE, 2 * SIDE)).save(path)
    elif number == "7":
        path.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    else:
        noise.save(path)


def test_images_of_any_kind_are_drawn_counted_and_named(tmp_path) -> None:
    config = prepared_study(tmp_path, rows_of_sizes([2] * 9), picture=any_kind)
    recorder, progress = Recorder(), Silent()
    kinds = ("overlay", "participants", "clicks", "bins", "sheet")
    result = run(config, top=9, kinds=kinds, figures=recorder.figures(), progress=progress)
    found = {row.image_path.split("/")[1]: (row.image, row.note) for row in result.summary.images}
    assert {name: state for name, (state, _) in found.items()} == {
        "0.png": "missing", "1.png": "converted", "2.png": "converted", "3.png": "converted",
        "4.png": "converted", "5.png": "converted", "6.png": "shown", "7.png": "unreadable",
        "8.png": "shown",
    }  # fmt: skip
    for name, words_of in (("3", "CMYK"), ("4", "16-bit grey"), ("5", "EXIF"), ("7", "7.png")):
        assert words_of in found[f"{name}.png"][1]
    pictures = {p.key.split("/")[1]: p for p in recorder.pieces("overlay")}
    assert len(pictures) == 9
    for name, picture in pictures.items():
        pixels = picture.image.pixels
        assert (pixels is None) == (name in ("0.png", "7.png"))
        if pixels is not None:
            assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)
    ramp = pictures["4.png"].image.pixels[..., 0].ravel().astype(int)
    assert (ramp.min(), ramp.max()) == (0, 255)
    assert np.all(np.diff(ramp) >= 0)
    assert pictures["5.png"].image.pixel_aspect == pytest.approx(0.5)  # turned, so twice as wide
    assert pictures["6.png"].image.pixel_aspect == pytest.approx(0.5)
    assert len(recorder.pieces("sheet")) == 1
    said = " ".join(progress.notices)
    for words_of in ("1 of 9 images missing", "1 of 9 images not readable", "5 of 9 images conv"):
        assert words_of in said
    with (result.folder / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [row.image for row in result.summary.images]
    assert load_manifest(result.folder).counts == {
        "images": 9, "converted": 5, "missing": 1, "shown": 2, "unreadable": 1,
    }  # fmt: skip


def test_without_a_folder_of_images(config) -> None:
    progress = Silent()
    elsewhere = dataclasses.replace(config, image_dir=str(Path(config.assets) / "nowhere"))
    result = run(elsewhere, top=2, progress=progress)
    assert [row.image for row in result.summary.images] == ["missing"] * 2
    assert any("is not a folder" in text for text in progress.notices)


# --- distributions -------------------------------------------------------------------------------


def test_numbers_behind_the_distributions(config) -> None:
    result = run(config, kinds=("distributions",), figures=Recorder().figures())
    trials, clicks, people = result.summary.numbers.spreads
    assert [s.name for s in result.summary.numbers.spreads] == [
        "trials_per_participant", "clicks_per_trial", "participants_per_image",
    ]  # fmt: skip
    # u0 and u1 clicked all five images, u2 all but the last, ...
    assert sorted(trials.values.tolist()) == sorted(
        sum(n > user for n in PEOPLE) for user in range(max(PEOPLE))
    )
    assert clicks.values.tolist() == [12] * sum(PEOPLE)
    assert sorted(people.values.tolist()) == sorted(PEOPLE)
    assert (people.median, people.mean) == (4, sum(PEOPLE) / 5)
    groups = {g.name: (g.images, g.trials, len(g.agreement)) for g in result.summary.numbers.groups}
    assert groups == {"cat0": (3, 3 + 4 + 2, 3), "cat1": (2, 12, 2)}
    assert [group.name for group in result.summary.numbers.groups] == ["cat0", "cat1"]
    medians = [float(np.median(group.agreement)) for group in result.summary.numbers.agreed]
    assert medians == sorted(medians, reverse=True)
    assert result.summary.numbers.funnel[0].trials == sum(PEOPLE)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("animal.json", {"cat0": True, "cat1": False}, {"animal": 3, "not animal": 2}),
        ("animal.json", {"cat0": "animal", "cat1": "tool"}, {"animal": 3, "tool": 2}),
        ("animal.json", {"cat0": "animal", "cat1/1.png": "animal"},
         {"animal": 4, "not in animal.json": 1}),
        ("animal.json", ["cat1"], {"animal": 2, "not animal": 3}),
    ],
)  # fmt: skip
def test_any_map_of_classes(config, tmp_path, name, content, wanted) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    experiment = open_experiment(config, Silent())
    found = distributions(experiment, None, tmp_path / name)
    assert {group.name: group.images for group in found.groups} == wanted
    assert found.grouped_by == "animal"


@pytest.mark.parametrize("content", [3, {"cat0": [1]}, [["cat0"]], {"cat0": None}])
def test_what_is_not_a_map_of_classes(config, tmp_path, content) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content))
    experiment = open_experiment(config, Silent())
    with pytest.raises(DataError, match=r"c\.json"):
        distributions(experiment, None, tmp_path / "c.json")


# --- scale ---------------------------------------------------------------------------------------


def test_shares_of_people_and_the_densest_pixel_are_those_of_the_images_drawn(config) -> None:
    recorder = Recorder()
    run(config, top=3, look=Look(normalize="sum", by_participants=True), figures=recorder.figures())
    pictures = recorder.pieces("overlay")
    assert [p.people_share for p in pictures] == [1, 1, pytest.approx(4 / 6)]
    most = max(float(p.heat.max() / p.heat.mean()) for p in pictures)
    assert {round(p.densest, 3) for p in pictures} == {round(most, 3)}


# --- the folder ----------------------------------------------------------------------------------


def test_what_is_written_is_in_the_manifest_and_nothing_else(config) -> None:
    result = run(config, top=2, kinds=KINDS, formats=("png", "svg"), bins=3)
    folder = result.folder
    manifest = load_manifest(folder)
    assert manifest.command == "visualize"
    assert set(files(folder)) == set(manifest.outputs) == set(result.outputs)
    assert damaged_outputs(folder, manifest.outputs) == []
    stems = {f"{kind}/{name}" for kind in ("overlay", "participants", "clicks", "bins")
             for name in ("cat1_1", "cat1_3")}  # fmt: skip
    wanted = {f"{stem}.{ending}" for stem in stems for ending in ("png", "svg")}
    wanted |= {f"sheet/sheet_00001.{e}" for e in ("png", "svg")} | {"images.csv"}
    names = ("clicks_per_trial", "agreement_by_category")
    wanted |= {f"distributions/{name}.{e}" for name in names for e in ("png", "svg")}
    assert set(result.outputs) == wanted


def test_a_second_run_stops_resumes_or_overwrites(config) -> None:
    first = run(config, top=3)
    with pytest.raises(ConfigError, match="--resume"):
        run(config, top=3)
    recorder = Recorder()
    again = run(config, top=3, when=WhenPresent.RESUME, figures=recorder.figures())
    assert again.reused
    assert recorder.drawn == []
    assert again.outputs == first.outputs
    with pytest.raises(ConfigError, match="other settings"):
        run(config, top=3, when=WhenPresent.RESUME, look=Look(alpha=0.3))
    fewer = run(config, top=1, when=WhenPresent.OVERWRITE)
    assert set(files(fewer.folder)) == set(fewer.outputs)


def test_a_run_cut_short_goes_on_where_it_was(config, monkeypatch) -> None:
    monkeypatch.setattr("clickmap_cli.services.visualize.figures.SHEET_IMAGES", 2)
    options = {"top": 5, "kinds": ("overlay", "clicks", "sheet")}
    with pytest.raises(RunError):
        run(config, figures=Recorder(fail_at=7).figures(), **options)
    recorder = Recorder()
    result = run(config, when=WhenPresent.RESUME, figures=recorder.figures(), **options)
    # three images and a sheet stood, of the fourth nothing was noted
    assert len(recorder.pieces("overlay")) == 2
    assert len(recorder.pieces("sheet")) == 2
    resumed = files(result.folder)
    whole = run(config, when=WhenPresent.OVERWRITE, **options)
    assert files(whole.folder) == resumed


def test_names_never_leave_the_folder(tmp_path) -> None:
    odd = ["a/b/c.png", "<img src=x onerror=alert(1)>.png", "$x_{2}$ %s {}.png", "ünï/日本.png"]
    rows = [
        (key, f"<b>{user}", [(x, x) for x in range(12)] if user else [(x, 3) for x in range(12)])
        for key in odd
        for user in range(2)
    ]
    config = prepared_study(tmp_path, rows)
    before = {path for path in tmp_path.rglob("*") if "figures" not in path.parts}
    result = run(config, top=4, kinds=KINDS, figures=all_figures(), bins=2)
    assert {path for path in tmp_path.rglob("*") if "figures" not in path.parts} == before
    assert sorted(name for name in result.outputs if name.startswith("overlay")) == sorted(
        f"overlay/{key.replace('/', '_')}" for key in odd
    )
    for name in result.outputs:
        if name.endswith(".png"):
            with Image.open(result.folder / name) as picture:
                picture.load()


def test_pictures_keep_the_ending_of_their_image_only_where_two_would_be_one(tmp_path) -> None:
    rows = [
        (key, f"u{user}", [(x, user) for x in range(12)])
        for key in ("cat/1.png", "cat/2.jpg", "cat/2.png")
        for user in range(2)
    ]
    config = prepared_study(tmp_path, rows)
    for top in (3, 1):  # a name does not depend on which other images are drawn
        result = run(config, top=top, kinds=("overlay",), when=WhenPresent.OVERWRITE)
        names = [Path(name).name for name in result.outputs if name.startswith("overlay")]
        assert names == ["cat_1.png", "cat_2.jpg.png", "cat_2.png.png"][:top]


def test_a_dry_run_writes_nothing(config) -> None:
    result = run(config, top=2, dry_run=True)
    assert not result.written
    assert not result.folder.exists()


def test_without_prepare(tmp_path) -> None:
    config = load_experiment(None, words(tmp_path)).config
    with pytest.raises(DataError, match="run `clickmap prepare` first"):
        run(config)


def test_a_map_of_another_shape_or_none_is_named(config) -> None:
    store = Path(config.assets) / "small"
    import h5py

    with h5py.File(store / "maps.h5", "a") as file:
        del file["clickmaps/cat0_0.png/clickmap"]
        file["clickmaps/cat0_0.png/clickmap"] = np.zeros((1, 3, 3), np.float32)
    with pytest.raises(DataError, match=r"'cat0/0.png' has the shape \[1, 3, 3\]"):
        run(dataclasses.replace(config, display_image_keys=["0.png"]))


def test_other_keys_than_those_prepared_are_reported(config, tmp_path) -> None:
    progress = Silent()
    other = load_experiment(None, words(tmp_path, "blur_size=7", "min_clicks=3")).config
    run(other, top=1, progress=progress, dry_run=True)
    assert any("other values of min_clicks, blur_size" in text for text in progress.notices)
