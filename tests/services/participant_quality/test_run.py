"""The participant-quality model from lists of people to a checkpoint that filters trials."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.clickmaps.simulation.people import Simulation, format_clicks
from clickmap_cli.config.loading import EXPERIMENT, PARTICIPANT_QUALITY, load_config
from clickmap_cli.models.participant_quality import load_quality
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.participant_quality import run as quality_training
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.services.training_views import TrainingViews
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from tests.helpers.studies import read_csv

STUDY = Simulation(seed=3, n_images=24, n_users=30, users_per_image=12, side=64)
VIEWS = TrainingViews(lambda title, rows: None, lambda text: None)


def write_study(folder: Path, study: Simulation) -> Path:
    """Raw trials, the experiment's YAML, and lists of known people."""
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image_path", "clicks", "user_id"))
        for image in study.images():
            for user, clicks in study.trials_of(image):
                writer.writerow((image.key, format_clicks(clicks), user))
    side, blur = study.side, study.side // 12
    (folder / "experiment.yaml").write_text(
        f"clickme_data: {folder / 'trials.csv'}\nimage_shape: [{side}, {side}]\n"
        f"blur_size: {blur}\nkernel_type: circle\n"
    )
    for name, careful in (("good", True), ("bad", False)):
        people = zip(study.user_names(), study.roles(), strict=True)
        names = [user for user, role in people if (role == "careful") == careful]
        (folder / f"{name}.txt").write_text("\n".join(names) + "\n")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), STUDY)


def words_for(study: Path, out: Path, *more: str) -> list[str]:
    data = (
        f"data={{experiment: {study / 'experiment.yaml'}, good_users: {study / 'good.txt'}, "
        f"bad_users: {study / 'bad.txt'}}}"
    )
    return [
        data, f"output_dir={out}", "folds=3", "training.num_epochs=6", "model.hidden=12", *more,
    ]  # fmt: skip


def run(study: Path, out: Path, *more: str, views=VIEWS, **kwargs) -> Outcome:
    config = load_config(PARTICIPANT_QUALITY, None, words_for(study, out, *more)).config
    return quality_training.run(config, Silent(), views, **kwargs)


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "model"
    run(study, out)
    return out


def test_the_summary_is_what_the_table_says(study, trained) -> None:
    rows = read_csv(trained / "participants.csv")
    roles = dict(zip(STUDY.user_names(), STUDY.roles(), strict=True))
    assert {row["user_id"] for row in rows} == set(roles)
    pairs = []
    for row in rows:
        assert row["known"] == ("good" if roles[row["user_id"]] == "careful" else "bad")
        pairs.append((float(row["held_out_probability"]), row["known"] == "bad"))
    # the area under the ROC curve, from its definition
    wins = [(b > g) + (b == g) / 2 for b, bad in pairs if bad for g, other in pairs if not other]
    summary = run(study, trained, when=WhenPresent.RESUME).summary
    assert summary.auc == pytest.approx(sum(wins) / len(wins))
    assert summary.brier == pytest.approx(sum((p - bad) ** 2 for p, bad in pairs) / len(pairs))
    right = sum((p >= 0.5) == bad for p, bad in pairs)
    assert summary.accuracy == pytest.approx(right / len(pairs))
    manifest = load_manifest(trained)
    assert manifest is not None
    assert not damaged_outputs(trained, manifest.outputs)
    folds = {row["fold"] for row in rows}
    assert folds == {"1", "2", "3"}


def test_held_out_people_of_the_simulation_are_told_apart(tmp_path) -> None:
    """The project's fixed simulation: 40 people, of whom 8 are careless or cheating."""
    folder = write_study(tmp_path, Simulation(seed=1))
    words = ("folds=4", "training.num_epochs=8", "model.hidden=32")
    assert run(folder, tmp_path / "out", *words).summary.auc >= 0.9


def test_the_checkpoint_filters_as_its_table_says(study, trained, tmp_path) -> None:
    flagged = {row["user_id"] for row in read_csv(trained / "participants.csv")
               if row["flagged"] == "true"}  # fmt: skip
    assert flagged
    loaded = load_quality(trained / "participant_quality.pt")
    trials = STUDY.trials()
    says = loaded.flags(trials, Silent())
    assert {str(user) for user in trials.users[says]} == flagged
    words = [f"assets={tmp_path}", "experiment_name=e", "min_subjects=2",
             "min_clicks=1", "display_image_keys=null",
             f"participant_filter={trained / 'participant_quality.pt'}"]  # fmt: skip
    config = load_config(EXPERIMENT, study / "experiment.yaml", words).config
    prepare.run(config, Silent(), lambda example: None)
    left = set(np.load(tmp_path / "e/trials.npz")["users"].tolist())
    assert left == set(STUDY.user_names()) - flagged


def test_equal_runs_give_equal_bytes_and_a_killed_one_the_same(study, trained, tmp_path) -> None:
    left = [25]

    def live(text: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    out = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        run(study, out, views=TrainingViews(lambda title, rows: None, live))
    with pytest.raises(ConfigError, match="--resume"):
        run(study, out)
    run(study, out, when=WhenPresent.RESUME)
    for name in ("participant_quality.pt", "participants.csv", "calibration.csv", "summary.json",
                 "fold_1/history.csv", "final/best.pth"):  # fmt: skip
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name


def test_people_of_whom_nothing_is_known_are_judged_too(study, tmp_path) -> None:
    good = (study / "good.txt").read_text().split()
    out = tmp_path / "out"
    found = run(study, out, f"data.good_users=[{', '.join(good[:12])}]").summary
    assert found.n_unlisted == len(good) - 12
    rows = {row["user_id"]: row for row in read_csv(out / "participants.csv")}
    for name in good[12:]:
        assert rows[name]["known"] == rows[name]["held_out_probability"] == ""
        assert math.isfinite(float(rows[name]["probability"]))


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("data.good_users=[nobody]",), ConfigError, "not in the data"),
        (("data.bad_users=[]",), ConfigError, "empty list"),
        (("data.good_users=missing.txt",), DataError, "missing.txt"),
        (("folds=9",), ConfigError, "use fewer folds"),
        (("data.experiment=missing.yaml",), ConfigError, "missing.yaml"),
    ],
)
def test_mistakes_are_sentences(study, tmp_path, words, error, says) -> None:
    with pytest.raises(error, match=says):
        run(study, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_somebody_in_both_lists_and_lists_that_are_not_named(study, tmp_path) -> None:
    someone = (study / "good.txt").read_text().split()[0]
    with pytest.raises(ConfigError, match="both list"):
        run(study, tmp_path / "out", f"data.bad_users=[{someone}]")
    with pytest.raises(ConfigError, match="data has no good_users"):
        load_config(PARTICIPANT_QUALITY, None, ["data.experiment=a.yaml"])


def test_a_dry_run_writes_nothing(study, tmp_path) -> None:
    assert not run(study, tmp_path / "out", dry_run=True).written
    assert not (tmp_path / "out").exists()
