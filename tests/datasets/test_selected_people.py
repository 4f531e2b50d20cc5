"""Images seen by some of their people: points, maps and hashes are those people's alone."""

from __future__ import annotations

import numpy as np

from clickmap_cli.datasets.selected_people import OnlySome
from tests.training.tiny import SIZE, Spot


def test_only_the_chosen_count() -> None:
    spot = Spot("s", 1)
    some = OnlySome(spot, ["cy", "ann", "nobody"])
    people, everybody = some.people(), spot.people()
    assert list(people.names) == ["ann", "cy"]
    wanted = sum(everybody.target(at).pixels.reshape(SIZE) for at in (0, 2)) / 2
    np.testing.assert_allclose(some.truth(), wanted, rtol=1e-6)
    np.testing.assert_allclose(people.everyone(SIZE), wanted, rtol=1e-6)
    np.testing.assert_allclose(people.others(0), everybody.target(2).pixels.reshape(SIZE))
    chosen = np.isin(spot.points.subject, [0, 2])
    counts = np.zeros(SIZE)
    np.add.at(counts, (spot.points.rows[chosen], spot.points.columns[chosen]), 1)
    assert np.array_equal(some.points.counts(SIZE), counts)
    assert some.truth_digest() != OnlySome(spot, ["ann"]).truth_digest()
    assert some.image_digest() == spot.image_digest()


def test_without_any_of_them_nothing_is_known() -> None:
    none = OnlySome(Spot("s", 1), ["dora"])
    assert none.people() is None
    assert none.truth() is None
    assert none.points is None
