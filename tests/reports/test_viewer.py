"""The notebook's viewer: what it shows, what its controls change, and what it saves."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.clickmaps.maps import trial_maps
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.config.loading import BENCHMARK, load_config
from clickmap_cli.datasets.formats.clickmaps import clickmaps
from clickmap_cli.reports.overlays import colour_map, overlay_map, scale_map
from clickmap_cli.reports.viewer import Viewer, panels
from clickmap_cli.runtime.errors import DataError, MissingExtraError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.services.visualize.browse import EVERYONE, TRUTH, Seen, Source, Table, open_source
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.galleries import EVIL, EVIL_USER, SIDE, experiment
from tests.helpers.studies import random_rows

pytest.importorskip("ipywidgets", reason="the extra `notebook` is not installed")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with hostile names, and a benchmark on its maps."""
    folder = tmp_path_factory.mktemp("viewer")
    rows = [
        (key if key != "cat0/2.png" else f"cat0/{EVIL}.png", EVIL_USER if user == "u1" else user, c)
        for key, user, c in random_rows(2, images=5, users=3, side=SIDE)
    ]
    experiment(folder, rows)
    words = [
        f"datasets=[{{name: clickmaps, label: toy, root: {folder / 'study'}}}]",
        "models=[center_bias,{name: gold_standard,cache: false}]", f"output_dir={folder / 'out'}",
        "n_jobs=1", "null_iterations=1", "metrics=[CC,NSS]",
    ]  # fmt: skip
    figures = BenchmarkFigures(lambda heatmap: None, lambda r, p, path, n: path.write_text("x"))
    benchmark.run(load_config(BENCHMARK, None, words).config, Silent(), figures)
    return folder


def viewer(study: Path, *names: str, pictures: Path | None = None) -> Viewer:
    return Viewer([open_source(study / name) for name in names], pictures or study / "saved")


def thirds(pixels: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The three panels of a picture, without the gaps."""
    width = (pixels.shape[1] - 16) // 3
    return [pixels[:, start : start + width] for start in (0, width + 8, 2 * (width + 8))]


def displayed(opened: Viewer) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(opened.picture.value)))


def test_an_experiment_is_browsed_by_category_image_and_participant(study: Path) -> None:
    opened = viewer(study, "study")
    store = MapStore(study / "study")
    assert opened.group.options == ("all images", "cat0", "cat1")
    assert len(opened.image.options) == 5
    assert opened.layer.options == (EVERYONE, "u0", EVIL_USER, "u2")
    assert np.array_equal(opened.seen.heat, store.read(opened.image.value.replace("/", "_"))[0])
    opened.group.value = "cat1"
    assert opened.image.options == ("cat1/1.png", "cat1/3.png")
    opened.layer.value = EVIL_USER
    (stimulus,) = [s for s in clickmaps(str(study / "study")).stimuli if s.key == "cat1/1.png"]
    at = stimulus.names.index(EVIL_USER)
    settings: MapSettings = stimulus.settings
    assert np.allclose(opened.seen.heat, trial_maps(stimulus.clicks, settings, [at])[0], atol=1e-7)
    opened.next.click()
    assert (opened.image.value, opened.layer.value) == ("cat1/3.png", EVIL_USER)
    assert "no such file" in opened.said.value  # the last image has no photograph
    opened.next.click()
    assert opened.image.value == "cat1/3.png"
    opened.previous.click()
    assert opened.image.value == "cat1/1.png"


def test_search_leaves_the_names_that_hold_every_word(study: Path) -> None:
    opened = viewer(study, "study")
    opened.search.value = "CAT0 4"
    assert opened.image.options == ("cat0/4.png",)
    opened.search.value = "nowhere"
    assert opened.image.options == ()
    assert "No image" in opened.said.value
    opened.next.click()
    opened.search.value = ""
    assert len(opened.image.options) == 5


def test_a_benchmark_shows_people_and_predictions_that_were_kept(study: Path) -> None:
    opened = viewer(study, "out")
    assert opened.group.options == ("toy",)
    assert opened.layer.options == (TRUTH, "center_bias", "gold_standard")
    name = opened.image.value
    assert np.array_equal(opened.seen.heat, MapStore(study / "study").read(name)[0])
    opened.layer.value = "center_bias"
    kept = np.load(study / "out" / "predictions" / "toy" / "center_bias" / f"{name}.npy")
    assert np.allclose(opened.seen.heat, kept)
    opened.layer.value = "gold_standard"
    assert opened.seen.heat is None
    assert "no map of gold_standard" in opened.said.value
    table = (study / "out" / "toy__center_bias.csv").read_text().splitlines()
    score = next(line for line in table if line.startswith(name)).split(",")[1]
    assert f"{float(score):.3f}" in opened.facts.value


def test_a_prediction_of_another_image_is_not_shown(study: Path, tmp_path: Path) -> None:
    folder = study / "out" / "predictions" / "toy" / "center_bias"
    source = open_source(study / "out")
    first, second = source.images("toy")[:2]
    before = (folder / f"{first}.npy").read_bytes()
    (folder / f"{first}.npy").write_bytes((folder / f"{second}.npy").read_bytes()[:-4] + b"abcd")
    try:
        seen = source.see("toy", first, "center_bias")
    finally:
        (folder / f"{first}.npy").write_bytes(before)
    assert seen.heat is None
    assert any("still holds" in note for note in seen.notes)


def test_the_controls_change_what_is_shown(study: Path) -> None:
    opened = viewer(study, "study")
    opened.alpha.value = 0
    image, _, overlay = thirds(displayed(opened))
    assert np.array_equal(image, overlay)
    opened.alpha.value = 1
    _, heat, overlay = thirds(displayed(opened))
    assert np.array_equal(heat, overlay)
    for control, values in ((opened.colormap, ("jet", "viridis")), (opened.normalize, ("rank",))):
        for value in values:
            before = displayed(opened)
            control.value = value
            assert not np.array_equal(displayed(opened), before)


def test_panels_are_those_of_the_figures() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 3), np.uint8)
    heat = rng.random((12, 16), dtype=np.float32)
    look = Look(colormap="magma", alpha=0.7, normalize="sum")
    found = thirds(panels(Seen(pixels, heat), look))
    values = scale_map(heat, "sum")
    for panel, wanted in zip(
        found,
        (pixels, colour_map(values, "magma"), overlay_map(pixels, values, "magma", 0.7)),
        strict=True,
    ):
        assert np.array_equal(panel, wanted)


@pytest.mark.parametrize(
    ("pixels", "heat"), [(False, True), (True, False), (False, False), (True, "nan")]
)
def test_what_is_not_there_is_a_quiet_field(pixels: bool, heat: Any) -> None:
    image = np.full((20, 30, 3), 9, np.uint8) if pixels else None
    values = np.full((20, 30), np.nan) if heat == "nan" else np.eye(20, 30) if heat else None
    picture = panels(Seen(image, values, pixel_aspect=1.5), Look(), 60)
    assert picture.dtype == np.uint8
    assert picture.shape == ((60, 3 * 60 + 16, 3) if pixels or heat else (60, 3 * 40 + 16, 3))


def test_saving_writes_the_picture_as_large_as_its_map(study: Path, tmp_path: Path) -> None:
    opened = viewer(study, "study", pictures=tmp_path / "saved")
    opened.search.value = "onerror"
    opened.layer.value = EVIL_USER
    opened.save.click()
    (path,) = (tmp_path / "saved").iterdir()
    assert list(tmp_path.iterdir()) == [tmp_path / "saved"]
    assert path.suffix == ".png"
    saved = np.asarray(Image.open(path))
    assert np.array_equal(saved, panels(opened.seen, opened.look))
    assert saved.shape[1] == 3 * SIDE + 16
    assert "Saved" in opened.said.value
    assert "<img" not in opened.said.value


class Odd(Source):
    """One image whose names act as markup, and no map."""

    title, group_word = EVIL, EVIL
    notices = (EVIL, "half a letter: \ud800")

    def groups(self) -> list[str]:
        return [EVIL]

    def images(self, group: str) -> list[str]:
        return [f"{EVIL}{at}" for at in range(1200)]

    def layers(self, group: str, image: str) -> list[str]:
        return [EVIL]

    def see(self, group: str, image: str, layer: str) -> Seen:
        raise DataError(f"{EVIL} is damaged.")

    def table(self, group: str, image: str) -> Table:
        return [EVIL], [[EVIL]]


def test_hostile_names_are_text_and_errors_are_reported() -> None:
    opened = Viewer([Odd()])
    assert "is damaged" in opened.said.value
    assert "700 more images" in opened.said.value
    assert "<img" not in opened.said.value + opened.facts.value
    assert b"half a letter: ?" in opened.said.value.encode("utf-8")


def test_of_many_images_some_are_offered_and_all_are_reached() -> None:
    opened = Viewer([Odd()])
    assert len(opened.image.options) == 500
    for _ in range(501):
        opened.next.click()
    assert opened.image.value == f"{EVIL}501"
    assert len(opened.image.options) == 500
    opened.search.value = "1199"
    assert opened.image.options == (f"{EVIL}1199",)


def test_several_folders_are_chosen_from(study: Path) -> None:
    opened = viewer(study, "study", "out")
    assert [title for title, _ in opened.source.options] == [
        "Clickmaps of study", "Benchmark benchmark",
    ]  # fmt: skip
    opened.source.value = 1
    assert opened.group.value == "toy"
    assert opened.group.description == "Data set"


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json"):
        open_source(tmp_path)


def test_without_widgets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(MissingExtraError, match="notebook"):
        Viewer([Odd()])
