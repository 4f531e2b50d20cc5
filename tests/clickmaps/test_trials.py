from __future__ import annotations

import statistics

import numpy as np

from clickmap_cli.clickmaps.trials import click_medians, clicks_per_image
from tests.helpers.studies import random_rows, trials_of


def test_medians_are_the_plain_medians() -> None:
    rows = random_rows(5, images=5, users=7)
    trials = trials_of(rows).compact()
    found = click_medians(trials, 90)
    for key in {row[0] for row in rows}:
        counts = [len(c) for k, _, c in rows if k == key]
        assert found["image"][key] == statistics.median(counts)
        assert clicks_per_image(trials)[trials.images.tolist().index(key)] == sum(counts)
    for category in ("cat0", "cat1"):
        counts = [len(c) for k, _, c in rows if k.startswith(category)]
        assert found["category"][category] == statistics.median(counts)
    assert "Clicks in one trial" in found["counts"]
    assert "not the number of its trials" in found["counts"]
    everything = [len(c) for _, _, c in rows]
    assert found["all"] == {
        "median": statistics.median(everything),
        "mean": statistics.fmean(everything),
        "threshold": float(np.percentile(everything, 90)),
    }
