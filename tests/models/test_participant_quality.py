"""The participant-quality file: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from clickmap_cli.metrics.classification import Platt
from clickmap_cli.models.click_gru import ClickGRU, FeatureSettings, compute_trial_logits
from clickmap_cli.models.participant_quality import (
    QualityModel,
    load_quality,
    participant_scores,
    save_quality,
)
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import random_rows, trials_of


def model(seed: int = 0, **values) -> QualityModel:
    torch.manual_seed(seed)
    features = FeatureSettings(max_clicks=20)
    base = QualityModel(
        ClickGRU(len(features.names), 4, 2).eval(), features, 4, 2, Platt(3.0, -0.5), 0.4,
        {"good": 32, "bad": 8, "experiment": "demo"},
    )  # fmt: skip
    return dataclasses.replace(base, **values)


def test_a_saved_model_is_the_same_model(tmp_path) -> None:
    path = tmp_path / "participant_quality.pt"
    save_quality(path, model())
    found = load_quality(path)
    assert (found.features, found.calibration, found.threshold) == (
        model().features, model().calibration, 0.4,
    )  # fmt: skip
    assert found.about == model().about
    assert not found.network.training
    trials = trials_of(random_rows(0))
    assert found.participants(trials, Silent()) == model().participants(trials, Silent())


def test_equal_models_give_equal_bytes_under_any_name(tmp_path) -> None:
    save_quality(tmp_path / "a.pt", model())
    save_quality(tmp_path / "b.pt", model())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_participants_are_judged_by_the_mean_of_their_trials() -> None:
    rows = random_rows(1, images=3, users=5)
    rows = [(image, f"{user[::-1]}", clicks) for image, user, clicks in rows]
    rows += [("cat0/0.png", "outside", [(-5, 1)] * 3), ("cat0/0.png", "0u", [(99, 99)])]
    trials = trials_of(rows)
    made = model()
    logits = compute_trial_logits(made.network, trials, made.features, Silent())
    found = made.participants(trials, Silent())
    assert [row.user_id for row in found] == sorted({user for _, user, _ in rows})
    for row in found:
        own = [
            v for v, (_, user, _) in zip(logits, rows, strict=True)
            if user == row.user_id and not math.isnan(v)
        ]  # fmt: skip
        assert row.n_trials == len(own)
        if not own:
            assert (row.user_id, row.flagged) == ("outside", False)
            assert math.isnan(row.probability)
            continue
        wanted = 1 / (1 + math.exp(-(3.0 * sum(own) / len(own) - 0.5)))
        assert row.probability == pytest.approx(wanted, rel=1e-12)
        assert row.flagged == (row.probability >= 0.4)


def test_flags_are_in_the_order_of_the_vocabulary_and_reach_the_threshold() -> None:
    trials = trials_of(random_rows(2, users=6))
    rows = {row.user_id: row.probability for row in model().participants(trials, Silent())}
    middle = sorted(rows.values())[3]
    made = model(threshold=middle)
    part = trials.select(np.flatnonzero(trials.user != 2))
    assert "u2" not in {row.user_id for row in made.participants(part, Silent())}
    flags = made.flags(trials, Silent())
    assert flags.tolist() == [rows[name] >= middle for name in trials.users.tolist()]
    assert flags.sum() == 3
    assert not made.flags(part, Silent())[2]


def test_scores_are_means_of_what_is_known() -> None:
    trials = trials_of([("a.png", user, [(1, 1)]) for user in "xyxz"])
    means, counts = participant_scores(trials, np.array([1.0, np.nan, 4.0, -2.0]))
    np.testing.assert_array_equal(means, [2.5, np.nan, -2.0])
    assert counts.tolist() == [2, 0, 1]


def state(tmp_path) -> dict:
    path = tmp_path / "made.pt"
    save_quality(path, model())
    return torch.load(path, weights_only=True)


DAMAGES = {
    "other format": (
        {"format": "clickmap participant quality 9"},
        "not a participant-quality model",
    ),
    "no format": ({"format": None}, "not a participant-quality model"),
    "settings": ({"features": {"context": True, "colour": 3}}, "settings are damaged"),
    "no mapping": ({"features": [1]}, "settings are damaged"),
    "cap": ({"features": {"max_clicks": 0}}, "settings are damaged"),
    "words": ({"features": {"context": "yes"}}, "settings are damaged"),
    "calibration": ({"calibration": {"slope": math.nan, "offset": 0.0}}, "settings are damaged"),
    "text": ({"calibration": {"slope": "1", "offset": 0.0}}, "settings are damaged"),
    "threshold": ({"threshold": math.nan}, "settings are damaged"),
    "high": ({"threshold": 1.5}, "settings are damaged"),
    "tensor": ({"network": {"hidden": torch.ones(3), "layers": 1}}, "settings are damaged"),
    "huge": ({"network": {"hidden": 10**9, "layers": 1}}, "its network has 1000000000 units"),
    "size": ({"network": {"hidden": 5, "layers": 2}}, "weights do not fit"),
    "columns": ({"columns": ["x", "y"]}, "other features"),
    "no weights": ({"state_dict": {}}, "weights do not fit"),
    "weights": ({"state_dict": {"centre": "text"}}, "settings are damaged"),
    "complex": ({"state_dict": {"centre": torch.zeros(7) * 1j}}, "settings are damaged"),
    "names": ({"state_dict": {3: torch.zeros(7)}}, "settings are damaged"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_settings_are_a_sentence(tmp_path, kind) -> None:
    changed, says = DAMAGES[kind]
    path = tmp_path / "bad.pt"
    torch.save({**state(tmp_path), **changed}, path)
    with pytest.raises(DataError) as caught:
        load_quality(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["format", "features", "network", "state_dict", "calibration"])
def test_missing_settings_are_a_sentence(tmp_path, name) -> None:
    left = {key: value for key, value in state(tmp_path).items() if key != name}
    torch.save(left, tmp_path / "bad.pt")
    with pytest.raises(DataError, match="train-classifier"):
        load_quality(tmp_path / "bad.pt")


def test_weights_that_are_not_numbers(tmp_path) -> None:
    whole = state(tmp_path)
    whole["state_dict"]["readout.3.bias"][0] = math.inf
    torch.save(whole, tmp_path / "bad.pt")
    with pytest.raises(DataError, match="a weight is NaN or infinite"):
        load_quality(tmp_path / "bad.pt")


def test_files_that_are_something_else(tmp_path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "weights.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    save_quality(tmp_path / "cut.pt", model())
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:500])
    for name in ("evil.pt", "weights.pt", "list.pt", "text.pt", "cut.pt", "missing.pt"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            load_quality(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["widest", "one number each", "sparse"])
def test_weights_are_all_in_the_file(tmp_path, kind) -> None:
    path = tmp_path / "a.pt"
    save_quality(path, model())
    state = torch.load(path, weights_only=True)
    weights = state["state_dict"]
    if kind == "widest":
        state["network"] = {"hidden": 1024, "layers": 8}
    elif kind == "one number each":
        weights = {name: torch.zeros(1).expand(w.shape) for name, w in weights.items()}
    else:
        weights = {**weights, "centre": weights["centre"].to_sparse()}
    torch.save(state | {"state_dict": weights}, path)
    with pytest.raises(DataError, match=r"do not fit its network|settings are damaged") as caught:
        load_quality(path)
    assert "\n" not in str(caught.value)
