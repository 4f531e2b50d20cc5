from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from clickmap_cli.metrics.ranks import average_ranks
from clickmap_cli.metrics.views import CountView, RankTable

floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, -1.0]),
    st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=True),
)


@settings(max_examples=300, deadline=None)
@given(arrays(np.float32, st.integers(0, 60), elements=floats))
@example(np.zeros(5, np.float32))
@example(np.array([-0.0, 0.0, 1e-45], np.float32))
def test_average_ranks_are_scipys(values) -> None:
    np.testing.assert_array_equal(average_ranks(values), rankdata(values))


@settings(max_examples=200, deadline=None)
@given(st.lists(arrays(np.int32, 12, elements=st.integers(0, 9)), min_size=1, max_size=4))
def test_views_that_share_a_table_of_ranks_do_not_disturb_each_other(many) -> None:
    table = RankTable(9)
    views = [CountView(values.reshape(3, 4), 2.5, table) for values in many]
    for view, values in [*zip(views, many, strict=True)] * 2:
        wanted = rankdata(values)
        np.testing.assert_array_equal(view.ranks, wanted)
        np.testing.assert_array_equal(view.ranks_at(np.array([3, 0])), wanted[[3, 0]])
        spread = np.sqrt(((wanted - wanted.mean()) ** 2).sum())
        assert view.rank_spread == pytest.approx(spread, rel=1e-12)


def test_arrays_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        average_ranks(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="shape"):
        average_ranks(np.zeros((2, 2)))
