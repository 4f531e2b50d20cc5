"""Classifiers of attention maps, from pictures to tables: folds, leaks, stops, and refusals."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clickmap_cli.clickmaps.simulation.reading_study import ReadingStudy
from clickmap_cli.config.loading import CLASSIFIER, load_config
from clickmap_cli.datasets.classifier_images import image_folder
from clickmap_cli.models.classifier import build_classifier
from clickmap_cli.runtime.errors import ClickmapError, ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.classifier import run as classifier
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.training_views import TrainingViews
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from clickmap_cli.training.checkpoints import load
from tests.datasets.test_classifier_images import prepared
from tests.helpers.studies import read_csv


class Small:
    """Draws in place of matplotlib, which takes its time; tests/reports has those pictures."""

    def draw_picture(self, path, title, pixels, maps) -> None:
        planes = [pixels if pixels.ndim == 2 else pixels.mean(axis=2)]
        planes += [m / (m.max() or 1) for m in maps.values()]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.hstack(planes) * 255).astype(np.uint8)).save(path)

    def draw_averages(self, path, rows) -> None:
        self.draw_picture(path, "", rows[-1].pixels, rows[-1].maps)


class Dying(Small):
    def draw_averages(self, path, rows) -> None:
        raise KeyboardInterrupt


VIEWS = TrainingViews(lambda title, rows: None, lambda text: None)
EASY = {"n_participants": 7, "n_maps": 4, "side": 20, "peak": 4, "sigma_px": 4, "wander": 1}
TABLES = (
    "per_image.csv", "per_participant.csv", "folds.csv", "history.csv", "failures.csv",
    "summary.json",
)  # fmt: skip


def words_for(maps: Path, out: Path, *more: str) -> list[str]:
    return [
        f"data.root={maps}", f"output_dir={out}", "model.in_size=2", "model.dropout=0.1",
        "training.num_epochs=3", "training.batch_size=4", "training.lr=0.02", "cv.outer_kfolds=3",
        "cv.inner_kfolds=2", "permutations=20", "interpretation.n_images=1",
        "interpretation.n_samples=2", "device=cpu", "n_jobs=1", *more,
    ]  # fmt: skip


def run(maps: Path, out: Path, *more: str, progress=None, views=VIEWS, figures=None, **kwargs):
    config = load_config(CLASSIFIER, None, words_for(maps, out, *more)).config
    return classifier.run(config, progress or Silent(), views, figures or Small(), **kwargs)


PLAIN = ("interpretation=false", "permutations=0")


def f1_of(pairs, positive="P") -> float:
    """Of (true, predicted) pairs, counted."""
    hits = sum(true == said == positive for true, said in pairs)
    wrong = sum((true == positive) != (said == positive) for true, said in pairs)
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


@pytest.fixture(scope="module")
def easy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("easy") / "maps"
    ReadingStudy(**EASY).write(folder)
    return folder


@pytest.fixture(scope="module")
def whole(easy) -> tuple[Path, Outcome]:
    out = easy.parent / "whole"
    return out, run(easy, out, "training.autosave=true", "interpretation.n_images=99")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> tuple[Path, dict]:
    """A study large enough to be learnt; and its results."""
    folder = tmp_path_factory.mktemp("learnt")
    ReadingStudy(**(EASY | {"n_participants": 12, "n_maps": 8})).write(folder / "maps")
    found = run(folder / "maps", folder / "out", "model.in_size=4", "training.num_epochs=8")
    return folder / "out", found.summary.as_json()["results"]


# --- tables -------------------------------------------------------------------------------------


def sides_of(out: Path) -> dict[str, tuple[set[str], list[set[str]]]]:
    """Of each fold, who tests, and who validates in each inner fold, as its log says."""
    log = next(out.glob("log_*.txt")).read_text()
    found = {}
    for number, test, rest in re.findall(
        r"^Fold (\d)\nTest participants: (.*)\n((?:.*\n)*?)Best model", log, re.MULTILINE
    ):
        inner = re.findall(r"^Inner fold \d, validation participants: (.*)$", rest, re.MULTILINE)
        found[number] = set(test.split(", ")), [set(names.split(", ")) for names in inner]
    return found


def test_nobody_is_on_two_sides_and_everybody_is_tested_once(easy, whole) -> None:
    out, _ = whole
    people = {f"p{k:02d}" for k in range(1, 8)}
    sides = sides_of(out)
    assert set(sides) == {"1", "2", "3"}
    for fold, (test, validation) in sides.items():
        assert len(validation) == 2
        # everybody else validates once, and trains in the other inner fold
        assert Counter(name for names in validation for name in names) == Counter(people - test)
        assert load(out / f"fold_{fold}/best_model.pt")["about"]["test"] == sorted(test)
    assert Counter(name for test, _ in sides.values() for name in test) == Counter(people)
    rows = read_csv(out / "per_image.csv")
    ids = {f"{path.parent.relative_to(easy)}/{path.stem}" for path in easy.rglob("*.png")}
    assert Counter(row["image"] for row in rows) == Counter(ids)
    for row in rows:
        label, participant, _ = row["image"].split("/")
        assert (row["true"], row["participant"]) == (label, participant)
        assert participant in sides[row["fold"]][0]


@pytest.mark.parametrize(("model", "ahead"), [("network", ""), ("baseline", "baseline_")])
def test_tables_follow_from_single_maps(whole, model, ahead) -> None:
    out, found = whole
    rows = read_csv(out / "per_image.csv")
    result = found.summary.as_json()["results"][model]
    for row in rows:
        assert row[f"{ahead}predicted"] == "CP"[int(float(row[f"{ahead}probability"]) > 0.5)]
    said = [(row["true"], row[f"{ahead}predicted"]) for row in rows]
    folds = [[p for p, r in zip(said, rows, strict=True) if r["fold"] == k] for k in "123"]
    assert result["f1_folds"] == pytest.approx([f1_of(pairs) for pairs in folds])
    assert result["f1"] == pytest.approx(np.mean([f1_of(pairs) for pairs in folds]))
    assert result["f1_pooled"] == pytest.approx(f1_of(said))
    assert result["f1_ci"][0] <= result["f1_pooled"] <= result["f1_ci"][1]
    # the people of all folds drawn together, the same draws for every classifier
    people = read_csv(out / "per_participant.csv")
    counts = np.array(
        [[[int(row[f"{ahead}{t}_as_{g}"]) for g in "CP"] for t in "CP"] for row in people]
    )
    drawn = generator(0, "f1", "bootstrap").integers(0, len(people), (1000, len(people)))
    draws = []
    for one in drawn:
        (_, fp), (fn, tp) = counts[one].sum(axis=0)
        draws.append(2 * tp / (2 * tp + fp + fn))
    assert result["f1_ci"] == pytest.approx(np.percentile(draws, [2.5, 97.5]))
    weighted = [np.mean([f1_of(pairs), f1_of(pairs, "C")]) for pairs in folds]  # as many of each
    assert result["f1_weighted"] == pytest.approx(np.mean(weighted))
    assert result["accuracy"] == pytest.approx(np.mean([true == guess for true, guess in said]))
    scores: dict[str, list[float]] = {"C": [], "P": []}
    for row in rows:
        scores[row["true"]].append(float(row[f"{ahead}probability"]))
    wins = [(p > c) + (p == c) / 2 for p, c in product(scores["P"], scores["C"])]
    assert result["auc"] == pytest.approx(np.mean(wins))
    for row, pairs in zip(read_csv(out / "folds.csv"), folds, strict=True):
        assert float(row[f"{ahead}f1"]) == pytest.approx(f1_of(pairs))
        assert int(row["n_maps"]) == len(pairs)
    for row in read_csv(out / "per_participant.csv"):
        mine = Counter(
            (r["true"], r[f"{ahead}predicted"])
            for r in rows if r["participant"] == row["participant"]
        )  # fmt: skip
        for true, guess in product("CP", "CP"):
            assert int(row[f"{ahead}{true}_as_{guess}"]) == mine[true, guess]
        assert float(row[f"{ahead}f1"]) == pytest.approx(f1_of(list(mine.elements())))
    assert result["p"] * 21 == pytest.approx(round(result["p"] * 21))
    assert 0 < result["chance_f1"] <= result["chance_f1_95"] <= 1


def test_network_less_baseline(whole) -> None:
    summary = whole[1].summary.as_json()
    results, away = summary["results"], summary["difference"]
    assert away["f1"] == pytest.approx(results["network"]["f1"] - results["baseline"]["f1"])
    pooled = [results[model]["f1_pooled"] for model in ("network", "baseline")]
    assert away["f1_pooled"] == pytest.approx(pooled[0] - pooled[1])
    assert away["f1_ci"][0] <= away["f1_pooled"] <= away["f1_ci"][1]
    assert (summary["resamples"], summary["permutations"]) == (1000, 20)
    counts = load_manifest(whole[0]).counts
    assert (counts["resamples"], counts["permutations"]) == (1000, 20)


# --- which model is kept ------------------------------------------------------------------------


def test_the_first_best_model_of_all_inner_folds_is_kept(easy, whole) -> None:
    out, _ = whole
    rows = read_csv(out / "history.csv")
    images = image_folder(easy)
    tests = read_csv(out / "per_image.csv")
    for fold in read_csv(out / "folds.csv"):
        mine = [row for row in rows if row["fold"] == fold["fold"]]
        assert [(row["inner_fold"], row["epoch"]) for row in mine] == list(product("12", "123"))
        best = max(mine, key=lambda row: float(row["val_accuracy"]))  # the first of equals
        for name in ("inner_fold", "epoch", "val_accuracy"):
            assert fold[name] == best[name]
        place = out / f"fold_{fold['fold']}"
        for inner in "12":
            kept, top = set(), -1.0
            for row in mine:
                if row["inner_fold"] == inner and float(row["val_accuracy"]) > top:
                    top = float(row["val_accuracy"])
                    kept.add(f"model_epoch_{row['epoch']}.pt")
            folder = place / f"inner_{inner}"
            assert {path.name for path in folder.iterdir()} == {*kept, "history.csv"}
        chosen = place / f"inner_{best['inner_fold']}/model_epoch_{best['epoch']}.pt"
        weights, same = (load(p)["state_dict"] for p in (place / "best_model.pt", chosen))
        assert all(weights[key].equal(same[key]) for key in same)
        network = build_classifier((20, 20), 1, 2, in_size=2).eval()
        network.load_state_dict(weights)
        for row in (row for row in tests if row["fold"] == fold["fold"]):
            item = next(item for item in images.items if item.image_id == row["image"])
            with torch.no_grad():
                said = network(torch.from_numpy(item.read())[None, None]).softmax(1)[0, 1]
            assert float(row["probability"]) == pytest.approx(float(said), abs=1e-5)


@pytest.mark.parametrize("mode", ["restart", "sequential"])
def test_one_network_goes_on_or_each_is_its_own(easy, tmp_path, mode) -> None:
    """Without a learning rate a network stays as it began."""
    still = ("training.lr=0", "training.weight_decay=0", "training.num_epochs=1")
    found = run(easy, tmp_path / "out", *still, *PLAIN, "training.autosave=true",
                f"cv.inner_mode={mode}")  # fmt: skip
    firsts = {}
    for path in (tmp_path / "out").glob("fold_*/inner_*/model_epoch_1.pt"):
        firsts[path.parts[-3:-1]] = load(path)["state_dict"]["first.0.weight"].numpy().tobytes()
    assert len(firsts) == 6
    assert len(set(firsts.values())) == (6 if mode == "restart" else 3)
    log = next((tmp_path / "out").glob("log_*.txt")).read_text()
    assert log.count("Val acc is optimistic") == (0 if mode == "restart" else 3)
    assert found.summary.inner_mode == mode


@pytest.mark.parametrize("mode", ["restart", "sequential"])
def test_sequential_trains_on_where_the_inner_fold_before_ended(easy, tmp_path, mode) -> None:
    """BatchNorm counts the batches that it has seen."""
    out, epochs = tmp_path / "out", 3
    run(easy, out, *PLAIN, f"cv.inner_mode={mode}", "training.autosave=true", "cv.only_folds=2",
        f"training.num_epochs={epochs}")  # fmt: skip
    test, validation = sides_of(out)["2"]
    n_people = 7 - len(test)
    # four maps of everybody, four in a batch
    steps = {str(at): n_people - len(held) for at, held in enumerate(validation, 1)}
    seen = {}
    for inner in "12":
        first = load(out / f"fold_2/inner_{inner}/model_epoch_1.pt")
        seen[inner] = int(first["state_dict"]["input_norm.num_batches_tracked"])
    before = epochs * steps["1"] if mode == "sequential" else 0
    assert seen == {"1": steps["1"], "2": before + steps["2"]}
    assert {row["fold"] for row in read_csv(out / "per_image.csv")} == {"2"}


# --- logs and files -----------------------------------------------------------------------------


def test_the_log_has_its_documented_form(whole) -> None:
    out, found = whole
    log = next(out.glob("log_*.txt")).read_text()
    rows = read_csv(out / "history.csv")
    epochs = re.findall(r"^Epoch \[(\d+)\], Loss: ([\d.]+), Val acc: ([\d.]+)$", log, re.MULTILINE)
    assert epochs == [
        (row["epoch"], f"{float(row['train_loss']):.4f}", f"{float(row['val_accuracy']):.4f}")
        for row in rows
    ]
    folds = read_csv(out / "folds.csv")
    tests = re.findall(r"^Test accuracy: ([\d.]+), F1 score: ([\d.]+)$", log, re.MULTILINE)
    assert tests == [(f"{float(f['accuracy']):.4f}", f"{float(f['f1']):.4f}") for f in folds]
    for row, fold in zip(folds, found.summary.as_json()["folds"], strict=True):
        names = ", ".join(fold["test_participants"])
        assert f"\nFold {row['fold']}\nTest participants: {names}\n" in log
        for name, ((a, b), (c, d)) in fold["network"]["confusion"].items():
            assert f"\n{name}: [[{a} {b}]\n      [{c} {d}]]\n" in log
    assert f"F1 of 3 folds, network: {found.summary.results['network'].f1:.4f} [" in log
    (row,) = read_csv(out / "f1_history.csv")
    assert float(row["f1"]) == found.summary.as_json()["results"]["network"]["f1"]
    assert [float(v) for v in row["f1_folds"].split(";")] == [float(f["f1"]) for f in folds]


def test_the_manifest_states_everything_but_the_logs(whole) -> None:
    out, found = whole
    manifest = load_manifest(out)
    assert not damaged_outputs(out, manifest.outputs)
    there = {
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and not path.is_relative_to(out / ".clickmap")
    }
    (log,) = (path.name for path in out.glob("log_*.txt"))
    assert there - set(manifest.outputs) == {log, "f1_history.csv", "manifest.json"}
    assert set(TABLES) <= set(manifest.outputs)
    assert json.loads((out / "summary.json").read_text()) == found.summary.as_json()
    assert manifest.counts == {
        "maps": 28, "participants": 7, "folds": 3, "failures": 0, "resamples": 1000,
        "permutations": 20,
    }  # fmt: skip


def test_averages_are_those_of_the_single_maps(easy, whole) -> None:
    out, _ = whole
    folder = out / "interpretation"
    for label in "CP":
        stacks = [np.load(path) for path in sorted(folder.glob(f"fold_*/{label}/*/*.npy"))]
        assert len(stacks) == 14
        for k, method in enumerate(("gradient", "smoothgrad", "gradcam")):
            maps = [stack[k].astype(float) for stack in stacks]
            assert all(m.shape == (20, 20) and m.min() >= 0 for m in maps)
            mean = np.mean([m / m.mean() if m.any() else m for m in maps], axis=0)
            np.testing.assert_allclose(np.load(folder / f"mean_{method}_{label}.npy"), mean,
                                       rtol=1e-4, atol=1e-5)  # fmt: skip
        pixels = [np.array(Image.open(path)) / 255 for path in sorted(easy.glob(f"{label}/*/*"))]
        np.testing.assert_allclose(
            np.load(folder / f"mean_map_{label}.npy"), np.mean(pixels, axis=0), atol=1e-6
        )
    assert (folder / "mean_maps.png").is_file()
    pictures = {path.with_suffix("") for path in folder.glob("fold_*/*/*/*.png")}
    assert pictures == {path.with_suffix("") for path in folder.glob("fold_*/*/*/*.npy")}


def test_gradients_sit_where_the_difference_is(learnt) -> None:
    folder = learnt[0] / "interpretation"
    rows, columns = np.mgrid[:20, :20]
    middle = np.hypot(rows - 9.5, columns - 9.5) < 5
    for method in ("gradient", "smoothgrad"):
        looked = np.load(folder / f"mean_{method}_P.npy")
        assert looked[middle].mean() > 1.3 * looked[~middle].mean()


# --- kills and second runs ----------------------------------------------------------------------


class Steps:
    """Counts steps of the training; interrupts at a chosen one."""

    def __init__(self, kill_at: int = 0) -> None:
        self.done = 0
        self.kill_at = kill_at

    def views(self) -> TrainingViews:
        return TrainingViews(lambda title, rows: None, self.live)

    def live(self, text: str) -> None:
        self.done += 1
        if self.done == self.kill_at:
            raise KeyboardInterrupt


def contents(out: Path) -> dict[str, bytes]:
    """Files that must not depend on kills: all but logs and the manifest's times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
        and path.suffix in (".csv", ".json", ".npy", ".png", ".pt")
        and path.name not in ("manifest.json", "f1_history.csv")
    }


@pytest.mark.parametrize("mode", ["restart", "sequential"])
def test_a_killed_run_ends_as_one_never_killed(easy, tmp_path, mode) -> None:
    words = (f"cv.inner_mode={mode}", "cv.outer_kfolds=2", "training.batch_size=2")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    steps = Steps()
    run(easy, whole, *words, views=steps.views())
    log, kills = b"", 0
    resumed = {"when": WhenPresent.RESUME}
    for at in (2, *[steps.done // 4] * 9):
        try:
            run(easy, killed, *words, views=Steps(at).views(), figures=Dying(), **resumed)
        except KeyboardInterrupt:
            kills += 1
        grown = next(killed.glob("log_*.txt")).read_bytes()
        assert grown.startswith(log)
        log = grown
    assert kills == 10  # the last of them while pictures were drawn
    assert b"Fold 2, trained in an earlier run" in log
    with pytest.raises(ConfigError, match="--resume"):
        run(easy, killed, *words)
    with pytest.raises(ConfigError, match="other settings"):
        run(easy, killed, *words, "training.lr=0.5", **resumed)
    run(easy, killed, *words, "n_jobs=3", **resumed)
    assert contents(killed) == contents(whole)
    assert len(read_csv(killed / "f1_history.csv")) == 1
    assert not list(killed.rglob("*.pth"))


def test_logs_only_grow_and_nothing_else_of_an_old_run_stays(easy, tmp_path) -> None:
    out = tmp_path / "out"
    run(easy, out, "training.autosave=true", "cv.outer_kfolds=3", "training.num_epochs=2")
    names = [next(out.glob("log_*.txt")), out / "f1_history.csv"]
    before = [path.read_bytes() for path in names]
    assert run(easy, out, "training.autosave=true", "training.num_epochs=2", progress=Silent(),
               when=WhenPresent.RESUME).summary  # fmt: skip
    assert [path.read_bytes() for path in names] == before  # there was nothing to do
    run(easy, out, "cv.outer_kfolds=2", "training.num_epochs=1", "interpretation=false",
        when=WhenPresent.OVERWRITE)  # fmt: skip
    for path, old in zip(names, before, strict=True):
        assert path.read_bytes().startswith(old)
        assert len(path.read_bytes()) > len(old)
    assert [row["outer_kfolds"] for row in read_csv(names[1])] == ["3", "2"]
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert not any(name.startswith("model_epoch") or name.endswith(".npy") for name in left)
    assert not (out / "fold_3/best_model.pt").exists()
    names[1].write_text("something,else\n1,2\n")
    with pytest.raises(ConfigError, match=r"f1_history\.csv has other columns"):
        run(easy, out, when=WhenPresent.OVERWRITE)


def test_another_place_of_the_same_maps_is_the_same_study(easy, tmp_path) -> None:
    out = tmp_path / "out"
    first = run(easy, out, *PLAIN, "training.num_epochs=1")
    shutil.copytree(easy, tmp_path / "moved")
    again = run(tmp_path / "moved", out, *PLAIN, "training.num_epochs=1", when=WhenPresent.RESUME)
    assert again.summary == first.summary
    path = next((tmp_path / "moved").rglob("*.png"))
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    with pytest.raises(ConfigError, match="other settings or inputs"):
        run(tmp_path / "moved", out, *PLAIN, "training.num_epochs=1", when=WhenPresent.RESUME)


# --- chance and leaks ---------------------------------------------------------------------------


def test_shuffled_labels_give_chance_where_true_ones_are_learnt(learnt) -> None:
    out, true = learnt
    assert true["network"]["f1"] >= 0.9
    assert true["network"]["p"] == pytest.approx(1 / 21)
    assert true["network"]["chance_f1"] < 0.7
    shuffled = run(out.parent / "maps", out.parent / "chance", "interpretation=false",
                   "model.in_size=4", "training.num_epochs=8", "shuffle_labels=true"
                   ).summary.as_json()["results"]  # fmt: skip
    for model in ("network", "baseline"):
        assert 0.25 <= shuffled[model]["f1"] <= 0.72
        assert 0.3 <= shuffled[model]["accuracy"] <= 0.7
    assert shuffled["network"]["p"] > 0.05
    rows = read_csv(out.parent / "chance/per_image.csv")
    moved = [row["image"][0] != row["true"] for row in rows]
    assert 10 < sum(moved) < len(moved) - 10
    for name in {row["participant"] for row in rows}:
        mine = [row for row in rows if row["participant"] == name]
        assert Counter(r["true"] for r in mine) == Counter(r["image"][0] for r in mine)


def test_a_participants_watermark_lifts_nothing(tmp_path) -> None:
    """A participant's identity tells their class, except for held-out participants."""
    study = {"n_participants": 16, "n_maps": 4, "side": 20, "peak": 0, "one_class": True}
    scores = {}
    for watermark in (0.0, 3.0):
        maps, out = tmp_path / f"maps{watermark}", tmp_path / f"out{watermark}"
        ReadingStudy(**study, watermark=watermark).write(maps)
        told = Silent()
        scores[watermark] = run(
            maps, out, "interpretation=false", "cv.outer_kfolds=4", progress=told
        ).summary.as_json()["results"]
        assert sum("of class" in text and "only" in text for text in told.notices) == 10
        assert "... and 6 more of this kind." in told.notices
    for model in ("network", "baseline"):
        assert scores[3.0][model]["accuracy"] <= scores[0.0][model]["accuracy"] + 0.2
        assert scores[3.0][model]["accuracy"] <= 0.75
        # nothing can be shuffled within participants
        assert scores[3.0][model]["p"] is scores[3.0][model]["chance_f1"] is None


# --- other studies ------------------------------------------------------------------------------


def test_three_classes_and_a_positive_one(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for label, at in (("A", 4), ("B", 10), ("C", 15)):
        for person, k in product(range(6), range(2)):
            pixels = rng.integers(0, 60, (20, 20)).astype(np.uint8)
            pixels[at : at + 4] += 150
            path = tmp_path / f"maps/{label}/p{person}/{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    found = run(tmp_path / "maps", tmp_path / "out", "data.positive=A", "training.num_epochs=8",
                "training.class_weights=false", "training.optimizer=sgd", "training.accumulate=2",
                "training.schedule=constant").summary.as_json()  # fmt: skip
    assert (found["classes"], found["positive"]) == (["B", "C", "A"], "A")
    rows = read_csv(tmp_path / "out/per_image.csv")
    for row in rows:
        said = {label: float(row[f"probability_{label}"]) for label in "ABC"}
        assert sum(said.values()) == pytest.approx(1)
        assert row["predicted"] == max(said, key=said.get)
        assert float(row["probability"]) == said["A"]
    folds = [[(r["true"], r["predicted"]) for r in rows if r["fold"] == k] for k in "123"]
    macro = [np.mean([f1_of(pairs, label) for label in "ABC"]) for pairs in folds]
    assert found["results"]["network"]["f1"] == pytest.approx(np.mean(macro))
    assert found["results"]["network"]["accuracy"] > 0.8


def test_clickmaps_of_a_prepared_folder(tmp_path) -> None:
    rows = []
    rng = np.random.default_rng(1)
    for user, image in product(range(8), range(2)):
        spread = 3 if user % 2 else 9
        clicks = np.clip(rng.normal(16, spread, (12, 2)), 0, 31).astype(int)
        rows.append((f"c/{image}.png", f"u{user}", [(int(x), int(y)) for x, y in clicks]))
    folder = prepared(tmp_path, rows=rows)
    labels = tmp_path / "labels.csv"
    labels.write_text("user_id,label\n" + "".join(f"u{k},{'wn'[k % 2]}\n" for k in range(8)))
    with pytest.raises(ConfigError, match="is a folder of `prepare`; name the table"):
        run(folder, tmp_path / "out")
    found = run(folder, tmp_path / "out", f"data.labels={labels}", "cv.outer_kfolds=2",
                "cv.inner_kfolds=2", "training.num_epochs=2")  # fmt: skip
    assert (found.summary.classes, found.summary.n_maps) == (["n", "w"], 16)
    assert {row["participant"] for row in read_csv(tmp_path / "out/per_image.csv")} == {
        f"u{k}" for k in range(8)
    }
    assert len(list((tmp_path / "out/interpretation").rglob("*.npy"))) == 4 + 8
    drawn = {path.name for path in (tmp_path / "out/interpretation").glob("fold_*/*/*/*")}
    assert drawn == {"c_0.png", "c_0.npy", "c_1.png", "c_1.npy"}


def test_a_network_of_timm_in_colour(easy, tmp_path) -> None:
    found = run(easy, tmp_path / "out", "model.name=test_resnet", "data.size=32", "data.colour=yes",
                "training.num_epochs=1", "cv.outer_kfolds=2", "baseline=false")  # fmt: skip
    assert (found.summary.model, found.summary.size) == ("test_resnet", [32, 32])
    assert list(found.summary.as_json()["results"]) == ["network"]
    assert found.summary.difference is None
    assert np.load(tmp_path / "out/interpretation/mean_map_C.npy").shape == (32, 32, 3)
    assert not any("baseline" in name for name in read_csv(tmp_path / "out/folds.csv")[0])


def test_a_dry_run_reads_everything_and_writes_nothing(easy, tmp_path) -> None:
    found = run(easy, tmp_path / "out", dry_run=True)
    assert not found.written
    assert sorted(name for fold in found.summary.folds for name in fold.test_participants) == [
        f"p{k:02d}" for k in range(1, 8)
    ]
    assert not (tmp_path / "out").exists()


# --- what is wrong ------------------------------------------------------------------------------


@pytest.fixture
def maps(easy, tmp_path) -> Path:
    """A study that may be spoilt."""
    shutil.copytree(easy, tmp_path / "maps")
    return tmp_path / "maps"


def test_a_map_that_cannot_be_read_is_left_out_and_counted(maps, tmp_path) -> None:
    bad = next((maps / "C/p01").glob("*.png"))
    bad.write_bytes(bad.read_bytes()[:100])
    told = Silent()
    found = run(maps, tmp_path / "out", *PLAIN, "training.num_epochs=1", progress=told)
    assert len(found.failures) == 1
    (row,) = read_csv(tmp_path / "out/failures.csv")
    assert row["image"] == f"C/p01/{bad.stem}"
    assert found.summary.failures[0].image_id == row["image"]
    assert any(row["image"] in text for text in told.notices)
    assert found.summary.n_maps == 27
    again = run(maps, tmp_path / "out", *PLAIN, "training.num_epochs=1", when=WhenPresent.RESUME)
    assert len(again.failures) == 1


def test_everything_wrong_is_reported_at_once_and_nothing_is_written(maps, tmp_path) -> None:
    path = next((maps / "C/p01").glob("*.png"))
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    with pytest.raises(DataError) as error:
        run(maps, tmp_path / "out", "cv.outer_kfolds=9")
    first, second = str(error.value).splitlines()
    assert "2 sizes, 9 x 9 (1 images), 20 x 20 (27 images)" in first
    assert "7 participants cannot be divided into 9 test folds" in second
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cv.outer_kfolds=8"], "7 participants cannot be divided into 8 test folds"),
        (["cv.inner_kfolds=5"], "too few for 5 validation folds"),
        (["data.size=12"], "images of [12, 12] are too small"),
        (["data.positive=X"], "positive is 'X', and the classes are C, P"),
        (["data.classes=[C,X]"], "nothing in"),
        (["data.root=nowhere"], "nowhere"),
        (["model.name=resnet9000"], "resnet9000"),
        (["training.batch_size=7"], "one of the 8 maps of fold 1, inner fold 1 in a batch alone"),
        (["device=mps"], "no such device"),
    ],
)
def test_mistakes_are_sentences(easy, tmp_path, words, says) -> None:
    with pytest.raises(ClickmapError) as error:
        run(easy, tmp_path / "out", *words)
    assert says in str(error.value)
    assert not (tmp_path / "out/fold_1").exists()


def test_studies_that_cannot_be(maps, tmp_path) -> None:
    shutil.rmtree(maps / "P/p01")
    told = Silent()
    assert run(maps, tmp_path / "out", dry_run=True, progress=told).summary.folds
    assert any("Participant 'p01' has images of class 'C' only" in text for text in told.notices)
    shutil.rmtree(maps / "P")
    with pytest.raises(DataError, match="two classes or more; all are of class 'C'"):
        run(maps, tmp_path / "out")
    ReadingStudy(**EASY, one_class=True).write(tmp_path / "each")
    with pytest.raises(DataError, match="nobody has maps of two classes"):
        run(tmp_path / "each", tmp_path / "out", "shuffle_labels=true")
    assert math.isfinite(run(tmp_path / "each", tmp_path / "out", dry_run=True).seconds)
