"""`benchmark` from a config to tables: numbers, failures, the cache, and runs that are stopped."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import rankdata

from clickmap_cli.config.loading import BENCHMARK, load_config
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import MODELS, SaliencyModel
from clickmap_cli.reports.benchmark_figures import draw_heatmap
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest

SIDES = (24, 30)
SIGMA = 3.0


def write_corpus(folder: Path, n_images: int = 6, people: int = 4, seed: int = 0) -> Path:
    """Images with a bright blob, and people who look near it; a table of fixations."""
    rng = np.random.default_rng(seed)
    height, width = SIDES
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(n_images):
        centre = rng.uniform(6, 18, 2)
        y, x = np.mgrid[0:height, 0:width]
        blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 30)
        noise = rng.uniform(0, 60, (height, width))
        grey = (blob * 190 + noise).astype(np.uint8)
        Image.fromarray(np.stack([grey] * 3, axis=-1)).save(folder / "images" / f"i{i}.png")
        for p in range(people):
            for order in range(8):
                at = centre + rng.normal(0, 3, 2)
                rows.append((f"i{i}.png", f"p{p}", order, round(at[1], 2), round(at[0], 2)))
    with (folder / "fix.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "subject", "order", "x", "y"))
        writer.writerows(rows)
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write_corpus(tmp_path / "corpus")


def words_for(corpus: Path, models: str = "[uniform,center_bias,gold_standard]") -> list[str]:
    fix, images = corpus / "fix.csv", corpus / "images"
    return [
        (
            f"datasets=[{{name: fixations_csv, label: toy, csv: {fix}, images: {images}, "
            f"sigma_px: {SIGMA}}}]"
        ),
        f"models={models}", f"output_dir={corpus / 'out'}", "n_jobs=1", "null_iterations=3",
        "heatmaps_png.enabled=false",
    ]  # fmt: skip


def no_report(result, pictures, path, n_images) -> None:
    path.write_text("report")


FIGURES = BenchmarkFigures(draw_heatmap, no_report)


def run(words: list[str], progress=None, figures=FIGURES, **kwargs) -> benchmark.BenchmarkRun:
    config = load_config(BENCHMARK, None, words).config
    return benchmark.run(config, progress or Silent(), figures, **kwargs)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scores_of(found: benchmark.BenchmarkRun, model: str) -> dict[str, dict]:
    return next(r["scores"] for r in as_summary(found.summary)["results"] if r["model"] == model)


@pytest.fixture
def watched():
    """A registered model that tells which images it predicted, and may be told to fail."""
    seen: list[str] = []
    behaviour: dict[str, object] = {}

    class Watched(SaliencyModel):
        """Brightness, with a record of what was asked for."""

        def __init__(self, power: float = 1.0, device: str = "cpu") -> None:
            self._power = power

        def predict(self, stimulus: Stimulus):
            seen.append(stimulus.image_id)
            act = behaviour.get(stimulus.image_id)
            if isinstance(act, BaseException):
                raise act
            values = stimulus.image().mean(axis=-1) ** self._power
            if act == "nan":
                values[3, 4] = np.nan
            return np.zeros((2, 3, 4)) if act == "shape" else values * (act != "zeros")

    MODELS.add("watched", Watched, "for tests", "tests")
    yield seen, behaviour
    del MODELS._entries["watched"]


# --- what is written -------------------------------------------------------------------------


def test_a_stored_result_loads_as_it_was(corpus) -> None:
    words = [*words_for(corpus), "deep_dive={n_images: 2, metric: NSS}"]
    found = run(words).summary
    again = run(words, when=WhenPresent.RESUME)
    assert again.reused
    assert as_summary(again.summary) == as_summary(found)
    for name in ("comparisons", "deciles", "extremes", "failures", "people"):
        np.testing.assert_equal(getattr(again.summary, name), getattr(found, name))
    for ours, theirs in zip(again.summary.models, found.models, strict=True):
        np.testing.assert_equal(ours.summary, theirs.summary)
        for a, b in zip(ours.images, theirs.images, strict=True):
            np.testing.assert_equal((a.image_id, a.placement), (b.image_id, b.placement))
            np.testing.assert_equal(dict(a.scores), dict(b.scores))


def test_everything_promised_is_written(corpus) -> None:
    found = run(words_for(corpus))
    out = corpus / "out"
    names = {path.name for path in out.iterdir() if path.name != ".clickmap"}
    models = ("uniform", "center_bias", "gold_standard")
    assert names == {
        *(f"toy__{m}.csv" for m in models), *(f"toy__{m}_summary.csv" for m in models),
        "toy__people.csv", "ALL_SUMMARY.csv", "comparisons.csv", "deciles.csv", "extremes.csv",
        "failures.csv", "report.html", "summary.json", "manifest.json", "predictions",
    }  # fmt: skip
    manifest = load_manifest(out)
    assert manifest is not None
    assert damaged_outputs(out, manifest.outputs) == []
    draws = {"resamples": 1000, "permutations": 10_000, "exact_permutations_up_to": 12}
    assert draws.items() <= manifest.counts.items()
    assert manifest.counts["null_iterations"] == 3
    assert draws.items() <= as_summary(found.summary).items()
    assert [r["is_people"] for r in as_summary(found.summary)["results"]] == [False, False, True]
    assert json.loads((out / "summary.json").read_text()) == as_summary(found.summary)
    rows = read(out / "toy__center_bias.csv")
    assert list(rows[0]) == ["image_id", *found.summary.metrics, "placement"]
    assert [row["image_id"] for row in rows] == [f"i{i}" for i in range(6)]
    summary = {row["metric"]: row for row in read(out / "toy__center_bias_summary.csv")}
    for metric in found.summary.metrics:
        mean = np.mean([float(row[metric]) for row in rows])
        assert float(summary[metric]["mean"]) == pytest.approx(mean, abs=1e-12)
        low, high = float(summary[metric]["low"]), float(summary[metric]["high"])
        assert low <= mean <= high
    assert len(read(out / "comparisons.csv")) == 3 * len(found.summary.metrics)
    wide = read(out / "ALL_SUMMARY.csv")
    assert [(row["dataset"], row["model"]) for row in wide] == [("toy", m) for m in models]
    assert float(wide[2]["NSS_normalised"]) == pytest.approx(1, abs=1e-12)
    assert len(list((out / "predictions/toy/gold_standard").glob("i0__p*.npy"))) == 4
    assert len(found.failures) == 0


def density_of(points: np.ndarray) -> np.ndarray:
    """Gaussians at the points' pixels, one by one."""
    height, width = SIDES
    y, x = np.mgrid[0:height, 0:width]
    total = np.zeros(SIDES)
    for px, py in np.floor(points):
        total += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SIGMA**2))
    return total


def fixations(corpus: Path, image: str, person: str | None = None, but: str | None = None):
    """Points inside the image: those outside are dropped."""
    height, width = SIDES
    rows = [
        r for r in read(corpus / "fix.csv")
        if 0 <= float(r["x"]) < width and 0 <= float(r["y"]) < height
    ]  # fmt: skip
    return np.array([
        (float(r["x"]), float(r["y"])) for r in rows
        if r["image"] == f"{image}.png" and (person is None or r["subject"] == person)
        and r["subject"] != but
    ])  # fmt: skip


def plain_auc(values: np.ndarray, points: np.ndarray) -> float:
    ranks = rankdata(values).reshape(values.shape)
    x, y = np.floor(points).astype(int).T
    return float((ranks[y, x].mean() - 0.5) / values.size)


def plain_cc(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_scores_ceilings_and_normalised_follow_their_definitions(corpus) -> None:
    """Recomputed with plain loops: model, ceiling and null against the same people."""
    found = run(words_for(corpus))
    height, width = SIDES
    y, x = np.mgrid[0:height, 0:width]
    centre = np.exp(
        -((x - (width - 1) / 2) ** 2) / (2 * (0.25 * width) ** 2)
        - (y - (height - 1) / 2) ** 2 / (2 * (0.25 * height) ** 2)
    )
    people = [f"p{p}" for p in range(4)]
    whole_auc, whole_cc, m, c = [], [], [], []
    for i in range(6):
        everything = fixations(corpus, f"i{i}")
        whole_auc.append(plain_auc(centre, everything))
        whole_cc.append(plain_cc(centre, density_of(everything)))
        own = [density_of(fixations(corpus, f"i{i}", p)) for p in people]
        m.append(np.mean([plain_cc(centre, target) for target in own]))
        others = [density_of(fixations(corpus, f"i{i}", but=p)) for p in people]
        c.append(np.mean([plain_cc(a, b) for a, b in zip(others, own, strict=True)]))
    scores = scores_of(found, "center_bias")
    assert scores["AUC"]["mean"] == pytest.approx(np.mean(whole_auc), abs=1e-6)
    assert scores["CC"]["mean"] == pytest.approx(np.mean(whole_cc), abs=1e-6)
    assert scores["CC"]["people"] == pytest.approx(np.mean(m), abs=1e-6)
    assert scores["CC"]["ceiling"] == pytest.approx(np.mean(c), abs=1e-6)
    z = scores["CC"]["null"]
    assert z < np.mean(c)
    share = (np.mean(m) - z) / (np.mean(c) - z)
    assert scores["CC"]["normalised"] == pytest.approx(share, abs=1e-6)
    low, high = scores["CC"]["normalised_ci"]
    assert low <= share <= high


def test_the_gold_standard_is_one_and_the_null_is_other_images_people(corpus) -> None:
    found = run(words_for(corpus))
    for metric, score in scores_of(found, "gold_standard").items():
        assert score["normalised"] == pytest.approx(1, abs=1e-12), metric
        assert score["normalised_ci"] == pytest.approx([1, 1], abs=1e-12), metric
        assert score["mean"] == pytest.approx(score["ceiling"], abs=1e-12), metric
    # the null of an image uses nobody of the image: it lies within what other images give
    people = {row["image_id"]: row for row in read(corpus / "out/toy__people.csv")}
    for i in range(6):
        own = [density_of(fixations(corpus, f"i{i}", f"p{p}")) for p in range(4)]
        others = [density_of(fixations(corpus, f"i{o}")) for o in range(6) if o != i]
        possible = [plain_cc(prediction, target) for prediction in others for target in own]
        null = float(people[f"i{i}"]["CC_null"])
        assert min(possible) - 1e-6 <= null <= max(possible) + 1e-6


def test_theory_orders_the_baselines(corpus) -> None:
    found = run(words_for(corpus))
    for metric in ("AUC", "NSS", "CC"):
        order = [
            scores_of(found, m)[metric]["mean"] for m in ("gold_standard", "center_bias", "uniform")
        ]
        assert order == sorted(order, reverse=True), metric
    uniform = scores_of(found, "uniform")
    chance = {"AUC": 0.5, "AUC_Judd": 0.5, "sAUC": 0.5, "NSS": 0.0, "CC": 0.0}
    for metric, value in chance.items():
        assert uniform[metric]["mean"] == value


def test_nobody_named_no_ceiling(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "fixations"):
        (tmp_path / name).mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(
            tmp_path / f"images/{i}.png"
        )
        np.save(tmp_path / f"fixations/{i}.npy", rng.integers(0, 2, (20, 20)))
    found = run([
        f"datasets=[{{name: folder, root: {tmp_path}}}]", "models=[uniform]",
        f"output_dir={tmp_path / 'out'}",
    ])  # fmt: skip
    assert "normalised" not in scores_of(found, "uniform")["AUC"]
    assert not (tmp_path / "out/folder__people.csv").exists()


# --- failures --------------------------------------------------------------------------------


def test_what_fails_is_named_and_the_rest_is_scored(corpus, watched) -> None:
    _, behaviour = watched
    behaviour |= {
        "i1": ValueError("no such layer"), "i2": "nan", "i3": "shape", "i4": "zeros",
    }  # fmt: skip
    found = run(words_for(corpus, "[watched,uniform]"))
    failures = {row["image_id"]: row for row in read(corpus / "out/failures.csv")}
    assert set(failures) == {"i1", "i2", "i3"}
    assert "ValueError: no such layer" in failures["i1"]["reason"]
    assert "1 NaN or infinite" in failures["i2"]["reason"]
    assert "(2, 3, 4)" in failures["i3"]["reason"]
    assert {row["model"] for row in failures.values()} == {"watched"}
    assert len(found.failures) == 3
    rows = {row["image_id"]: row for row in read(corpus / "out/toy__watched.csv")}
    assert set(rows) == {"i0", "i4", "i5"}
    # an all-zero prediction is a constant: chance
    assert (float(rows["i4"]["AUC"]), float(rows["i4"]["NSS"]), float(rows["i4"]["CC"])) == (
        0.5,
        0,
        0,
    )
    assert len(read(corpus / "out/toy__uniform.csv")) == 6
    comparison = read(corpus / "out/comparisons.csv")[0]
    assert int(comparison["n_images"]) == 3


def test_missing_and_damaged_files_are_named(corpus) -> None:
    maps = corpus / "maps"
    maps.mkdir()
    for i in range(4):
        np.save(maps / f"i{i}.npy", np.random.default_rng(i).random((12, 15)))
    (maps / "i3.npy").write_bytes((maps / "i3.npy").read_bytes()[:200])
    words = words_for(corpus, f"[{{name: mine, type: precomputed, root: {maps}}}]")
    with pytest.raises(DataError, match="4 of 6 images of toy have a map"):
        run(words)
    assert not (corpus / "out" / "failures.csv").exists()
    found = run([*words, "max_lost=0.5"])
    failures = {row["image_id"]: row["reason"] for row in read(corpus / "out/failures.csv")}
    assert set(failures) == {"i3", "i4", "i5"}
    assert "i3.npy" in failures["i3"]
    assert "no map of i4" in failures["i4"]
    assert as_summary(found.summary)["results"][0]["n_images"] == 3
    assert as_summary(found.summary)["results"][0]["n_failed"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["limit_images=0"], "least allowed is 1"),
        (["models=[centre_bias]"], "center_bias"),
        (["datasets=[{name: folders, root: x}]"], "folder"),
        (["datasets=[]"], "datasets is empty"),
        (["metrics=[AUC,CD]"], "metrics is 'CD'"),
        (["models=[{name: center_bias, sigma_ratoi: 2}]"], "sigma_ratio"),
    ],
)  # fmt: skip
def test_wrong_calls_are_reported_before_any_work(corpus, words, said) -> None:
    with pytest.raises(ConfigError, match=said):
        run([*words_for(corpus), *words])
    assert not (corpus / "out").exists()


def test_a_plugin_that_is_not_there_is_reported_before_any_work(corpus) -> None:
    with pytest.raises(DataError, match=r"nowhere\.py"):
        run([*words_for(corpus), "plugins=[nowhere.py]"])
    assert not (corpus / "out").exists()


# --- the cache -------------------------------------------------------------------------------


def test_a_stale_prediction_is_never_scored(corpus, watched) -> None:
    seen, _ = watched
    words = [*words_for(corpus, "[watched]"), f"prediction_cache_dir={corpus / 'cache'}"]
    first = run(words)
    assert seen == [f"i{i}" for i in range(6)]
    seen.clear()
    again = run(words, when=WhenPresent.OVERWRITE)
    assert seen == []
    assert again.summary == first.summary
    # other settings, another image, a cut file, a replaced file, a lost proof: predicted again
    run([*words, "model_kwargs.watched.power=2"], when=WhenPresent.OVERWRITE)
    assert len(seen) == 6
    seen.clear()
    run([*words, "model_kwargs.watched.power=2", "model_kwargs.watched.device=cuda"],
        when=WhenPresent.OVERWRITE)  # fmt: skip
    assert seen == []  # the device changes nothing
    cache = corpus / "cache/toy/watched"
    Image.fromarray(np.full((*SIDES, 3), 9, dtype=np.uint8)).save(corpus / "images/i0.png")
    (cache / "i1.npy").write_bytes((cache / "i1.npy").read_bytes()[:-10])
    (cache / "i2.npy").write_bytes((cache / "i3.npy").read_bytes())
    (cache / "i4.json").unlink()
    words = [*words, "model_kwargs.watched.power=2"]
    found = run(words, when=WhenPresent.OVERWRITE)
    assert seen == ["i0", "i1", "i2", "i4"]
    for path in cache.iterdir():
        path.unlink()
    assert run(words, when=WhenPresent.OVERWRITE).summary == found.summary


def test_predict_only_fills_the_cache_and_stops(corpus, watched) -> None:
    seen, behaviour = watched
    behaviour["i5"] = ValueError("no")
    words = words_for(corpus, "[watched]")
    found = run([*words, "predict_only=true"])
    assert found.summary.predicted == 5
    assert len(found.failures) == 1
    assert not (corpus / "out/summary.json").exists()
    seen.clear()
    run(words)
    assert seen == ["i5"]


def test_predict_only_may_leave_pictures_alone(corpus, watched) -> None:
    words = [*words_for(corpus, "[watched]"), "predict_only=true", "cache_predictions=false"]
    words += ["heatmaps_png.enabled=true", "heatmaps_png.normalize=sum"]
    found = run(words)
    assert found.summary.predicted == 6
    assert not (corpus / "out/predictions").exists()
    assert len(list((corpus / "out/heatmaps/toy/watched").glob("*.png"))) == 12


@pytest.mark.parametrize("predict_only", [True, False])
def test_a_ground_truth_that_nothing_uses_is_not_spoken_of(corpus, predict_only) -> None:
    words = [*words_for(corpus, "[center_bias]"), f"predict_only={predict_only}"]
    words[0] = f"datasets=[{{name: folder, label: toy, root: {corpus}}}]"
    progress = Silent()
    if predict_only:
        run(words, progress)
    else:
        with pytest.raises(DataError, match="none of its 6 images has fixations"):
            run(words, progress)
    said = [text for text in progress.notices if "ground truth is uniform" in text]
    assert len(said) == (0 if predict_only else 1)


def test_predict_only_leaves_results_alone(corpus, watched) -> None:
    seen, _ = watched
    words = words_for(corpus, "[watched]")
    whole = run(words)

    def results() -> dict[str, bytes]:
        files = [path for path in (corpus / "out").glob("*") if path.is_file()]
        return {path.name: path.read_bytes() for path in files}

    before = results()
    for when in WhenPresent:
        assert run([*words, "predict_only=true"], when=when).summary.predicted == 6
        assert results() == before
    seen.clear()
    again = run(words, when=WhenPresent.RESUME)
    assert as_summary(again.summary) == as_summary(whole.summary)
    assert seen == []


def test_without_a_cache_nothing_is_kept_and_scores_are_the_same(corpus) -> None:
    kept = run(words_for(corpus))
    unkept = run([*words_for(corpus), "cache_predictions=false", f"output_dir={corpus / 'other'}"])
    assert not (corpus / "other/predictions").exists()
    assert as_summary(unkept.summary) == as_summary(kept.summary)


# --- runs that are stopped, repeated, spread -------------------------------------------------


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")} | {
        "summary": (folder / "summary.json").read_bytes()
    }


@pytest.mark.parametrize("cached", [True, False])
def test_an_interrupt_costs_at_most_one_image(corpus, watched, cached) -> None:
    seen, behaviour = watched
    words = [*words_for(corpus, "[watched,center_bias]"), f"cache_predictions={cached}"]
    whole = run([*words, f"output_dir={corpus / 'whole'}"])
    seen.clear()
    behaviour["i3"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(words)
    assert seen == ["i0", "i1", "i2", "i3"]
    behaviour.clear()
    seen.clear()
    with pytest.raises(ConfigError, match="--resume"):
        run(words)
    resumed = run(words, when=WhenPresent.RESUME)
    assert seen == ["i3", "i4", "i5"]
    assert as_summary(resumed.summary) == as_summary(whole.summary)
    assert outputs(corpus / "out") == outputs(corpus / "whole")
    seen.clear()
    again = run(words, when=WhenPresent.RESUME)
    assert as_summary(again.summary) == as_summary(whole.summary)
    assert seen == []


def test_pictures_from_before_an_interrupt_are_there_after_it(corpus, watched) -> None:
    _, behaviour = watched
    words = [*words_for(corpus, "[watched]"), "heatmaps_png.enabled=true"]
    run([*words, f"output_dir={corpus / 'whole'}"])
    behaviour["i3"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(words)
    behaviour.clear()
    run(words, when=WhenPresent.RESUME)
    found, wanted = (
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("heatmaps/**/*.png")
        }
        for folder in (corpus / "out", corpus / "whole")
    )
    assert len(found) == 12  # heat alone, and over the image
    assert found == wanted
    assert set(found) <= set(load_manifest(corpus / "out").outputs)


def test_resuming_with_other_numbers_is_refused(corpus) -> None:
    run(words_for(corpus))
    with pytest.raises(ConfigError, match="other settings"):
        run([*words_for(corpus), "seed=5"], when=WhenPresent.RESUME)
    same = [*words_for(corpus), "n_jobs=2", "experiment=renamed"]
    assert not run(same, when=WhenPresent.RESUME).failures


def test_workers_change_no_byte(corpus, monkeypatch) -> None:
    run([*words_for(corpus), f"output_dir={corpus / 'one'}"])
    monkeypatch.setattr("clickmap_cli.runtime.parallel.START_SECONDS", 0)
    run([*words_for(corpus), f"output_dir={corpus / 'two'}", "n_jobs=2"])
    assert outputs(corpus / "one") == outputs(corpus / "two")


def test_a_full_disk_ends_the_run_with_a_sentence(corpus, monkeypatch) -> None:
    """Errors of the cache are raised where workers run ahead, too, and are not lost there."""
    from clickmap_cli.storage.prediction_cache import PredictionCache

    def full(self, name, key, prediction, kept) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr("clickmap_cli.runtime.parallel.START_SECONDS", 0)
    monkeypatch.setattr(PredictionCache, "put", full)
    for jobs in (1, 2):
        with pytest.raises(RunError, match="the disk is full"):
            run([*words_for(corpus), f"n_jobs={jobs}"], when=WhenPresent.OVERWRITE)


# --- pictures --------------------------------------------------------------------------------


def test_heatmaps_and_overlays_are_drawn(corpus) -> None:
    words = [*words_for(corpus, "[center_bias,gold_standard]"), "heatmaps_png.enabled=true"]
    run(words)
    folder = corpus / "out/heatmaps/toy/center_bias"
    assert len(list(folder.iterdir())) == 12
    with Image.open(folder / "i0.png") as heat, Image.open(folder / "i0_overlay.png") as over:
        assert heat.size == over.size == (SIDES[1], SIDES[0])
        pixels = np.asarray(heat).astype(int).sum(axis=-1)
    assert pixels[12, 15] == pixels.max()  # the centre is hottest
    manifest = load_manifest(corpus / "out")
    assert manifest is not None
    assert "heatmaps/toy/gold_standard/i3_overlay.png" in manifest.outputs


def test_the_report_gets_what_there_is_to_see(corpus) -> None:
    found = {}

    def report(result, pictures, path, n_images) -> None:
        found["image"] = pictures.image("toy", "i0")
        found["truth"] = pictures.truth("toy", "i0")
        found["prediction"] = pictures.prediction("toy", "gold_standard", "i0")
        found["n"] = n_images
        path.write_text("x")

    run([*words_for(corpus), "report_images=7"], figures=BenchmarkFigures(draw_heatmap, report))
    assert found["image"].shape == (*SIDES, 3)
    expected = density_of(fixations(corpus, "i0"))
    assert plain_cc(found["truth"], expected) == pytest.approx(1, abs=1e-9)
    others = [density_of(fixations(corpus, "i0", but=f"p{p}")) for p in range(4)]
    shown = sum(density / density.sum() for density in others)
    assert plain_cc(found["prediction"], shown) == pytest.approx(1, abs=1e-6)
    assert found["n"] == 7
    assert math.isfinite(float(found["prediction"].sum()))
