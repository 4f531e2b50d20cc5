"""`ceiling` from a file of trials to tables: what is written, and that theory agrees."""

from __future__ import annotations

import csv
import io
import json
import math
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from clickmap_cli.clickmaps.agreement import OtherImages, random_halves
from clickmap_cli.clickmaps.maps import image_clicks, trial_maps
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.simulation.people import Simulation
from clickmap_cli.clickmaps.survivors import READ_AND_FILTER
from clickmap_cli.config.experiment import METHODS, ExperimentConfig
from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.metrics.map_scores import MAP_SCORES, score_maps
from clickmap_cli.metrics.uncertainty import bootstrap_grouped_means, bootstrap_means
from clickmap_cli.reports.ceiling import ceiling_table, draw_ceiling, draw_curve, summary_lines
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime import parallel
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import LocalPool
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.results import CeilingFigures, CeilingResult
from clickmap_cli.services.ceiling.rsa import rsa_ceiling
from clickmap_cli.services.ceiling.scores import ImageScores, Plan, curve_sizes, score_images
from clickmap_cli.services.ceiling.summaries import ceiling_result, ratio_to_null
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from tests.helpers.studies import random_rows, trials_of, write_csv

FIGURES = CeilingFigures(draw_ceiling, draw_curve)


def words_for(data: Path) -> list[str]:
    return [
        f"clickme_data={data}", f"assets={data.parent / 'assets'}", "image_shape=[32,32]",
        "min_subjects=1", "blur_size=5", "randomization_iters=4", "null_iterations=3", "n_jobs=1",
    ]  # fmt: skip


def run(
    data: Path, method: str, *words: str, progress=None, **kwargs
) -> list[Outcome[CeilingResult]]:
    config = load_experiment(None, [*words_for(data), *words]).config
    return ceiling.run(config, method, progress or Silent(), FIGURES, **kwargs)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def data(tmp_path) -> Path:
    return write_csv(tmp_path / "trials.csv", random_rows(0, images=6, users=7))


def test_split_half_writes_what_is_promised(data) -> None:
    result = run(data, "split-half", "metric=[spearman,auc]", subject_curve=True)
    assert [r.summary.summary.as_json()["metric"] for r in result] == ["spearman", "auc"]
    folder = result[0].folder
    assert {path.name for path in folder.iterdir() if path.name != ".clickmap"} == {
        "human_ceiling_results.npz", "summary.json", "per_image.csv", "by_category.csv",
        "subject_curve.csv", "subject_curve.png", "ceiling.png", "manifest.json",
    }  # fmt: skip
    manifest = load_manifest(folder)
    assert manifest is not None
    assert damaged_outputs(folder, manifest.outputs) == []
    rows = read(folder / "per_image.csv")
    assert list(rows[0]) == [
        "image_path",
        "category",
        "n_participants",
        "ceiling",
        "null",
        "spearman_brown",
    ]
    assert len(rows) == 6
    summary = json.loads((folder / "summary.json").read_text())
    values = [float(row["ceiling"]) for row in rows]
    assert summary["ceiling_mean"] == pytest.approx(np.mean(values))
    assert summary["ceiling_ci"][0] <= summary["ceiling_mean"] <= summary["ceiling_ci"][1]
    assert (summary["n_images"], summary["n_maps"], summary["n_participants"]) == (6, 42, 7)
    assert (summary["ratio"] is None) == (summary["null_ci"][0] <= 0)
    assert (summary["no_ratio"] is None) == (summary["ratio"] is not None)
    assert summary["resamples"] == manifest.counts["resamples"] == 1000
    assert (manifest.counts["randomization_iters"], manifest.counts["null_iterations"]) == (4, 3)
    for row in rows:
        r = float(row["ceiling"])
        assert float(row["spearman_brown"]) == pytest.approx(2 * r / (1 + r))
    with np.load(folder / "human_ceiling_results.npz", allow_pickle=False) as stored:
        assert stored["image_paths"].tolist() == [row["image_path"] for row in rows]
        np.testing.assert_allclose(stored["ceiling_correlations"], values)
        raw = np.split(stored["raw_ceiling"], np.cumsum(stored["raw_ceiling_counts"])[:-1])
        np.testing.assert_allclose([part.mean() for part in raw], values)
    assert "spearman_brown" not in read(result[1].folder / "per_image.csv")[0]
    curve = read(folder / "subject_curve.csv")
    assert [int(row["participants"]) for row in curve] == [1, 2]


def test_hold_one_out_writes_what_is_promised(data) -> None:
    result = run(data, "hold-one-out", "bootstrap=crossed")
    folder = result[0].folder
    images, trials = read(folder / "per_image.csv"), read(folder / "per_trial.csv")
    assert list(images[0])[3:] == ["ceiling", "null", "upper"]
    assert list(trials[0]) == ["image_path", "user_id", "score"]
    assert len(trials) == 42
    for row in images:
        mine = [float(t["score"]) for t in trials if t["image_path"] == row["image_path"]]
        assert float(row["ceiling"]) == pytest.approx(np.mean(mine))
        # everybody's mean holds the participant too, so it predicts them better
        assert float(row["upper"]) > float(row["ceiling"])
    people = read(folder / "per_participant.csv")
    assert list(people[0]) == ["user_id", "n_trials", "mean_score", "robust_z", "flagged"]
    distance = {}
    for row in people:
        mine = [t for t in trials if t["user_id"] == row["user_id"]]
        assert int(row["n_trials"]) == len(mine)
        away = [
            float(t["score"])
            - np.median([float(o["score"]) for o in trials if o["image_path"] == t["image_path"]])
            for t in mine
        ]
        distance[row["user_id"]] = np.mean(away)
    values = np.array(list(distance.values()))
    z = (values - np.median(values)) / (1.4826 * np.median(np.abs(values - np.median(values))))
    np.testing.assert_allclose([float(row["robust_z"]) for row in people], z, rtol=1e-9)
    categories = read(folder / "by_category.csv")
    assert [row["category"] for row in categories] == sorted(
        ("cat0", "cat1"),
        key=lambda c: -np.mean([float(r["ceiling"]) for r in images if r["category"] == c]),
    )


@pytest.mark.parametrize("bootstrap", ["images", "participants", "crossed"])
@pytest.mark.parametrize("name", ["spearman", "kl"])
def test_what_is_reported_follows_from_the_scores_of_trials(name, bootstrap) -> None:
    """Everybody has seen other images, so that no term cancels."""
    rng = np.random.default_rng(7)
    rows = [row for row in random_rows(5, images=6, users=9) if rng.random() < 0.7]
    trials = trials_of(rows).compact()
    settings = MapSettings((32, 32), None, "circle", 5, None, 51, None)
    score, plan = MAP_SCORES[name], Plan("hold-one-out", [MAP_SCORES[name]], 1, 3, 4)
    scored, _ = score_images(trials, settings, plan, LocalPool(1), Silent())
    found = ceiling_result(trials, scored, score, plan, bootstrap, 0.9)
    s, slices = found.summary.as_json(), trials.image_slices()
    ceilings = [scored[at].ceiling[name].mean() for at in range(6)]
    nulls = [scored[at].null[name].mean() for at in range(6)]
    assert s["ceiling_mean"] == pytest.approx(np.mean(ceilings))
    assert s["null_mean"] == pytest.approx(np.mean(nulls))
    clear = name == "spearman" and s["null_ci"][0] > 0
    assert s["ratio"] == (
        pytest.approx(s["ceiling_mean"] / s["null_mean"]) if clear else None
    )  # fmt: skip
    # each trial against the median of its image, averaged over a participant's trials
    away: dict[str, list[float]] = {}
    means: dict[str, list[float]] = {}
    for at in range(6):
        values = scored[at].ceiling[name]
        for trial, value in zip(range(slices[at], slices[at + 1]), values, strict=True):
            user = str(trials.users[trials.user[trial]])
            away.setdefault(user, []).append(value - np.median(values))
            means.setdefault(user, []).append(value)
    assert len({len(some) for some in means.values()}) > 1
    sign = 1 if score.higher_is_better else -1
    d = np.array([sign * np.mean(away[row.user_id]) for row in found.participants])
    z = (d - np.median(d)) / (1.4826 * np.median(np.abs(d - np.median(d))))
    assert [row.user_id for row in found.participants] == sorted(means)
    for row, value in zip(found.participants, z, strict=True):
        some = means[row.user_id]
        assert (row.n_trials, row.mean_score) == (len(some), pytest.approx(np.mean(some)))
        assert (row.robust_z, row.flagged) == (pytest.approx(value), value < -3)
    # intervals: of images, or of participants whose scores stay as they are
    purpose = ("bootstrap", "hold-one-out", name)
    if bootstrap == "images":
        samples = bootstrap_means(np.array(ceilings), generator(4, *purpose, "ceiling"))
    else:
        samples = bootstrap_grouped_means(
            np.concatenate([scored[at].ceiling[name] for at in range(6)]), trials.image,
            trials.user, generator(4, *purpose, "ceiling"), images=bootstrap == "crossed",
        )  # fmt: skip
    assert s["ceiling_ci"] == pytest.approx(np.percentile(samples, [2.5, 97.5]))
    samples = bootstrap_means(np.array(nulls), generator(4, *purpose, "null"))
    assert s["null_ci"] == pytest.approx(np.percentile(samples, [2.5, 97.5]))
    # categories, those that people agree on most first
    by_category = {}
    for row in found.images:
        by_category.setdefault(row.category, []).append((row.ceiling, row.null))
    order = sorted(by_category, key=lambda c: -sign * np.mean([v for v, _ in by_category[c]]))
    assert [row.category for row in found.categories] == order
    for row in found.categories:
        mean = np.mean(by_category[row.category], axis=0)
        assert (row.ceiling, row.null) == pytest.approx(tuple(mean))
        assert row.n_images == len(by_category[row.category])


@pytest.mark.parametrize(
    ("changes", "ratio", "reason"),
    [
        ({}, 4.0, None),
        ({"null_low": 0.001}, 4.0, None),
        ({"null_low": 0.0}, None, "throughout its 95% interval"),
        ({"null_low": -0.01}, None, "throughout its 95% interval"),
        ({"null": -0.2, "null_low": -0.3}, None, "throughout its 95% interval"),
        ({"null": 0.008, "null_low": 0.007}, 100.0, None),
        ({"null": 0.0079, "null_low": 0.007}, None, "more than 100 times the null"),
        ({"null": math.nan, "null_low": math.nan}, None, "no null"),
        ({"ceiling": math.nan}, None, "no ceiling"),
        ({"higher_is_better": False}, None, "lower"),
    ],
)
def test_a_ratio_to_a_null_that_may_be_0_is_not_given(changes, ratio, reason) -> None:
    given = {"higher_is_better": True, "ceiling": 0.8, "null": 0.2, "null_low": 0.1} | changes
    found, why = ratio_to_null(**given)
    np.testing.assert_allclose(found, np.nan if ratio is None else ratio)
    assert why == "" if reason is None else reason in why


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", ["spearman", "rsa"])
def test_a_table_without_a_ratio_says_why(tmp_path, method, metric) -> None:
    """Half of each category is clicked at the left: the null is as often above 0 as below."""
    rng = np.random.default_rng(3)
    rows = []
    for i, u in product(range(8), range(4)):
        x, y = rng.integers(0, 16, 30) + 16 * (i // 2 % 2), rng.integers(0, 32, 30)
        rows.append((f"c{i % 2}/{i}.png", f"u{u}", list(zip(x.tolist(), y.tolist(), strict=True))))
    found = run(write_csv(tmp_path / "t.csv", rows), method, f"metric={metric}")
    s = found[0].summary.summary.as_json()
    assert s["null_ci"][0] < 0 < s["null_ci"][1]
    assert s["ratio"] is None
    assert summary_lines(found)[0] == (
        f"{metric}: no ratio, because the null is not above 0 throughout its 95% interval."
    )
    out = io.StringIO()
    Console(file=out, width=160).print(ceiling_table(found))
    assert f"Human ceiling, {method}, 1,000 resamples of images" in out.getvalue()
    assert " - " in out.getvalue()


def test_whoever_is_below_minus_3_is_flagged() -> None:
    rows = [(f"{at}.png", f"u{u}", [(u, u)]) for at in range(2) for u in range(7)]
    trials = trials_of(rows).compact()
    plan = Plan("hold-one-out", [MAP_SCORES["sim"]], 1, 0, 0)
    # the MAD is 1, so z is the distance over 1.4826
    for low, flagged in ((-4.4, False), (-4.5, True)):
        scores = np.array([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0, low])
        raw = {at: ImageScores({"sim": scores}, {"sim": np.empty(0)}) for at in range(2)}
        found = ceiling_result(trials, raw, MAP_SCORES["sim"], plan, "images", 0.9)
        assert [row.flagged for row in found.participants] == [False] * 6 + [flagged]
        assert found.summary.as_json()["n_flagged"] == int(flagged)


@pytest.mark.parametrize("metric", ["sim", "crossentropy", "kl", "spearman"])
def test_who_clicks_elsewhere_has_the_lowest_z_whatever_the_scores_direction(
    tmp_path, metric
) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(4):
        for u in range(8):
            centre = 24 if u == 5 else 8
            points = np.clip(centre + rng.normal(0, 3, (30, 2)), 0, 31).astype(int)
            rows.append((f"c{i % 2}/{i}.png", f"u{u}", [(int(x), int(y)) for x, y in points]))
    people = run(write_csv(tmp_path / "t.csv", rows), "hold-one-out", f"metric={metric}")[0].summary
    z = {row.user_id: row.robust_z for row in people.participants}
    assert min(z, key=z.__getitem__) == "u5"
    assert [row.user_id for row in people.participants if row.flagged] == ["u5"]


@pytest.mark.parametrize("method", METHODS)
def test_results_do_not_depend_on_workers_interleaving_or_other_images(
    data, tmp_path, method, monkeypatch
) -> None:
    monkeypatch.setattr(parallel, "START_SECONDS", 0)
    one = run(data, method, "n_jobs=1")[0].summary
    two = run(data, method, "n_jobs=2", "experiment_name=two")[0].summary
    assert one.images == two.images
    assert one.summary.as_json() == two.summary.as_json()
    rows = random_rows(0, images=6, users=7)
    fewer = [row for row in rows if row[0] != rows[-1][0]][::-1][::-1]
    less = run(write_csv(tmp_path / "less" / "t.csv", fewer), method)[0].summary
    for a, b in zip(one.images, less.images, strict=False):
        assert (a.image_path, a.ceiling, a.upper) == pytest.approx(
            (b.image_path, b.ceiling, b.upper), nan_ok=True
        )


def test_a_prepared_folder_gives_the_same_ceiling(data) -> None:
    raw = run(data, "split-half")[0].summary
    config = load_experiment(None, [*words_for(data), "display_image_keys=null"]).config
    folder = prepare.run(config, Silent(), draw_example).folder
    again = run(data, "split-half", f"clickme_data={folder}", "experiment_name=again")[0].summary
    assert raw.images == again.images
    assert raw.summary.as_json() == again.summary.as_json()


def test_a_prepared_folder_is_what_it_was_made_with(data, tmp_path) -> None:
    words = [*words_for(data), "display_image_keys=null"]
    folder = prepare.run(load_experiment(None, words).config, Silent(), draw_example).folder
    with pytest.raises(ConfigError, match="set the same"):
        run(data, "split-half", f"clickme_data={folder}", "image_shape=[16,16]")
    progress = Silent()
    run(data, "split-half", f"clickme_data={folder}", "min_clicks=9", progress=progress)
    assert any("without effect: min_clicks" in text for text in progress.notices)
    arrays = dict(np.load(folder / "trials.npz"))
    for name, change in (
        ("x", lambda a: a + 1000), ("x", lambda a: a - 100), ("x", lambda a: a.astype(float)),
        ("image", lambda a: a[::-1]), ("images", lambda a: np.char.add("../", a)),
        ("offsets", lambda a: a[:-1]),
    ):  # fmt: skip
        np.savez(folder / "trials.npz", **{**arrays, name: change(arrays[name])})
        with pytest.raises(DataError):
            run(data, "hold-one-out", f"clickme_data={folder}")
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="no finished run"):
        run(data, "hold-one-out", f"clickme_data={folder}")


def test_resume_keeps_and_stop_stops(data) -> None:
    run(data, "split-half")
    with pytest.raises(ConfigError, match="already holds a finished"):
        run(data, "split-half")
    folder = data.parent / "assets/experiment/ceiling/split-half-spearman"
    before = (folder / "manifest.json").read_bytes()
    again = run(data, "split-half", "metric=[spearman,pearson]", when=WhenPresent.RESUME)
    assert [r.summary.summary.as_json()["metric"] for r in again] == ["spearman", "pearson"]
    assert (folder / "manifest.json").read_bytes() == before
    assert (folder.parent / "split-half-pearson/summary.json").is_file()


def test_rsa_of_images_people_agree_on(tmp_path) -> None:
    # image i is clicked near its own row by everybody, and images repeat in pairs of rows
    rng = np.random.default_rng(0)
    rows = []
    for i in range(8):
        for u in range(6):
            y = np.clip(4 * (i // 2) + 4 + rng.integers(-1, 2, 40), 0, 31)
            rows.append(
                (
                    f"{i}.png",
                    f"u{u}",
                    list(zip(rng.integers(0, 32, 40).tolist(), y.tolist(), strict=True)),
                )
            )
    for method in METHODS:
        result = run(write_csv(tmp_path / "t.csv", rows), method, "metric=RSA")[0].summary
        s = result.summary.as_json()
        assert s["ceiling_mean"] > 0.6
        assert abs(s["null_mean"]) < 0.5
        assert s["ceiling_ci"][0] <= s["ceiling_mean"] <= s["ceiling_ci"][1] + 1e-9
        folder = tmp_path / "assets/experiment/ceiling" / f"{method}-rsa"
        assert not (folder / "per_image.csv").exists()
        assert (folder / "ceiling.png").is_file()


def test_rsa_of_halves_is_the_definition() -> None:
    trials = trials_of(random_rows(0, images=7, users=6)).compact()
    settings = MapSettings((32, 32), None, "circle", 5, None, 51, None)
    plan = Plan("split-half", [], 3, 2, 0)
    found = rsa_ceiling(trials, settings, plan, 1, Silent()).raw_ceiling[0]
    slices, upper = trials.image_slices(), np.triu_indices(7, 1)
    stacks = [
        trial_maps(image_clicks(trials, slices, i), settings).reshape(6, -1) for i in range(7)
    ]
    for split in range(3):
        halves = [random_halves(np.arange(6), 3, 0, str(key))[split] for key in trials.images]
        a, b = (
            np.corrcoef(
                [maps[h[side]].mean(0, dtype=float) for maps, h in zip(stacks, halves, strict=True)]
            )
            for side in (0, 1)
        )
        assert found[split] == pytest.approx(spearmanr(a[upper], b[upper])[0], abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_nulls_are_predictions_of_other_images(method) -> None:
    """Half of another image against the halves in turn, or its mean against one participant."""
    trials = trials_of(random_rows(2, images=5, users=5)).compact()
    settings = MapSettings((32, 32), None, "circle", 5, None, 51, None)
    plan = Plan(method, [MAP_SCORES["pearson"], MAP_SCORES["kl"]], 3, 7, 2)
    scored, by_category = score_images(trials, settings, plan, LocalPool(1), Silent())
    assert by_category
    slices, keys = trials.image_slices(), trials.images.tolist()
    maps = [trial_maps(image_clicks(trials, slices, at), settings).astype(float) for at in range(5)]
    halves = [random_halves(np.arange(5), 3, 2, key) for key in keys]
    others = OtherImages(keys, trials.category, np.ones(5, dtype=bool), 2)
    for at, key in enumerate(keys):
        rng = generator(2, key, "null participants")
        wanted = []
        for draw, other in enumerate(others.draw(at, 7)):
            if method == "split-half":
                prediction = maps[other][halves[other][0][0]].mean(axis=0)
                target = maps[at][halves[at][draw % 3][1]].mean(axis=0)
            else:
                prediction, target = maps[other].mean(axis=0), maps[at][rng.integers(5)]
            wanted.append((np.corrcoef(prediction.ravel(), target.ravel())[0, 1],
                           score_maps("kl", prediction[None], target[None])[0]))  # fmt: skip
        found = scored[at].null
        np.testing.assert_allclose(found["pearson"], [r for r, _ in wanted], atol=1e-6)
        np.testing.assert_allclose(found["kl"], [kl for _, kl in wanted], atol=1e-5)


def test_people_who_came_twice_are_one_participant() -> None:
    rows = random_rows(3, images=3, users=4)
    rows += [(key, user, clicks[::-1][:9]) for key, user, clicks in rows if key == "cat0/0.png"]
    rows += [("cat1/alone.png", "u0", [(k, 3) for k in range(9)])] * 2
    trials = trials_of(rows).compact()
    settings = MapSettings((32, 32), None, "circle", 5, None, 51, None)
    score = MAP_SCORES["pearson"]
    plan = Plan("split-half", [score], 3, 2, 0, curve_sizes=(1, 2, 4))
    scored, _ = score_images(trials, settings, plan, LocalPool(1), Silent())
    # two trials of one person have no halves; four people have halves of two, however many trials
    assert [trials.images[code] for code in scored] == ["cat0/0.png", "cat0/2.png", "cat1/1.png"]
    assert all(set(raw.curve) == {1, 2} for raw in scored.values())
    rows_found = ceiling_result(trials, scored, score, plan, "images", 0.9).images
    assert [row.n_participants for row in rows_found] == [4, 4, 4]


def test_curve_sizes_double_up_to_half_of_the_most_people() -> None:
    for people, sizes in (
        ([0, 1], ()), ([2], (1,)), ([3, 2], (1,)), ([4], (1, 2)), ([7, 3], (1, 2)),
        ([8], (1, 2, 4)), ([15], (1, 2, 4)), ([16], (1, 2, 4, 8)), ([], ()),
    ):  # fmt: skip
        assert curve_sizes(np.array(people, dtype=np.int64)) == sizes, people


def spearman_of(a, b, pairs) -> float:
    if len(pairs) < 3:
        return math.nan
    x, y = (rankdata([m[pair] for pair in pairs]) for m in (a, b))
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else math.nan


@pytest.mark.parametrize("method", METHODS)
def test_rsa_its_null_and_its_intervals_are_their_definitions(method) -> None:
    rows = random_rows(1, images=6, users=5)
    rows.append(("cat0/lonely.png", "u0", [(k, k) for k in range(20)]))
    trials = trials_of(rows).compact()
    settings = MapSettings((32, 32), None, "circle", 5, None, 51, None)
    plan = Plan(method, [], 2, 4, 3)
    found = rsa_ceiling(trials, settings, plan, 1, Silent())
    slices = trials.image_slices()
    keys = trials.images.tolist()
    pairs = []
    for split in range(2):
        first, second = [], []
        for at in [at for at, key in enumerate(keys) if "lonely" not in key]:
            maps = trial_maps(image_clicks(trials, slices, at), settings).astype(float)
            maps = maps.reshape(5, -1)
            if method == "split-half":
                a, b = random_halves(np.arange(5), 2, 3, keys[at])[split]
                first.append(maps[a].mean(axis=0))
                second.append(maps[b].mean(axis=0))
            else:
                one = generator(3, keys[at], "rsa participant", str(split)).integers(5)
                first.append(maps[one])
                second.append(np.delete(maps, one, axis=0).mean(axis=0))
        # equal to the last bit on both sides of the diagonal, so that copies of a pair tie
        pairs.append(tuple((c + c.T) / 2 for c in map(np.corrcoef, (first, second))))
    upper = list(combinations(range(6), 2))
    wanted = [spearman_of(a, b, upper) for a, b in pairs]
    np.testing.assert_allclose(found.raw_ceiling[0], wanted, atol=1e-9)
    # the images of one side permuted, rows and columns of its matrix alike
    rng = generator(3, "rsa null", method)
    nulls = []
    for draw in range(4):
        a, b = pairs[draw % 2]
        order = rng.permutation(6)
        nulls.append(spearman_of(a, b[order][:, order], upper))
    np.testing.assert_allclose(found.raw_null[0], nulls, atol=1e-9)
    # images resampled; a pair of one image and its own copy is no pair
    rng = generator(3, "bootstrap", method, "rsa")
    samples: list[tuple[float, float]] = []
    for draw in range(1000):
        a, b = pairs[draw % 2]
        chosen, order = rng.integers(0, 6, 6), rng.permutation(6)
        kept = [(chosen[i], chosen[j]) for i, j in upper if chosen[i] != chosen[j]]
        permuted = b[order][:, order]
        samples.append((spearman_of(a, b, kept), spearman_of(a, permuted, kept)))
    s = found.summary.as_json()
    for at, name in enumerate(("ceiling_ci", "null_ci")):
        known = [sample[at] for sample in samples if not math.isnan(sample[at])]
        np.testing.assert_allclose(s[name], np.percentile(known, [2.5, 97.5]), atol=1e-9)
    assert (s["ceiling_mean"], s["null_mean"]) == pytest.approx((np.mean(wanted), np.mean(nulls)))
    assert (s["n_images"], s["n_maps"]) == (6, 30)


def test_images_with_one_map_are_left_out_and_counted(tmp_path) -> None:
    rows = [
        *random_rows(0, images=3, users=4),
        ("cat9/lonely.png", "u0", [(k, k) for k in range(20)]),
    ]
    progress = Silent()
    summary = run(write_csv(tmp_path / "t.csv", rows), "split-half", progress=progress)[
        0
    ].summary.summary.as_json()
    assert summary["n_images"] == 3
    assert summary["left_out"]["fewer than two participants"] == 1
    assert any("1 images left out" in text for text in progress.notices)


def test_one_image_only_has_a_ceiling_and_no_null(tmp_path) -> None:
    progress = Silent()
    rows = random_rows(0, images=1, users=5)
    for method in METHODS:
        s = run(write_csv(tmp_path / "t.csv", rows), method, progress=progress)[
            0
        ].summary.summary.as_json()
        assert s["ceiling_mean"] is not None
        assert (s["null_mean"], s["ratio"]) == (None, None)
    assert any("Only one image" in text for text in progress.notices)
    s = run(write_csv(tmp_path / "t.csv", rows), "split-half", "metric=rsa")[
        0
    ].summary.summary.as_json()
    assert s["ceiling_mean"] is None


def test_one_category_only_is_reported(tmp_path) -> None:
    progress = Silent()
    rows = [(key.replace("cat1", "cat0"), u, c) for key, u, c in random_rows(0, images=3, users=4)]
    assert run(write_csv(tmp_path / "t.csv", rows), "split-half", progress=progress)[
        0
    ].summary.summary.as_json()["null_mean"]
    assert any("one category" in text for text in progress.notices)


def test_a_metrics_notices_do_not_depend_on_the_metrics_beside_it(data) -> None:
    first = run(data, "split-half", "metric=[spearman]")
    run(data, "split-half", "metric=[spearman,auc]", when=WhenPresent.RESUME)
    both = run(data, "split-half", "metric=[spearman,auc]", "experiment_name=two")
    alone, together = (outcomes[0].folder.parents[1] for outcomes in (first, both))
    for metric, said in (("spearman", True), ("auc", False)):
        manifests = [
            load_manifest(folder / "ceiling" / f"split-half-{metric}")
            for folder in (alone, together)
        ]
        assert manifests[0].notices == manifests[1].notices
        assert any("Spearman-Brown" in text for text in manifests[0].notices) is said


def test_all_maps_constant(tmp_path) -> None:
    everywhere = [(x, y) for y in range(4) for x in range(4)]
    rows = [(f"c{i}/{i}.png", f"u{u}", everywhere) for i in range(3) for u in range(4)]
    result = run(
        write_csv(tmp_path / "t.csv", rows), "split-half", "image_shape=[4,4]", "kernel_type=none",
        "duplicate_maps=keep_all",
    )[0].summary  # fmt: skip
    assert result.summary.as_json()["n_images"] == 0
    assert result.summary.as_json()["ceiling_mean"] is None
    assert result.summary.as_json()["left_out"]["no score (every target constant or empty)"] == 3


def test_calls_that_contradict_themselves(data, tmp_path) -> None:
    for method, words, kwargs, says in (
        ("holdout", (), {}, "must be split-half or hold-one-out"),
        ("hold-one-out", (), {"subject_curve": True}, "use it with split-half"),
        ("split-half", ("bootstrap=crossed",), {}, "only hold-one-out has"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(data, method, *words, **kwargs)
    (tmp_path / "sizes.json").write_text(json.dumps({"cat0/0.png": [32, 60]}))
    with pytest.raises(DataError, match="5 of 6 images have no size in metadata_file"):
        run(data, "split-half", f"metadata_file={tmp_path / 'sizes.json'}")
    with pytest.raises(DataError, match=r"holds no trials\.npz"):
        run(data, "split-half", f"clickme_data={tmp_path}")


# --- theory ------------------------------------------------------------------------------------

PARTICIPANTS, IMAGES, SIDE = 8, 40, 24


def poisson_study(seed: int, shared: bool):
    """Clicks per pixel are Poisson; the rate differs from pixel to pixel, or from nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(IMAGES):
        rate = rng.gamma(4, 0.25, SIDE * SIDE)
        for u in range(PARTICIPANTS):
            if not shared:
                rate = np.full(SIDE * SIDE, 0.5)
            pixels = np.repeat(np.arange(SIDE * SIDE), rng.poisson(rate))
            rows.append(
                (f"c{i % 2}/{i}.png", f"u{u}", [(int(p) % SIDE, int(p) // SIDE) for p in pixels])
            )
    return trials_of(rows, shape=(SIDE, SIDE)).compact()


def summary_of(trials, name: str, splits: int = 2) -> dict:
    settings = MapSettings((SIDE, SIDE), None, "none", 1, None, 51, None)
    score = MAP_SCORES[name]
    plan = Plan("split-half", [score], splits, 2, 0)
    scored, _ = score_images(trials, settings, plan, LocalPool(1), Silent())
    return ceiling_result(trials, scored, score, plan, "images", 0.9).summary.as_json()


def test_intervals_cover_the_expected_reliability() -> None:
    # halves of k participants: variance of the true rate, plus mean rate / k of Poisson noise;
    # gamma(4, 1/4) has mean 1 and variance 1/4
    k = PARTICIPANTS / 2
    expected = 0.25 / (0.25 + 1 / k)
    covered = 0
    for seed in range(100):
        low, high = summary_of(poisson_study(seed, shared=True), "pearson")["ceiling_ci"]
        covered += low <= expected <= high
    assert 90 <= covered <= 99


@pytest.mark.parametrize(("name", "chance"), [("spearman", 0), ("pearson", 0), ("auc", 0.5)])
def test_independent_pixels_are_at_chance(name, chance) -> None:
    s = summary_of(poisson_study(0, shared=False), name, splits=6)
    # one image's correlation of N independent pixels has the spread 1 / sqrt(N)
    spread = 1 / (SIDE * math.sqrt(IMAGES))
    assert s["ceiling_mean"] == pytest.approx(chance, abs=4 * spread)
    assert s["null_mean"] == pytest.approx(chance, abs=4 * spread)


def test_careless_and_cheating_participants_stand_at_the_bottom() -> None:
    areas = []
    for seed in range(8):
        study = Simulation(seed)
        trials = study.trials().compact()
        settings = MapSettings((256, 256), None, "circle", 21, None, 51, None)
        score = MAP_SCORES["spearman"]
        plan = Plan("hold-one-out", [score], 1, 1, seed)
        scored, _ = score_images(trials, settings, plan, LocalPool(2), Silent())
        people = ceiling_result(trials, scored, score, plan, "images", 0.9).participants
        roles = dict(zip(study.user_names(), study.roles(), strict=True))
        bad = [roles[row.user_id] != "careful" for row in people]
        areas.append(roc_auc_score(bad, [-row.robust_z for row in people]))
    assert np.mean(areas) >= 0.9


def test_a_refused_resume_leaves_the_other_metrics_folders_as_they_are(data) -> None:
    run(data, "split-half", "metric=pearson")
    with pytest.raises(ConfigError, match="split-half-pearson was made with other settings"):
        run(data, "split-half", "metric=[spearman,pearson]", "seed=1", when=WhenPresent.RESUME)
    # nothing has begun, so nothing is there to be resumed or overwritten
    assert run(data, "split-half", "metric=spearman")[0].written


PREPARED = ["min_subjects=1", "image_shape=[32,32]", "blur_size=5", "display_image_keys=null"]


def test_every_filter_that_a_prepared_folder_cannot_apply_is_reported(data, tmp_path) -> None:
    words = [f"clickme_data={data}", f"assets={tmp_path / 'made'}", *PREPARED]
    config = load_experiment(None, words).config
    folder = prepare.run(config, Silent(), lambda _: None).folder
    progress = Silent()
    file = tmp_path / "classes.json"
    file.write_text('["cat0"]')
    other = ["remove_string=x", "category_column=c", f"class_filter_file={file}", "mask_dir=masks",
             f"metadata_file={file}", "max_clicks=50"]  # fmt: skip
    run(folder, "split-half", *other, progress=progress, dry_run=True)
    (said,) = [text for text in progress.notices if "without effect" in text]
    assert all(word.partition("=")[0] in said for word in other)


def test_the_keys_of_reading_and_filtering_are_all_named() -> None:
    """A new key of what a map is made from must be told apart: read and filtered, or blurred."""
    blurred = {
        "image_shape", "center_crop", "kernel_type", "blur_size", "blur_sigma", "max_kernel_size",
        "exponential_decay", "decay_tau",
    }  # fmt: skip
    made_from = {k for k, v in keys_of(ExperimentConfig).items() if v.scope in ("maps", "input")}
    assert made_from == {*READ_AND_FILTER, *blurred, "clickme_data"}


def test_metrics_that_were_finished_before_are_reported(data) -> None:
    run(data, "hold-one-out", "metric=pearson")
    progress = Silent()
    run(data, "hold-one-out", "metric=[pearson,auc]", when=WhenPresent.RESUME, progress=progress)
    said = [text for text in progress.notices if text.startswith("Already done")]
    assert len(said) == 1
    assert "hold-one-out-pearson was finished before" in said[0]
