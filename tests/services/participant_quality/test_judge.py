"""`participant_filter` in `prepare` and `ceiling`: whom it drops, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clickmap_cli.clickmaps.trials import load_trials
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.metrics.classification import Platt
from clickmap_cli.models.click_gru import ClickGRU, FeatureSettings
from clickmap_cli.models.participant_quality import QualityModel, load_quality, save_quality
from clickmap_cli.reports.ceiling import draw_ceiling, draw_curve
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.results import CeilingFigures
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import load_manifest
from tests.helpers.studies import random_rows, trials_of, write_csv

FIGURES = CeilingFigures(draw_ceiling, draw_curve)


def rows():
    """Nine users on six images; some clicks lie outside, which the model sees before the filter."""
    found = random_rows(0, images=6, users=9)
    return [(image, user, [*clicks, (40, 3)]) for image, user, clicks in found]


def saved(path: Path, flagged: int, seed: int = 0) -> Path:
    """A model of random weights whose threshold flags so many of the users of `rows`."""
    torch.manual_seed(seed)
    features = FeatureSettings()
    network = ClickGRU(len(features.names), 4).eval()
    model = QualityModel(network, features, 4, 1, Platt(100.0, 0.0), 1.0)
    known = sorted(row.probability for row in model.participants(trials_of(rows()), Silent()))
    threshold = known[-flagged] if flagged else 1.0
    save_quality(path, dataclasses.replace(model, threshold=threshold))
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    return write_csv(tmp_path / "trials.csv", rows())


def config(data: Path, *words: str):
    base = [
        f"clickme_data={data}", f"assets={data.parent / 'assets'}", "image_shape=[32,32]",
        "min_subjects=2", "blur_size=5", "display_image_keys=null", "randomization_iters=2",
        "null_iterations=2", "n_jobs=1",
    ]  # fmt: skip
    return load_experiment(None, [*base, *words]).config


def run(data: Path, *words: str, progress=None, when=WhenPresent.STOP, dry_run=False):
    return prepare.run(config(data, *words), progress or Silent(), draw_example, when, dry_run)


def users_of(folder: Path) -> set[str]:
    trials = load_trials(folder / "trials.npz")
    return set(trials.users.tolist())


def test_exactly_those_who_are_flagged_are_dropped(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=3)
    trials = trials_of(rows())
    flagged = {
        row.user_id for row in load_quality(model).participants(trials, Silent()) if row.flagged
    }
    assert len(flagged) == 3
    progress = Silent()
    result = run(data, f"participant_filter={model}", progress=progress)
    assert users_of(result.folder) == {f"u{n}" for n in range(9)} - flagged
    assert result.summary.trials == 6 * 6
    assert "participant_filter removed 3 of 9 participants." in progress.notices
    with (result.folder / "funnel.csv").open() as file:
        found = {row["step"]: row for row in csv.DictReader(file)}
    steps = list(found)
    at = steps.index("participant_filter")
    assert steps[at - 1 : at + 2] == [
        "class_filter_file", "participant_filter", "clicks outside dropped",
    ]  # fmt: skip
    row = found["participant_filter"]
    assert (row["setting"], row["trials"], row["images"]) == (str(model), "36", "6")
    assert found["class_filter_file"]["trials"] == "54"


def test_a_model_that_flags_nobody_changes_nothing(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=0)
    plain = run(data)
    progress = Silent()
    filtered = run(data, f"participant_filter={model}", "experiment_name=two", progress=progress)
    for name in ("trials.npz", "maps.h5", "click_counts.json"):
        assert (plain.folder / name).read_bytes() == (filtered.folder / name).read_bytes()
    assert "participant_filter removed 0 of 9 participants." in progress.notices


def test_everybody_flagged_says_which_filter_took_the_last_image(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=9)
    with pytest.raises(DataError, match=r"came to participant_filter .*, and none passed"):
        run(data, f"participant_filter={model}")


def test_the_model_is_an_input_by_its_content(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=3)
    first = run(data, f"participant_filter={model}")
    manifest = load_manifest(first.folder)
    assert manifest is not None
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert manifest.inputs[str(model)]["sha256"] == digest
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(model.read_bytes())
    assert run(data, f"participant_filter={moved}", when=WhenPresent.RESUME).reused
    other = saved(tmp_path / "other.pt", flagged=3, seed=1)
    for words in ([f"participant_filter={other}"], []):
        with pytest.raises(ConfigError, match="other settings or inputs"):
            run(data, *words, when=WhenPresent.RESUME)


def test_a_dry_run_filters_too(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=2)
    result = run(data, f"participant_filter={model}", dry_run=True)
    assert (result.summary.trials, result.written) == (7 * 6, False)


def test_wrong_files_are_reported_before_anything_is_begun(data, tmp_path) -> None:
    wrong = tmp_path / "wrong.pt"
    torch.save({"state_dict": {}}, wrong)
    before = sorted(data.parent.rglob("*"))
    with pytest.raises(DataError, match=r"wrong\.pt: it is not a participant-quality model"):
        run(data, f"participant_filter={wrong}")
    with pytest.raises(DataError, match=r"participant_filter: no file at .*none\.pt"):
        run(data, "participant_filter=none.pt")
    with pytest.raises(DataError, match="not a participant-quality model"):
        ceiling.run(config(data, f"participant_filter={wrong}"), "split-half", Silent(), FIGURES)
    assert sorted(data.parent.rglob("*")) == before


def test_the_ceiling_is_that_of_those_who_stay(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=3)
    flagged = {
        row.user_id
        for row in load_quality(model).participants(trials_of(rows()), Silent())
        if row.flagged
    }
    kept = write_csv(tmp_path / "kept" / "trials.csv", [r for r in rows() if r[1] not in flagged])
    progress = Silent()
    found = ceiling.run(
        config(data, f"participant_filter={model}"), "hold-one-out", progress, FIGURES
    )
    wanted = ceiling.run(config(kept), "hold-one-out", Silent(), FIGURES)
    assert found[0].summary.summary.as_json() == wanted[0].summary.summary.as_json()
    assert {row.user_id for row in found[0].summary.participants} == {
        f"u{n}" for n in range(9)
    } - flagged
    assert any("removed 3 of 9" in text for text in progress.notices)
    manifest = load_manifest(found[0].folder)
    assert manifest is not None
    assert str(model) in manifest.inputs
    other = saved(tmp_path / "other.pt", flagged=3, seed=1)
    with pytest.raises(ConfigError, match="other settings or inputs"):
        ceiling.run(
            config(data, f"participant_filter={other}"), "hold-one-out", Silent(), FIGURES,
            WhenPresent.RESUME,
        )  # fmt: skip


def test_a_prepared_folder_has_passed_the_filter(data, tmp_path) -> None:
    model = saved(tmp_path / "quality.pt", flagged=3)
    folder = run(data, f"participant_filter={model}").folder
    progress = Silent()
    found = ceiling.run(
        config(folder, "experiment_name=again", f"assets={tmp_path}"), "split-half", progress,
        FIGURES,
    )  # fmt: skip
    assert found[0].summary.summary.as_json()["n_maps"] == 36
    without_effect = [text for text in progress.notices if "without effect" in text]
    assert len(without_effect) == 1
    assert "participant_filter" in without_effect[0]


_CODE = """
import json, sys
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
prepare.run(load_experiment(None, sys.argv[1:]).config, Silent(), lambda example: None)
print(json.dumps("torch" in sys.modules))
"""


@pytest.mark.parametrize("asked", [False, True])
def test_torch_is_loaded_only_where_it_is_needed(data, tmp_path, asked) -> None:
    words = [
        f"clickme_data={data}", f"assets={tmp_path}", "image_shape=[32,32]", "min_subjects=2",
        "display_image_keys=null", "n_jobs=1",
    ]  # fmt: skip
    if asked:
        words.append(f"participant_filter={saved(tmp_path / 'quality.pt', flagged=1)}")
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *words], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == asked


def test_context_and_clicks_outside_are_those_of_the_whole_table(data, tmp_path) -> None:
    """Flags depend on the trials that reach the filter, not on what comes after it."""
    model = saved(tmp_path / "quality.pt", flagged=4)
    strict = run(data, f"participant_filter={model}", "min_clicks=20", "min_subjects=1")
    loose = run(
        data, f"participant_filter={model}", "min_clicks=1", "min_subjects=1",
        "experiment_name=loose",
    )  # fmt: skip
    assert users_of(strict.folder) <= users_of(loose.folder)
    assert len(users_of(loose.folder)) == 5
    assert np.array_equal(
        [row.trials for row in strict.summary.funnel if row.step == "participant_filter"],
        [row.trials for row in loose.summary.funnel if row.step == "participant_filter"],
    )
