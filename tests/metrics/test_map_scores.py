"""Every score of one map against another, by a plain reading of its definition."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from clickmap_cli.metrics.map_scores import MAP_SCORES, earth_movers_distance, score_maps
from clickmap_cli.metrics.views import IOU_LEVELS, IOU_TARGET_LEVELS, MapView

# --- the definitions, written out --------------------------------------------------------------


def spearman(p, t, _):
    return spearmanr(p.ravel(), t.ravel())[0]


def pearson(p, t, _):
    return pearsonr(p.ravel().astype(float), t.ravel().astype(float))[0]


def auc(p, _, clicks):
    positive = np.repeat(p.ravel(), clicks.ravel())
    negative = p.ravel()
    below = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    return below / (len(positive) * len(negative))


def scaled(m):
    m = m.astype(float)
    return (m - m.min()) / (m.max() - m.min())


def iou_auc(p, t, _):
    p, t = scaled(p), scaled(t)
    levels = np.linspace(0, 1, 21)
    volumes = []
    for cut in np.linspace(0.25, 0.75, 9):
        iou = [((p >= s) & (t >= cut)).sum() / ((p >= s) | (t >= cut)).sum() for s in levels]
        volumes.append(sum((a + b) / 2 * 0.05 for a, b in zip(iou[1:], iou[:-1], strict=True)))
    return float(np.mean(volumes))


def to_one(m):
    return m.astype(float).ravel() / m.astype(float).sum()


def crossentropy(p, t, _):
    return -sum(b * math.log(max(a, 1e-10)) for a, b in zip(to_one(p), to_one(t), strict=True))


def kl(p, t, _):
    eps = 2.2204e-16
    pairs = zip(to_one(p), to_one(t), strict=True)
    return sum(b * math.log(eps + b / (a + eps)) for a, b in pairs)


def sim(p, t, _):
    return np.minimum(to_one(p), to_one(t)).sum()


def cosine(p, t, _):
    a, b = p.ravel().astype(float), t.ravel().astype(float)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def rank_pearson(p, t, _):
    on = t.ravel() > 0
    return pearsonr(rankdata(p)[on], rankdata(t)[on])[0]


def rank_cosine(p, t, _):
    on = t.ravel() > 0
    a, b = rankdata(p)[on], rankdata(t)[on]
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def rankorder(p, t, _):
    ranks = rankdata(p)
    return ((ranks - 1) / (len(ranks) - 1))[t.ravel() > 0].mean()


DEFINITIONS = {
    "spearman": spearman, "pearson": pearson, "auc": auc, "iou_auc": iou_auc,
    "crossentropy": crossentropy, "kl": kl, "sim": sim, "cosine": cosine,
    "rank_pearson": rank_pearson, "rank_cosine": rank_cosine, "rankorder": rankorder,
}  # fmt: skip


def test_every_score_but_emd_has_a_definition_here() -> None:
    assert set(DEFINITIONS) | {"emd"} == set(MAP_SCORES)


def two_maps(seed: int, ties: bool):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(2, 9)), int(rng.integers(2, 9)))
    p, t = rng.random((2, *shape)).astype(np.float32)
    if ties:
        p, t = (np.round(m * 4) / 4 for m in (p, t))
    t[rng.random(shape) < 0.4] = 0
    clicks = rng.integers(0, 3, shape)
    # whatever is drawn, some score must exist
    t.flat[:3] = [0.2, 0.5, 0.9]
    p.flat[:2] = [0.1, 0.7]
    clicks.flat[0] = 1
    return p, t.astype(np.float32), clicks


@pytest.mark.parametrize("name", DEFINITIONS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_scores_equal_their_definitions(name, seed, ties) -> None:
    p, t, clicks = two_maps(seed, ties)
    wanted = DEFINITIONS[name](p, t, clicks)
    found = score_maps(name, p[None], t[None], clicks[None])[0]
    assert found == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    low, high = MAP_SCORES[name].range
    if not math.isnan(found):
        assert low - 1e-12 <= found <= high + 1e-12


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["spearman", "pearson", "cosine"]))
def test_maps_may_be_negative_where_they_are_not_densities(seed, name) -> None:
    rng = np.random.default_rng(seed)
    p, t = np.round(rng.normal(0, 1, (2, 5, 7)), 1).astype(np.float32)
    t[rng.random(t.shape) < 0.3] = 0
    found = score_maps(name, p[None], t[None])[0]
    assert found == pytest.approx(DEFINITIONS[name](p, t, None), abs=1e-9)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["spearman", "pearson", "cosine", "rank_pearson", "rank_cosine"]),
)
def test_no_rounding_takes_a_correlation_beyond_1(seed, name) -> None:
    _, t, _ = two_maps(seed, ties=False)
    times = np.float32(1 + seed % 7)
    found = score_maps(name, np.stack((t * times, -t)), np.stack((t, t)))
    assert 1 - 1e-6 < found[0] <= 1
    assert -1 <= found[1] < 1


def test_levels_are_reached_by_values_that_equal_them() -> None:
    for levels, name in (
        (IOU_LEVELS, "levels_reached"), (IOU_TARGET_LEVELS, "target_levels_reached"),
    ):  # fmt: skip
        near = [np.nextafter(levels, -9), levels, np.nextafter(levels, 9)]
        values = np.clip(np.concatenate(near), 0, 1)
        values = np.concatenate((values, [0.0, 1.0]))  # so that scaling changes nothing
        wanted = [sum(value >= level for level in levels) for value in values]
        assert getattr(MapView(values, dtype=np.float64), name).tolist() == wanted


def test_emd_is_how_far_the_mass_of_one_map_is_from_the_others() -> None:
    pytest.importorskip("ot")
    p, t = np.zeros((2, 3, 4), np.float32)
    p[0, 0] = 2
    t[0, 3] = 1
    assert score_maps("emd", p[None], t[None])[0] == pytest.approx(3 / 5)
    t[0, 0] = 3
    assert score_maps("emd", p[None], t[None])[0] == pytest.approx(3 / 5 / 4)
    assert score_maps("emd", t[None], t[None])[0] == pytest.approx(0, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_auc_is_sklearns_when_pixels_are_clicked_once(seed) -> None:
    p, _, _ = two_maps(seed, ties=True)
    on = np.zeros(p.shape, dtype=int)
    on.flat[:: max(p.size // 3, 2)] = 1
    # sklearn's negatives are the other pixels; ours are all pixels, the clicked ones at one half
    others = roc_auc_score(on.ravel(), p.ravel())
    n, k = p.size, int(on.sum())
    wanted = (others * (n - k) + k / 2) / n
    assert score_maps("auc", p[None], p[None], on[None])[0] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", MAP_SCORES)
def test_a_constant_or_empty_target_has_no_score(name) -> None:
    p, _, clicks = two_maps(1, ties=False)
    for value in (0, 0.3):
        target = np.full(p.shape, value, np.float32)
        assert math.isnan(score_maps(name, p[None], target[None], clicks[None])[0])


@pytest.mark.parametrize(
    ("name", "chance"),
    [("spearman", 0), ("pearson", 0), ("auc", 0.5), ("rankorder", 0.5), ("rank_pearson", 0)],
)
def test_a_constant_prediction_is_chance(name, chance) -> None:
    _, t, clicks = two_maps(2, ties=False)
    for value in (0, 0.7):
        p = np.full(t.shape, value, np.float32)
        assert score_maps(name, p[None], t[None], clicks[None])[0] == pytest.approx(chance)


@given(
    st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=4, max_size=12), st.integers(0, 2**32 - 1)
)
def test_rank_pearson_needs_positive_pixels_that_differ(target, seed) -> None:
    t = np.array([target], dtype=np.float32)
    p = np.random.default_rng(seed).permutation(len(target)).astype(np.float32)[None]
    found = score_maps("rank_pearson", p[None], t[None])[0]
    positive = {value for value in target if value > 0}
    assert math.isnan(found) == (len(positive) < 2 or len(set(target)) < 2)
    if not math.isnan(found):
        assert found == pytest.approx(rank_pearson(p, t, None), abs=1e-9)


def test_a_prediction_of_zeros_counts_as_uniform() -> None:
    _, t, _ = two_maps(3, ties=False)
    zero, flat = np.zeros_like(t), np.ones_like(t)
    for name in ("kl", "sim", "crossentropy"):
        a, b = (score_maps(name, p[None], t[None])[0] for p in (zero, flat))
        assert a == pytest.approx(b)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_perfect_predictions_have_the_best_value(name) -> None:
    _, t, clicks = two_maps(4, ties=False)
    best = score_maps(name, t[None], t[None], clicks[None])[0]
    worse = score_maps(name, t[None, ::-1, ::-1], t[None], clicks[None])[0]
    if name != "auc":
        assert best > worse if MAP_SCORES[name].higher_is_better else best < worse


def test_every_score_has_a_source() -> None:
    for name, score in MAP_SCORES.items():
        assert score.name == name
        assert score.reference
        assert score.compare.__doc__
        assert score.range[0] < score.range[1]


def test_wrong_inputs_are_named() -> None:
    a, b = np.zeros((1, 2, 2)), np.zeros((1, 2, 3))
    with pytest.raises(ValueError, match="unequal shapes"):
        score_maps("spearman", a, b)
    with pytest.raises(KeyError):
        score_maps("spearmann", a, a)
    with pytest.raises(ValueError, match="NaN"):
        MapView(np.array([[1, np.nan]]))
    t = np.arange(4.0).reshape(1, 2, 2)
    with pytest.raises(ValueError, match="needs the clicks"):
        score_maps("auc", t, t)
    with pytest.raises(ValueError, match="clicks of shape"):
        score_maps("auc", t, t, np.ones((1, 4)))
    with pytest.raises(ValueError, match="not a density"):
        score_maps("kl", -t, t)


def test_emd_without_its_extra_names_the_extra(monkeypatch) -> None:
    import sys

    from clickmap_cli.runtime.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "ot", None)
    t = np.arange(4.0).reshape(1, 2, 2)
    with pytest.raises(MissingExtraError, match=r"clickmap\[emd\]"):
        score_maps("emd", t, t)


needs_pot = pytest.mark.skipif(find_spec("ot") is None, reason="the extra 'emd' is not installed")


def by_linear_programme(p: np.ndarray, q: np.ndarray) -> float:
    h, w = p.shape
    at = np.stack(np.mgrid[0:h, 0:w], -1).reshape(-1, 2)
    cost = np.linalg.norm(at[:, None] - at, axis=-1) / np.hypot(h, w)
    n = h * w
    rows = np.kron(np.eye(n), np.ones(n))
    columns = np.kron(np.ones(n), np.eye(n))
    mass = np.concatenate([p.ravel() / p.sum(), q.ravel() / q.sum()])
    return linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=mass).fun


@needs_pot
@pytest.mark.parametrize("seed", range(5))
def test_emd_equals_the_linear_programme(seed) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.random((2, 3, 4))
    assert earth_movers_distance(p, q) == pytest.approx(by_linear_programme(p, q), abs=1e-9)


@needs_pot
def test_emd_of_one_point_moved_across_a_large_image() -> None:
    p, q = np.zeros((2, 64, 96))
    p[0, 0] = q[63, 95] = 1
    # blocks of 2 x 3 pixels; their centres are 62 rows and 93 columns apart
    assert earth_movers_distance(p, q) == pytest.approx(np.hypot(62, 93) / np.hypot(64, 96))
    assert earth_movers_distance(p, p) == 0
