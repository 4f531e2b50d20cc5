"""Means of scores over items and processes, against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickmap_cli.training.means import Means

SCORE = st.one_of(st.just(math.nan), st.floats(-9, 9))


@given(st.lists(st.lists(st.tuples(SCORE, SCORE), max_size=6), min_size=1, max_size=3))
def test_what_is_not_defined_counts_nowhere(processes) -> None:
    every = []
    for items in processes:
        means = Means(("NSS", "CC"))
        for nss, cc in items:
            means.add({"CC": cc, "NSS": nss})
        every.append(means.numbers())
    found = means.of(np.sum(every, axis=0).tolist())
    for at, name in enumerate(("NSS", "CC")):
        known = [item[at] for items in processes for item in items if not math.isnan(item[at])]
        wanted = np.mean(known) if known else math.nan
        assert found[name] == pytest.approx(wanted, abs=1e-12, nan_ok=True)
