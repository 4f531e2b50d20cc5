"""The GRU against plain float64 loops; what is beside a trial in a batch never counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.models import click_gru
from clickmap_cli.models.click_gru import (
    ClickGRU,
    FeatureSettings,
    click_features,
    compute_logits,
    compute_trial_logits,
    one_thread,
    pad_trials,
)
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import random_rows, trials_of


def network(features: int = 7, seed: int = 0, **settings) -> ClickGRU:
    torch.manual_seed(seed)
    made = ClickGRU(features, **{"hidden": 5, **settings})
    with torch.no_grad():
        made.centre.copy_(torch.linspace(-0.5, 0.5, features))
        made.spread.copy_(torch.linspace(0.5, 2.0, features))
    return made.eval()


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def plain(made: ClickGRU, clicks: np.ndarray) -> float:
    """One trial, step by step (Cho et al. 2014, with the reset gate as in cuDNN)."""
    w = {name: value.double().numpy() for name, value in made.state_dict().items()}
    hidden = made.gru.hidden_size
    inputs = (clicks - w["centre"]) / w["spread"]
    inputs = inputs @ w["bring_in.weight"].T + w["bring_in.bias"]
    for layer in range(made.gru.num_layers):
        outputs, ends = [], []
        for way, sign in (("", 1), ("_reverse", -1)):
            state, states = np.zeros(hidden), []
            for row in inputs[::sign]:
                from_input = (
                    w[f"gru.weight_ih_l{layer}{way}"] @ row + w[f"gru.bias_ih_l{layer}{way}"]
                )
                from_state = (
                    w[f"gru.weight_hh_l{layer}{way}"] @ state + w[f"gru.bias_hh_l{layer}{way}"]
                )
                (ri, zi, ni), (rh, zh, nh) = (
                    v.reshape(3, hidden) for v in (from_input, from_state)
                )
                update = sigmoid(zi + zh)
                new = np.tanh(ni + sigmoid(ri + rh) * nh)
                state = (1 - update) * new + update * state
                states.append(state)
            outputs.append(np.array(states)[::sign])
            ends.append(state)
        inputs = np.concatenate(outputs, axis=1)
    pooled = np.concatenate((inputs.mean(axis=0), *ends))
    pooled = np.maximum(w["readout.1.weight"] @ pooled + w["readout.1.bias"], 0)
    return float((w["readout.3.weight"] @ pooled + w["readout.3.bias"])[0])


@pytest.mark.parametrize("layers", [1, 2])
def test_logits_equal_plain_loops_whatever_stands_beside(layers) -> None:
    made = network(layers=layers)
    rng = np.random.default_rng(0)
    trials = [rng.normal(size=(n, 7)).astype(np.float32) for n in (3, 1, 8, 8, 2)]
    clicks, lengths = pad_trials(trials)
    assert clicks.shape == (5, 8, 7)
    for row, n in zip(clicks, lengths.tolist(), strict=True):
        assert not row[n:].any()
        row[n:] = torch.nan  # not looked at
    with torch.inference_mode():
        found = made(clicks, lengths).double().numpy()
    np.testing.assert_allclose(found, [plain(made, t) for t in trials], atol=1e-5)


def test_features_are_centred_and_scaled_by_what_is_learnt_from() -> None:
    made = ClickGRU(3)
    values = np.array([[0, 5, 1], [2, 5, 3], [4, 5, 5]], dtype=np.float32)
    made.standardise(values)
    np.testing.assert_allclose(made.centre.numpy(), [2, 5, 3])
    spread = np.sqrt(8 / 3)
    # a feature that never changes is not blown up
    np.testing.assert_allclose(made.spread.numpy(), [spread, 1, spread], rtol=1e-6)
    assert {"centre", "spread"} <= set(made.state_dict())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 40, 10**6]), st.sampled_from([1, 60, 10**6]))
def test_a_table_however_it_is_cut_up_and_ordered(seed, block, batch) -> None:
    rows = [
        (image, user, clicks[: np.random.default_rng(seed + at).integers(0, len(clicks))])
        for at, (image, user, clicks) in enumerate(random_rows(seed, clicks=(2, 12)))
    ]
    trials = trials_of(rows)
    made = network()
    settings = FeatureSettings()
    features = click_features(trials, settings)
    wanted = [
        plain(made, features.trial(t)) if features.lengths[t] else np.nan
        for t in range(len(trials))
    ]
    order = np.random.default_rng(seed).permutation(len(trials))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click_gru, "_BLOCK_CLICKS", block)
        patch.setattr(click_gru, "_BATCH_CLICKS", batch)
        found = compute_trial_logits(made, trials.select(order), settings, Silent())
    np.testing.assert_allclose(found, np.array(wanted)[order], atol=1e-5)


def test_times_reach_the_network_in_the_order_of_clicks() -> None:
    trials = trials_of(random_rows(0))
    times = np.random.default_rng(0).exponential(size=len(trials.x)).cumsum()
    settings = FeatureSettings(intervals=True)
    made = network(len(settings.names))
    features = click_features(trials, settings, times=times)
    wanted = [plain(made, features.trial(t)) for t in range(len(trials))]
    found = compute_trial_logits(made, trials, settings, Silent(), times)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    without = compute_trial_logits(made, trials, settings, Silent())
    assert np.abs(without - found).max() > 1e-4


def test_trials_that_are_cut_are_counted_and_the_first_clicks_judge() -> None:
    rows = [("a.png", "u", [(k, k) for k in range(9)]), ("a.png", "v", [(k, 1) for k in range(4)])]
    trials = trials_of(rows)
    settings = FeatureSettings(context=False, max_clicks=4)
    made, progress = network(5), Silent()
    found = compute_trial_logits(made, trials, settings, progress)
    assert progress.notices == [
        "1 of 2 trials have more than 4 clicks; their participants are judged by the first ones."
    ]
    uncut = click_features(trials, FeatureSettings(context=False, max_clicks=None))
    np.testing.assert_allclose(found[0], plain(made, uncut.trial(0)[:4]), atol=1e-5)
    quiet = Silent()
    compute_trial_logits(made, trials, FeatureSettings(context=False), quiet)
    assert quiet.notices == []


def test_values_that_are_not_numbers_are_an_error() -> None:
    trials = trials_of(random_rows(0))
    made = network()
    with torch.no_grad():
        made.spread[0] = 0
    with pytest.raises(DataError, match="NaN or infinite values"):
        compute_logits(made, click_features(trials, FeatureSettings()))


def test_an_empty_table_and_the_threads_of_others() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    none = trials_of(random_rows(0)).select(np.empty(0, dtype=np.intp))
    assert len(compute_trial_logits(network(), none, FeatureSettings(), Silent())) == 0
