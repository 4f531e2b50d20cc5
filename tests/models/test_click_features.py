"""Features of clicks by a plain reading of their definitions, and however a table is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.click_context import density_of_others
from clickmap_cli.models import click_gru as module
from clickmap_cli.models.click_gru import (
    FeatureSettings,
    click_features,
    compute_features,
    split_by_image,
)
from tests.helpers.studies import random_rows, trials_of

HEIGHT, WIDTH = 20, 40


def study(seed: int, images: int = 4, users: int = 4):
    """Some clicks lie outside, some trials are empty, users come more than once."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(14):
        n = int(rng.integers(0, 7))
        points = np.stack((rng.integers(-4, WIDTH + 4, n), rng.integers(-4, HEIGHT + 4, n)), axis=1)
        image, user = f"{rng.integers(images)}.png", f"u{rng.integers(users)}"
        rows.append((image, user, [(int(x), int(y)) for x, y in points]))
    return trials_of(rows, shape=(HEIGHT, WIDTH))


def inside(trials, trial: int) -> list[int]:
    """Numbers of a trial's clicks that lie in the image."""
    first, last = trials.offsets[trial], trials.offsets[trial + 1]
    return [
        int(k) for k in range(first, last) if 0 <= trials.x[k] < WIDTH and 0 <= trials.y[k] < HEIGHT
    ]


def plain_features(trials, trial: int, settings: FeatureSettings, times=None) -> np.ndarray:
    """One trial's features without the context's."""
    kept = inside(trials, trial)
    rows = []
    before = None
    for k, click in enumerate(kept[: settings.max_clicks]):
        x, y = (trials.x[click] + 0.5) / WIDTH, (trials.y[click] + 0.5) / HEIGHT
        row = [x, y, k / len(kept)]
        row += [0, 0] if before is None else [x - before[0], y - before[1]]
        if settings.intervals:
            step = math.nan if before is None or times is None else times[click] - before[2]
            known = math.isfinite(step) and step >= 0
            row += [math.log(max(step, 0.001)), 1] if known else [0, 0]
        rows.append(row)
        before = (x, y, math.nan if times is None else times[click])
    return np.array(rows).reshape(len(rows), 5 + 2 * settings.intervals)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 1, 3]), st.booleans())
def test_they_are_the_definition(seed, most, intervals) -> None:
    trials = study(seed)
    settings = FeatureSettings(context=False, intervals=intervals, max_clicks=most)
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(size=len(trials.x))) if len(trials.x) else np.empty(0)
    times[rng.random(len(times)) < 0.2] = np.nan
    times[rng.random(len(times)) < 0.1] -= 5.0
    found = click_features(trials, settings, times=times)
    wanted = [plain_features(trials, t, settings, times) for t in range(len(trials))]
    assert found.lengths.tolist() == [len(w) for w in wanted]
    for t, rows in enumerate(wanted):
        np.testing.assert_allclose(found.trial(t), rows, atol=2e-6)
    assert found.values.dtype == np.float32
    longer = sum(len(inside(trials, t)) > (most or 99) for t in range(len(trials)))
    assert found.cut == longer


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_context_is_the_density_of_others_within_the_image(seed) -> None:
    trials = study(seed)
    found = click_features(trials, FeatureSettings())
    within = (trials.x >= 0) & (trials.y >= 0) & (trials.x < WIDTH) & (trials.y < HEIGHT)
    density = density_of_others(trials.where_clicks(lambda _, clicks: within[clicks]))
    known = ~np.isnan(density)
    assert FeatureSettings().names[-2:] == ("log_density", "density_known")
    np.testing.assert_array_equal(found.values[:, -1], known)
    np.testing.assert_allclose(
        found.values[:, -2], np.where(known, np.log(np.where(known, density, 1)), 0), atol=1e-6
    )


def test_times_that_are_not_there_are_not_known() -> None:
    trials = trials_of(random_rows(0))
    found = click_features(trials, FeatureSettings(context=False, intervals=True))
    assert not found.values[:, 5:].any()
    # two at the same moment are a millisecond apart, as far as logarithms go
    same = click_features(
        trials, FeatureSettings(context=False, intervals=True), times=np.zeros(len(trials.x))
    )
    second = same.trial(0)[1]
    np.testing.assert_allclose(second[5:], [math.log(0.001), 1], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 10, 10**6]))
def test_some_trials_of_a_table_in_any_order_and_blocks(seed, block) -> None:
    trials = study(seed)
    rng = np.random.default_rng(seed)
    index = rng.permutation(len(trials))[: int(rng.integers(0, len(trials) + 1))]
    times = np.arange(len(trials.x)) * 0.5
    among = rng.random(len(trials.users)) < 0.7
    settings = FeatureSettings(intervals=True, max_clicks=4)
    whole = click_features(trials, settings, among, times)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_CLICKS", block)
        found = compute_features(trials, index, settings, among, times)
    assert len(found) == len(index)
    for at, trial in enumerate(index):
        np.testing.assert_array_equal(found.trial(at), whole.trial(trial))
    longer = [len(inside(trials, t)) > 4 for t in index]
    assert found.cut == sum(longer)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 8, 20, 10**6]), st.booleans())
def test_blocks_hold_every_trial_once_and_whole_images(seed, size, some) -> None:
    trials = study(seed)
    images = np.unique(trials.image)[::2] if some else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_CLICKS", size)
        blocks = list(split_by_image(trials, images))
    wanted = np.flatnonzero(np.isin(trials.image, images)) if some else np.arange(len(trials))
    assert sorted(np.concatenate(blocks).tolist()) == wanted.tolist()
    of = [set(trials.image[block].tolist()) for block in blocks]
    assert sum(map(len, of)) == len(set().union(*of))
    for block, within in zip(blocks, of, strict=True):
        assert trials.n_clicks[block].sum() <= size or len(within) == 1


def test_no_trials_give_no_features() -> None:
    trials = trials_of([("a.png", "u", [(-1, 5)]), ("b.png", "u", [])])
    found = click_features(trials, FeatureSettings())
    assert found.values.shape == (0, 7)
    assert found.lengths.tolist() == [0, 0]
    assert found.trial(1).shape == (0, 7)
    assert len(compute_features(trials, np.empty(0, np.intp), FeatureSettings())) == 0
