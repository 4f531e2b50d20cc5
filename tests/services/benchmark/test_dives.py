"""A closer look at scores: tenths of the images, extremes, and the dive into the worst ones."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import spearmanr

from clickmap_cli.config.loading import BENCHMARK, load_config
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import MODELS, SaliencyModel
from clickmap_cli.reports.benchmark_figures import draw_dive, draw_heatmap
from clickmap_cli.reports.benchmark_html import write_report
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.results import DecileRow, ExtremeRow, ImageScore, ModelResult
from clickmap_cli.scoring.summaries import decile_rows, extreme_rows, worst_first
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.storage.folder import WhenPresent

SIDE = (20, 24)
STUDY = Path(__file__).parents[3] / "configs" / "eigencam_study.yaml"


def result_of(scores: dict[str, float], metric: str = "CC") -> ModelResult:
    images = tuple(ImageScore(name, "all", {metric: score}) for name, score in scores.items())
    return ModelResult("d", "m", images, (), 0)


# --- tenths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 9, 10, 11, 19, 25, 30, 101])
@pytest.mark.parametrize(("metric", "higher"), [("CC", True), ("KL", False)])
def test_tenths_go_from_worst_to_best(n, metric, higher) -> None:
    scores = np.random.default_rng(n).uniform(-1, 1, n)
    rows = decile_rows([result_of({f"i{at}": s for at, s in enumerate(scores)}, metric)], [metric])
    ordered = sorted(scores, reverse=not higher)
    assert [row.decile for row in rows] == list(range(1, min(n, 10) + 1))
    sizes = [row.n_images for row in rows]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    first = 0
    for row in rows:
        part = ordered[first : first + row.n_images]
        first += row.n_images
        assert (row.low, row.high) == (min(part), max(part))
        assert row.mean == pytest.approx(math.fsum(part) / len(part), abs=1e-12)
        assert (row.dataset, row.model, row.metric) == ("d", "m", metric)


def test_undefined_scores_are_in_no_tenth() -> None:
    rows = decile_rows([result_of({"a": math.nan, "b": 0.5, "c": math.nan, "d": 0.25})], ["CC"])
    assert rows == (
        DecileRow("d", "m", "CC", 1, 1, 0.25, 0.25, 0.25),
        DecileRow("d", "m", "CC", 2, 1, 0.5, 0.5, 0.5),
    )
    assert decile_rows([result_of({"a": math.nan})], ["CC"]) == ()
    assert decile_rows([result_of({})], ["CC"]) == ()


def test_every_model_and_metric_has_its_own_tenths() -> None:
    images = tuple(ImageScore(str(i), "all", {"CC": i / 9, "KL": i}) for i in range(4))
    results = [ModelResult("d", name, images, (), 0) for name in ("m", "n")]
    rows = decile_rows(results, ["CC", "KL"])
    assert [(row.model, row.metric, row.decile) for row in rows] == [
        (model, metric, decile)
        for model in ("m", "n") for metric in ("CC", "KL") for decile in range(1, 5)
    ]  # fmt: skip
    assert [row.mean for row in rows[:4]] == [0, 1 / 9, 2 / 9, 3 / 9]
    assert [row.mean for row in rows[4:8]] == [3, 2, 1, 0]


# --- extremes --------------------------------------------------------------------------------

MIXED = {"e": -0.3, "b": 0.3, "a": 0.9, "d": 0.01, "c": -0.02, "f": math.nan, "g": 0.9}


def named(rows: tuple[ExtremeRow, ...], group: str) -> list[str]:
    chosen = [row for row in rows if row.group == group]
    assert [row.rank for row in chosen] == list(range(1, len(chosen) + 1))
    return [row.image_id for row in chosen]


def test_best_worst_and_nearest_to_zero() -> None:
    rows = extreme_rows([result_of(MIXED)], ["CC"], 3)
    assert named(rows, "worst") == ["e", "c", "d"]
    assert set(named(rows, "best")[:2]) == {"a", "g"}
    assert named(rows, "best")[2] == "b"
    assert named(rows, "zero") == ["d", "c", "b"]
    for row in rows:
        assert row.score == MIXED[row.image_id]


def test_where_less_is_better_the_worst_are_the_greatest() -> None:
    scores = {"a": 0.5, "b": 2.5, "c": 1.0}
    rows = extreme_rows([result_of(scores, "KL")], ["KL"], 2)
    assert named(rows, "best") == ["a", "c"]
    assert named(rows, "worst") == ["b"]


@pytest.mark.parametrize(
    ("metric", "signed"),
    [("CC", True), ("CC_mask", True), ("NSS", True), ("IG", True), ("Spearman", True),
     ("AUC", False), ("sAUC", False), ("KL", False), ("SIM", False), ("MAE", False)],
)  # fmt: skip
def test_only_scores_that_may_be_negative_have_images_near_zero(metric, signed) -> None:
    rows = extreme_rows([result_of({"a": 0.1, "b": 0.7}, metric)], [metric], 5)
    assert named(rows, "zero") == (["a", "b"] if signed else [])
    assert len(rows) == (4 if signed else 2)


@given(st.lists(st.integers(0, 3), max_size=9), st.integers(0, 6), st.sampled_from(["CC", "KL"]))
def test_no_image_is_both_among_the_best_and_the_worst(values, n_images, metric) -> None:
    scores = {f"i{at}": float(value) for at, value in enumerate(values)}
    rows = extreme_rows([result_of(scores, metric)], [metric], n_images)
    best, worst = named(rows, "best"), named(rows, "worst")
    assert not set(best) & set(worst)
    assert len(best) == min(n_images, math.ceil(len(values) / 2))
    assert len(worst) == min(n_images, len(values) - len(best))
    turn = 1 if metric == "CC" else -1
    for good in best:
        assert all(turn * scores[good] >= turn * scores[bad] for bad in worst)


def test_none_are_asked_for() -> None:
    assert extreme_rows([result_of(MIXED)], ["CC"], 0) == ()


def test_equal_scores_are_ordered_by_name() -> None:
    found = worst_first(result_of({"b": 0.5, "c": 0.1, "a": 0.5}).images, "CC")
    assert [row.image_id for row in found] == ["c", "a", "b"]


# --- the dive, through a benchmark -----------------------------------------------------------


def truth_of(image: int) -> np.ndarray:
    """A blob elsewhere in every image."""
    y, x = np.mgrid[0 : SIDE[0], 0 : SIDE[1]]
    return np.exp(-((y - 3 - 2 * image) ** 2 + (x - 4 - 3 * image) ** 2) / 20)


@pytest.fixture
def corpus(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("images", "gt_maps", "fixations"):
        (tmp_path / name).mkdir()
    for i in range(5):
        pixels = rng.integers(0, 256, (*SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/i{i}.png")
        np.save(tmp_path / f"gt_maps/i{i}.npy", truth_of(i))
        np.save(tmp_path / f"fixations/i{i}.npy", rng.random(SIDE) < truth_of(i))
    return tmp_path


@pytest.fixture
def knowing():
    """A model that is worse on later images, and of whose settings another matches each image."""
    asked: list[str] = []

    class Knowing(SaliencyModel):
        """The truth with more and more noise."""

        def predict(self, stimulus: Stimulus):
            at = int(stimulus.image_id[1:])
            noise = np.random.default_rng(at).random(SIDE)
            return (1 - at / 5) * truth_of(at) + at / 5 * noise

        def predict_variants(self, stimulus: Stimulus):
            asked.append(stimulus.image_id)
            at = int(stimulus.image_id[1:])
            right = f"v{at % 3}"
            noise = np.random.default_rng(9 + at).random(SIDE)
            found = {f"v{number}": noise + 0.1 * number for number in range(3)}
            # of another size: it must be finished like any prediction
            found[right] = np.repeat(np.repeat(3 * truth_of(at), 2, axis=0), 2, axis=1)
            found["inverse"] = 1 - truth_of(at)
            return found

    MODELS.add("knowing", Knowing, "for tests", "tests")
    yield asked
    del MODELS._entries["knowing"]


def run(
    corpus: Path, *words: str, report=None, progress=None, dive=None, **kwargs
) -> benchmark.BenchmarkRun:
    def plain(result, pictures, path, n_images) -> None:
        path.write_text("x")

    config = load_config(BENCHMARK, None, [
        f"datasets=[{{name: folder, label: toy, root: {corpus}}}]", "models=[knowing,uniform]",
        f"output_dir={corpus / 'out'}", "metrics=[CC,KL,NSS]", "n_jobs=1", *words,
    ]).config  # fmt: skip
    figures = BenchmarkFigures(draw_heatmap, report or plain, draw_dive if dive is None else dive)
    return benchmark.run(config, progress or Silent(), figures, **kwargs)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def plain_cc(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_the_dive_says_which_setting_would_have_matched(corpus, knowing) -> None:
    found = run(corpus, "deep_dive.n_images=3")
    scores = {row["image_id"]: row for row in read(corpus / "out/toy__knowing.csv")}
    worst = sorted(scores, key=lambda image: float(scores[image]["CC"]))[:3]
    assert knowing == worst == ["i4", "i3", "i2"]
    rows = read(corpus / "out/deep_dive.csv")
    assert list(rows[0]) == [
        "dataset", "model", "metric", "image_id", "score", "best", "best_score",
        "v0", "v1", "v2", "inverse",
    ]  # fmt: skip
    assert [row["image_id"] for row in rows] == worst  # uniform has no other settings
    for row in rows:
        at = int(row["image_id"][1:])
        assert (row["dataset"], row["model"], row["metric"]) == ("toy", "knowing", "CC")
        assert float(row["score"]) == float(scores[row["image_id"]]["CC"])
        assert row["best"] == f"v{at % 3}"
        assert float(row["best_score"]) == float(row[row["best"]]) > 0.95
        truth = truth_of(at).astype(np.float32)
        for number in range(3):
            if f"v{number}" != row["best"]:
                noise = np.random.default_rng(9 + at).random(SIDE) + 0.1 * number
                expected = plain_cc(noise, truth)
                assert float(row[f"v{number}"]) == pytest.approx(expected, abs=1e-5)
        assert float(row["inverse"]) == pytest.approx(-1, abs=1e-5)
    manifest = json.loads((corpus / "out/manifest.json").read_text())
    assert "deep_dive.csv" in manifest["outputs"]
    dives = as_summary(found.summary)["deep_dives"]
    assert [dive["image_id"] for dive in dives] == worst
    assert dives[0]["variants"] == {
        name: pytest.approx(float(rows[0][name])) for name in ("v0", "v1", "v2", "inverse")
    }


def manifest_of(corpus: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((corpus / "out/manifest.json").read_text())["outputs"]
    return found


def test_the_dive_draws_every_setting_beside_image_and_truth(corpus, knowing) -> None:
    drawn = []

    def keep(picture) -> None:
        drawn.append(picture)
        draw_dive(picture)

    found = run(corpus, "deep_dive.n_images=2", dive=keep)
    assert [picture.image_id for picture in drawn] == ["i4", "i3"]
    for picture in drawn:
        at = int(picture.image_id[1:])
        path = f"deep_dive/toy/knowing/i{at}.png"
        assert (picture.dataset, picture.model, picture.metric) == ("toy", "knowing", "CC")
        assert picture.path == corpus / "out" / path
        rgb = np.asarray(Image.open(corpus / f"images/i{at}.png")) / 255
        np.testing.assert_allclose(picture.image, rgb, atol=1e-6)
        np.testing.assert_allclose(picture.truth, truth_of(at), atol=1e-6)
        row = next(
            dive for dive in as_summary(found.summary)["deep_dives"] if dive["image_id"] == f"i{at}"
        )
        assert (picture.score, picture.best) == (row["score"], row["best"])
        assert dict(picture.scores) == row["variants"]
        assert row["picture"] == path
        assert list(picture.maps) == list(row["variants"]) == ["v0", "v1", "v2", "inverse"]
        right = picture.maps[f"v{at % 3}"]
        assert plain_cc(right, truth_of(at)) > 0.95
        with Image.open(picture.path) as shown:
            assert min(shown.size) > 100
        assert path in manifest_of(corpus)
    assert [dive["image_id"] for dive in as_summary(found.summary)["deep_dives"]] == ["i4", "i3"]


def test_a_run_that_is_resumed_has_every_picture(corpus, knowing) -> None:
    run(corpus, "deep_dive.n_images=2")
    paths = [corpus / f"out/deep_dive/toy/knowing/i{at}.png" for at in (3, 4)]
    whole = [path.read_bytes() for path in paths]
    run(corpus, "deep_dive.n_images=2", when=WhenPresent.RESUME)
    assert len(knowing) == 2  # nothing was lost, nothing is done again
    paths[0].unlink()
    paths[1].write_bytes(b"cut")
    run(corpus, "deep_dive.n_images=2", when=WhenPresent.RESUME)
    assert [path.read_bytes() for path in paths] == whole
    assert set(manifest_of(corpus)) >= {f"deep_dive/toy/knowing/i{at}.png" for at in (3, 4)}


def test_a_killed_dive_goes_on(corpus, knowing) -> None:
    def killed(picture) -> None:
        if picture.image_id == "i3":
            raise KeyboardInterrupt
        draw_dive(picture)

    with pytest.raises(KeyboardInterrupt):
        run(corpus, "deep_dive.n_images=2", dive=killed)
    assert not (corpus / "out/deep_dive/toy/knowing/i3.png").exists()
    run(corpus, "deep_dive.n_images=2", when=WhenPresent.RESUME)
    assert {"deep_dive/toy/knowing/i3.png", "deep_dive/toy/knowing/i4.png"} <= set(
        manifest_of(corpus)
    )


def test_an_image_that_cannot_be_shown_is_reported_and_its_maps_are_drawn(corpus, knowing) -> None:
    whole = (corpus / "images/i4.png").read_bytes()
    (corpus / "images/i4.png").write_bytes(whole[: len(whole) // 2])
    drawn, told = [], Silent()

    def keep(picture) -> None:
        drawn.append(picture)
        draw_dive(picture)

    found = run(corpus, "deep_dive.n_images=1", dive=keep, progress=told)
    (picture,) = drawn
    assert (picture.image_id, picture.image) == ("i4", None)
    assert len(found.failures) == 0
    assert any("i4.png" in text and "deep dive" in text for text in told.notices)


def test_where_less_is_better_the_least_is_best(corpus, knowing) -> None:
    run(corpus, "deep_dive.n_images=2", "deep_dive.metric=KL")
    scores = {row["image_id"]: float(row["KL"]) for row in read(corpus / "out/toy__knowing.csv")}
    worst = sorted(scores, key=lambda image: -scores[image])[:2]
    for row, image in zip(read(corpus / "out/deep_dive.csv"), worst, strict=True):
        variants = {name: float(row[name]) for name in ("v0", "v1", "v2", "inverse")}
        assert row["image_id"] == image
        assert row["best"] == min(variants, key=lambda name: variants[name])
        assert row["best"] == f"v{int(image[1:]) % 3}"
        assert float(row["best_score"]) == min(variants.values())


def test_a_dive_that_fails_costs_its_row_and_no_run(corpus, knowing, monkeypatch) -> None:
    model = MODELS.get("knowing")
    real = model.predict_variants

    def failing(self, stimulus: Stimulus):
        if stimulus.image_id == "i3":
            raise RuntimeError("not enough memory")
        return real(self, stimulus)

    monkeypatch.setattr(model, "predict_variants", failing)
    found = run(corpus, "deep_dive.n_images=3")
    assert [row["image_id"] for row in read(corpus / "out/deep_dive.csv")] == ["i4", "i2"]
    assert len(found.failures) == 1
    (row,) = read(corpus / "out/failures.csv")
    assert row["image_id"] == "i3"
    assert row["reason"] == "no deep dive: RuntimeError: not enough memory"


def test_no_dive_unless_it_is_asked_for(corpus, knowing) -> None:
    found = run(corpus)
    assert knowing == []
    assert not (corpus / "out/deep_dive.csv").exists()
    assert as_summary(found.summary)["deep_dives"] == []


def test_a_model_without_other_settings_has_no_dive(corpus, knowing) -> None:
    run(corpus, "deep_dive.n_images=3", "active_models=[uniform]")
    assert knowing == []
    assert not (corpus / "out/deep_dive.csv").exists()


def test_more_images_than_there_are(corpus, knowing) -> None:
    run(corpus, "deep_dive.n_images=99")
    assert len(read(corpus / "out/deep_dive.csv")) == 5


@pytest.mark.parametrize(
    ("metric", "says"),
    [("CD", "metric is 'CD'"), ("AUC", "AUC, which is none of metrics"), ("all", "is 'all'")],
)
def test_a_dive_into_a_metric_that_cannot_be(corpus, knowing, metric, says) -> None:
    with pytest.raises(ConfigError, match=says):
        run(corpus, "deep_dive.n_images=3", f"deep_dive.metric={metric}")
    assert not (corpus / "out").exists()
    run(corpus, "deep_dive.metric=AUC")  # no dive is asked for


def test_the_metric_of_a_dive_may_be_in_lower_case(corpus, knowing) -> None:
    run(corpus, "deep_dive.n_images=1", "deep_dive.metric=nss")
    (row,) = read(corpus / "out/deep_dive.csv")
    assert row["metric"] == "NSS"


def test_an_old_dive_goes_when_the_run_is_made_again_without(corpus, knowing) -> None:
    run(corpus, "deep_dive.n_images=2")
    run(corpus, when=WhenPresent.OVERWRITE)
    assert not (corpus / "out/deep_dive.csv").exists()
    assert not list((corpus / "out").rglob("*.png"))


def test_tables_of_tenths_and_extremes_are_what_the_scores_say(corpus, knowing) -> None:
    shown = {}

    def report(result, pictures, path, n_images) -> None:
        shown["dives"], shown["deciles"] = result.dives, result.deciles
        path.write_text("x")

    run(corpus, "report_images=2", "deep_dive.n_images=1", report=report)
    scores = {row["image_id"]: float(row["CC"]) for row in read(corpus / "out/toy__knowing.csv")}
    deciles = [
        row for row in read(corpus / "out/deciles.csv")
        if (row["model"], row["metric"]) == ("knowing", "CC")
    ]  # fmt: skip
    assert [float(row["mean"]) for row in deciles] == sorted(scores.values())
    assert {row["n_images"] for row in deciles} == {"1"}
    extremes = [
        (row["group"], row["image_id"], float(row["score"]))
        for row in read(corpus / "out/extremes.csv")
        if (row["model"], row["metric"]) == ("knowing", "CC")
    ]
    order = sorted(scores, key=lambda image: scores[image])
    near = sorted(scores, key=lambda image: abs(scores[image]))
    assert extremes == [
        (group, image, scores[image])
        for group, images in (("best", order[::-1]), ("worst", order), ("zero", near))
        for image in images[:2]
    ]
    assert len(shown["dives"]) == 1
    assert len(shown["deciles"]) == 5 * 3 * 2


# --- the shipped study -----------------------------------------------------------------------


def test_the_shipped_study_runs_from_images_and_maps(tmp_path, monkeypatch) -> None:
    """In SALICON's layout without fixations; the detector has random weights here."""
    rng = np.random.default_rng(0)
    for at in range(3):
        for part, pixels in (
            ("images", rng.integers(0, 256, (48, 64, 3), np.uint8)),
            ("maps", rng.integers(0, 256, (48, 64), np.uint8)),
        ):
            path = tmp_path / "salicon" / part / "val" / f"COCO_val2014_{at}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    monkeypatch.chdir(tmp_path)
    words = ["models.0.weights=none", "models.1.weights=none", "device=cpu", "n_jobs=1"]
    config = load_config(BENCHMARK, STUDY, words).config
    assert [model.settings.get("smooth_mode") for model in config.models[:2]] == [None, "reflect"]
    told = Silent()
    figures = BenchmarkFigures(draw_heatmap, write_report, draw_dive)
    found = benchmark.run(config, told, figures)
    assert len(found.failures) == 0
    assert any("no fixations, only images and maps" in text for text in told.notices)
    assert any("AUC_Judd, NSS need; left empty" in text for text in told.notices)
    for row in as_summary(found.summary)["results"]:
        for metric, scores in row["scores"].items():
            wanted = 0 if metric in ("AUC_Judd", "NSS") else 3
            assert scores["n_images"] == wanted, metric
    out = tmp_path / "results/eigencam_study"
    rows = read(out / "deep_dive.csv")
    assert len(rows) == 6
    assert {f"{level}{sign}" for level in ("pool", *"3210") for sign in "+-"} <= set(rows[0])
    for row in rows:
        assert (out / f"deep_dive/salicon/{row['model']}/{row['image_id']}.png").is_file()


# --- Spearman --------------------------------------------------------------------------------


def test_spearman_is_scipys_and_only_on_request(corpus, knowing) -> None:
    found = run(corpus, "metrics=all", "models=[knowing]")
    assert "Spearman" not in found.summary.metrics
    run(corpus, "metrics=[spearman]", "models=[knowing]", when=WhenPresent.OVERWRITE)
    rows = read(corpus / "out/toy__knowing.csv")
    assert list(rows[0]) == ["image_id", "Spearman", "placement"]
    for at, row in enumerate(rows):
        noise = np.random.default_rng(at).random(SIDE)
        values = np.float32((1 - at / 5) * truth_of(at) + at / 5 * noise)
        wanted = spearmanr(values.ravel(), truth_of(at).astype(np.float32).ravel()).statistic
        assert float(row["Spearman"]) == pytest.approx(wanted, abs=1e-4)
