"""Images seen by some of their people: points, maps and hashes are those people's alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.maps import ClickStack, image_clicks, trial_maps
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.fixations import scaled_to
from clickmap_cli.datasets.people import ClickPeople, FixationPeople, OnlySome
from tests.datasets.scenes import gaussian_sum
from tests.helpers.studies import random_rows, trials_of
from tests.training.tiny import SIZE as SPOT_SIZE
from tests.training.tiny import Spot

SIZE = (17, 23)
NAMES = ["ann", "bob", "nobody", "eve"]


def gaze(seed=0, n=40):
    rng = np.random.default_rng(seed)
    subject = rng.choice([0, 1, 3], n).astype(np.int32)
    return rng.integers(0, SIZE[1], n), rng.integers(0, SIZE[0], n), subject


def points_of(columns, rows, subject) -> Points:
    return Points(columns.astype(float), rows.astype(float), subject, tuple(NAMES))


def test_fixations_of_everybody_but_one() -> None:
    columns, rows, subject = gaze()
    people = FixationPeople(points_of(columns, rows, subject), SIZE, 2.0)
    assert people.names == ["ann", "bob", "eve"]  # people who did not look are absent
    for person, code in enumerate([0, 1, 3]):
        mine = subject == code
        view = people.target(person)
        np.testing.assert_allclose(
            view.pixels.reshape(SIZE), gaussian_sum(columns[mine], rows[mine], SIZE, 2.0), rtol=1e-6
        )
        places, counts = view.clicked
        wanted = np.zeros(SIZE)
        np.add.at(wanted, (rows[mine], columns[mine]), 1)
        np.testing.assert_array_equal(places, np.flatnonzero(wanted))
        np.testing.assert_array_equal(counts, wanted.ravel()[places])
        np.testing.assert_allclose(
            people.others(person), gaussian_sum(columns[~mine], rows[~mine], SIZE, 2.0), rtol=1e-12
        )


@pytest.mark.parametrize("code", [0, 1, 3])
def test_nobody_predicts_themselves(code) -> None:
    columns, rows, subject = gaze()
    moved = columns.copy()
    moved[subject == code] = 0
    person = [0, 1, 3].index(code)
    before = FixationPeople(points_of(columns, rows, subject), SIZE, 2.0)
    after = FixationPeople(points_of(moved, rows, subject), SIZE, 2.0)
    np.testing.assert_array_equal(before.others(person), after.others(person))
    other = (person + 1) % 3
    assert not np.array_equal(before.others(other), after.others(other))


@pytest.mark.parametrize("size", [SIZE, (34, 46), (8, 51), (1, 1)])
def test_everyone_scaled_to_another_image(size) -> None:
    columns, rows, subject = gaze(1)
    people = FixationPeople(points_of(columns, rows, subject), SIZE, 2.0)
    x = [int(c * (size[1] / SIZE[1])) for c in columns.tolist()]
    y = [int(r * (size[0] / SIZE[0])) for r in rows.tolist()]
    np.testing.assert_allclose(people.everyone(size), gaussian_sum(x, y, size, 2.0), rtol=1e-12)


@settings(deadline=None)
@given(
    st.integers(1, 3000), st.integers(1, 3000),
    st.floats(0, 1, exclude_max=True, allow_subnormal=False),
)  # fmt: skip
def test_scaled_places_stay_inside_and_in_order(side, other, share) -> None:
    at = np.array([0, share * side, np.nextafter(side, 0)])
    found = scaled_to(at, side, other)
    assert found[0] == 0
    assert 0 <= found.min() <= found.max() <= other - 1
    assert np.all(np.diff(found) >= 0)
    if side == other:
        np.testing.assert_array_equal(found, np.minimum(np.floor(at), side - 1))


@pytest.fixture
def clicks():
    """Four trials of one image; the first person made two of them."""
    rows = random_rows(3, images=1, users=3)
    rows.append((rows[0][0], rows[0][1], [(1, 1), (2, 30), (31, 31)]))
    trials = trials_of(rows)
    config = load_experiment(None, ["image_shape=[32,32]", "blur_size=5", "center_crop=[20,24]"])
    how = MapSettings.from_config(config.config)
    mine = image_clicks(trials, trials.image_slices(), 0)
    stack = ClickStack(mine, how, trials.user)
    return ClickPeople(stack, trials.users[trials.user].tolist()), trial_maps(mine, how)


def test_clickmaps_of_everybody_but_one(clicks) -> None:
    people, maps = clicks
    assert list(people.names) == ["u0", "u1", "u2", "u0"]
    maps = maps.astype(np.float64)
    for person, name in enumerate(people.names):
        np.testing.assert_allclose(
            people.target(person).pixels.reshape(20, 24), maps[person], atol=1e-7
        )
        # who looked twice predicts neither of their trials
        others = [m for m, other in zip(maps, people.names, strict=True) if other != name]
        assert len(others) == (2 if name == "u0" else 3)
        np.testing.assert_allclose(people.others(person), np.mean(others, axis=0), atol=1e-7)
    np.testing.assert_allclose(people.everyone((20, 24)), maps.mean(axis=0), atol=1e-7)


def test_clickmaps_of_another_size_are_resized(clicks) -> None:
    own = clicks[0].everyone((20, 24))
    planes = torch.from_numpy(np.asarray(own))[None, None].double()
    wanted = torch.nn.functional.interpolate(
        planes, size=(24, 20), mode="bilinear", antialias=True
    )[0, 0].numpy()  # fmt: skip
    np.testing.assert_allclose(clicks[0].everyone((24, 20)), wanted, atol=1e-6)


def test_only_the_chosen_count() -> None:
    spot = Spot("s", 1)
    some = OnlySome(spot, ["cy", "ann", "nobody"])
    people, everybody = some.people(), spot.people()
    assert list(people.names) == ["ann", "cy"]
    wanted = sum(everybody.target(at).pixels.reshape(SPOT_SIZE) for at in (0, 2)) / 2
    np.testing.assert_allclose(some.truth(), wanted, rtol=1e-6)
    np.testing.assert_allclose(people.everyone(SPOT_SIZE), wanted, rtol=1e-6)
    np.testing.assert_allclose(people.others(0), everybody.target(2).pixels.reshape(SPOT_SIZE))
    chosen = np.isin(spot.points.subject, [0, 2])
    counts = np.zeros(SPOT_SIZE)
    np.add.at(counts, (spot.points.rows[chosen], spot.points.columns[chosen]), 1)
    assert np.array_equal(some.points.counts(SPOT_SIZE), counts)
    assert some.truth_digest() != OnlySome(spot, ["ann"]).truth_digest()
    assert some.image_digest() == spot.image_digest()


def test_without_any_of_them_nothing_is_known() -> None:
    none = OnlySome(Spot("s", 1), ["dora"])
    assert none.people() is None
    assert none.truth() is None
    assert none.points is None
