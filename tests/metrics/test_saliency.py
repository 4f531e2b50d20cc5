"""Every score of a prediction: by its definition, written out, and against pysaliency."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from scipy.optimize import linprog
from scipy.stats import rankdata

from clickmap_cli.metrics.map_scores import score_maps
from clickmap_cli.metrics.saliency import (
    SALIENCY_SCORES,
    Prediction,
    Target,
    places_of,
    score_prediction,
)
from clickmap_cli.metrics.views import MapView

NAMES = [
    "AUC", "AUC_Judd", "sAUC", "NSS", "IG", "CC", "CC_mask", "KL", "SIM", "EMD", "MAE", "MSE",
    "Spearman",
]  # fmt: skip
OF_POINTS = ["AUC", "AUC_Judd", "sAUC", "NSS", "IG"]
OF_MAPS = ["CC", "CC_mask", "KL", "SIM", "MAE", "MSE", "Spearman"]  # EMD has its own test

# --- the definitions, written out; p: prediction, in double precision --------------------------


def fixated(p, counts):
    """The prediction at every fixation, a pixel fixated twice twice."""
    return [float(v) for v, c in zip(p.flat, counts.flat, strict=True) for _ in range(int(c))]


def share_above(positives, negatives):
    """The probability that a positive exceeds a negative, ties half."""
    wins = sum((a > b) + 0.5 * (a == b) for a in positives for b in negatives)
    return wins / (len(positives) * len(negatives))


def auc(p, counts, **_):
    return share_above(fixated(p, counts), p.ravel().tolist())


def sauc(p, counts, others, **_):
    return share_above(fixated(p, counts), fixated(p, others))


def auc_judd(p, counts, **_):
    positives = fixated(p, counts)
    negatives = p[counts == 0].tolist()
    if not negatives:
        return math.nan
    points = [(0.0, 0.0)]
    for level in sorted(set(positives), reverse=True):
        false = sum(v >= level for v in negatives) / len(negatives)
        points.append((false, sum(v >= level for v in positives) / len(positives)))
    points.append((1.0, 1.0))
    steps = zip(points[1:], points, strict=False)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for b, a in steps)


def nss(p, counts, **_):
    values = p.ravel().tolist()
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    if p.min() == p.max():
        return 0.0
    return float(np.mean([(v - mean) / spread for v in fixated(p, counts)]))


def ig(p, counts, baseline, **_):
    share = 0.999999 * to_one(p) + 0.000001 / p.size
    return float(np.mean(fixated(np.log2(share) - np.log2(baseline), counts)))


def correlation(a, b):
    if min(b) == max(b):
        return math.nan
    if min(a) == max(a):
        return 0.0
    first, second = math.fsum(a) / len(a), math.fsum(b) / len(b)
    a, b = [v - first for v in a], [v - second for v in b]
    together = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return together / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def cc(p, truth, **_):
    return correlation(p.ravel().tolist(), truth.ravel().tolist())


def scaled(m):
    return (m - m.min()) / (m.max() - m.min()) if m.max() > m.min() else np.zeros(m.shape)


def cc_mask(p, truth, **_):
    if p.min() == p.max():
        return 0.0
    p, t = scaled(p).ravel().tolist(), scaled(truth).ravel().tolist()
    seen = [(a, b) for a, b in zip(p, t, strict=True) if a > 1e-4 or b > 1e-4]
    return correlation([a for a, _ in seen], [b for _, b in seen])


def to_one(m):
    m = m - min(m.min(), 0)
    return m / m.sum() if m.any() else np.full(m.shape, 1 / m.size)


def kl(p, truth, **_):
    eps = 2.2204e-16
    pairs = zip(to_one(p).ravel().tolist(), to_one(truth).ravel().tolist(), strict=True)
    return math.fsum(t * math.log(eps + t / (q + eps)) for q, t in pairs)


def sim(p, truth, **_):
    return math.fsum(np.minimum(to_one(p), to_one(truth)).ravel().tolist())


def mae(p, truth, **_):
    return math.fsum(np.abs(scaled(p) - scaled(truth)).ravel().tolist()) / p.size


def mse(p, truth, **_):
    return math.fsum(((scaled(p) - scaled(truth)) ** 2).ravel().tolist()) / p.size


def spearman(p, truth, **_):
    if np.ptp(p) == 0:
        return 0.0 if np.ptp(truth) else math.nan
    if np.ptp(truth) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(p.ravel()), rankdata(truth.ravel()))[0, 1])


DEFINITIONS = {
    "AUC": auc, "AUC_Judd": auc_judd, "sAUC": sauc, "NSS": nss, "IG": ig, "CC": cc,
    "CC_mask": cc_mask, "KL": kl, "SIM": sim, "MAE": mae, "MSE": mse,
    "Spearman": spearman,
}  # fmt: skip


# --- inputs -----------------------------------------------------------------------------------


def view(truth):
    return MapView(truth, None, np.float64 if truth.dtype == np.float64 else np.float32)


def target_of(counts=None, truth=None, others=None, baseline=None) -> Target:
    points = None if counts is None else places_of(counts)
    at = None if baseline is None else np.log2(baseline.ravel()[points[0]])
    negatives = None if others is None else places_of(others)
    return Target(points, None if truth is None else view(truth), negatives, at)


def score(name, p, counts=None, kind="map", **given):
    return SALIENCY_SCORES[name](Prediction(p, kind), target_of(counts, **given))


def inputs(seed: int, shape=None):
    """Fixations, repeated and in corners, others' fixations, a ground truth and a baseline."""
    rng = np.random.default_rng(seed)
    shape = shape or (int(rng.integers(2, 10)), int(rng.integers(2, 10)))
    counts, others = (np.zeros(shape, dtype=np.int64) for _ in range(2))
    for plane in (counts, others):
        np.add.at(plane.ravel(), rng.integers(0, plane.size, 3 + plane.size // 8), 1)
        plane[rng.choice([0, -1]), rng.choice([0, -1])] += int(rng.integers(1, 4))
    truth = gaussian_filter(counts.astype(float), 1 + max(shape) / 40)
    truth[rng.random(shape) < 0.2] = 0
    truth.flat[:2] = [0, truth.max()]
    baseline = rng.random(shape) + 0.01
    return {
        "counts": counts,
        "others": others,
        "truth": truth,
        "baseline": baseline / sum(baseline.flat),
    }


MAPS = {
    "smooth": lambda rng, shape: gaussian_filter(rng.random(shape), max(shape) / 10),
    "ties": lambda rng, shape: rng.integers(0, 3, shape) / 4,
    "negative": lambda rng, shape: rng.standard_normal(shape),
    "mostly zero": lambda rng, shape: np.where(rng.random(shape) < 0.9, 0, rng.random(shape)),
    "far from zero": lambda rng, shape: 1000 + rng.random(shape),
    "zeros": lambda rng, shape: np.zeros(shape),
    "constant": lambda rng, shape: np.full(shape, 0.5),
}


def prediction_of(kind: str, seed: int, shape, dtype=np.float64):
    return MAPS[kind](np.random.default_rng(seed + 1), shape).astype(dtype)


# --- the definitions ---------------------------------------------------------------------------


def test_every_score_but_emd_has_a_definition_here() -> None:
    assert list(SALIENCY_SCORES) == NAMES
    assert {*DEFINITIONS, "EMD"} == set(NAMES)
    assert {*OF_POINTS, *OF_MAPS, "EMD"} == set(NAMES)


@pytest.mark.parametrize("name", DEFINITIONS)
@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(list(MAPS)),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_scores_equal_their_definitions(name, seed, kind, dtype) -> None:
    given_ = inputs(seed)
    given_["truth"] = given_["truth"].astype(dtype)
    p = prediction_of(kind, seed, given_["counts"].shape, dtype)
    in_double = {**given_, "truth": given_["truth"].astype(np.float64)}
    wanted = DEFINITIONS[name](p.astype(np.float64), **in_double)
    found = score(name, p, **given_)
    assert found == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    low, high = SALIENCY_SCORES[name].range
    assert math.isnan(found) or low - 1e-12 <= found <= high + 1e-12


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(181, 363), (256, 256), (1, 70001)])
def test_large_maps_too(shape, dtype) -> None:
    # larger than a block, and nothing to see in the first one
    rng = np.random.default_rng(0)
    p, truth = rng.random((2, *shape)).astype(dtype)
    p.flat[:40000] = 0
    truth.flat[:40000] = 0
    for name in OF_MAPS:
        wanted = DEFINITIONS[name](p.astype(np.float64), truth=truth.astype(np.float64))
        assert score(name, p, truth=truth) == pytest.approx(wanted, abs=1e-9), name
    counts = np.zeros(shape, dtype=int)
    counts.flat[[0, 50000, 60000]] = [1, 2, 1]
    for name in ("AUC", "AUC_Judd", "NSS"):
        wanted = DEFINITIONS[name](p.astype(np.float64), counts)
        assert score(name, p, counts) == pytest.approx(wanted, abs=1e-9), name


@pytest.mark.parametrize("seed", range(6))
def test_emd_equals_a_linear_programme(seed) -> None:
    pytest.importorskip("ot", reason="the extra 'emd' is not installed")
    rng = np.random.default_rng(seed)
    h, w = 3, 5
    p, truth = rng.standard_normal((h, w)), rng.random((h, w))
    at = np.stack(np.mgrid[0:h, 0:w], -1).reshape(-1, 2)
    cost = np.linalg.norm(at[:, None] - at, axis=-1) / math.hypot(h, w)
    n = h * w
    leaving, arriving = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    mass = np.concatenate([to_one(p).ravel(), to_one(truth).ravel()])
    wanted = linprog(cost.ravel(), A_eq=np.vstack([leaving, arriving]), b_eq=mass).fun
    assert score("EMD", p, truth=truth) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), dtype=st.sampled_from([np.float64, np.float32]))
def test_information_gain_of_a_models_own_density(seed, dtype) -> None:
    given_ = inputs(seed)
    counts, baseline = given_["counts"], given_["baseline"]
    own = np.random.default_rng(seed).random(counts.shape) + 1e-3
    own = (own / own.sum()).astype(dtype)
    exact = own.astype(np.float64)  # no mixing: the density is the model's word
    wanted = np.mean(fixated(np.log2(exact) - np.log2(baseline), counts))
    found = score("IG", own, counts, kind="density", baseline=baseline)
    assert found == pytest.approx(wanted, abs=1e-9)
    log = np.log(exact).astype(dtype)
    wanted = np.mean(fixated(log.astype(float) / math.log(2) - np.log2(baseline), counts))
    found = score("IG", log, counts, kind="log_density", baseline=baseline)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_information_gain_of_a_density_of_0_at_a_fixation() -> None:
    counts = np.array([[1, 0], [0, 1]])
    baseline = np.full((2, 2), 0.25)
    own = np.array([[0, 0.5], [0.25, 0.25]])
    with np.errstate(divide="ignore"):
        log = np.log(own)
    assert score("IG", own, counts, kind="density", baseline=baseline) == -math.inf
    assert score("IG", log, counts, kind="log_density", baseline=baseline) == -math.inf
    # a map is mixed with a millionth of uniform, so it is only very wrong
    wanted = (math.log2(1e-6 / 4 * 4) + math.log2((0.999999 * 0.25 + 1e-6 / 4) * 4)) / 2
    found = score("IG", own, counts, baseline=baseline)
    assert found == pytest.approx(wanted, abs=1e-9)
    # and where nobody looked, nothing is lost
    found = score("IG", log, np.array([[0, 1], [0, 0]]), kind="log_density", baseline=baseline)
    assert found == pytest.approx(1)


def test_information_gain_far_below_what_can_be_exponentiated() -> None:
    log = np.array([[0.0, -2000.0]])
    counts, baseline = np.array([[0, 1]]), np.array([[0.5, 0.5]])
    found = score("IG", log, counts, kind="log_density", baseline=baseline)
    assert found == pytest.approx(-2000 / math.log(2) + 1, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_densities_are_exponentiated_for_every_other_score(dtype) -> None:
    given_ = inputs(5, (13, 17))
    own = np.random.default_rng(5).random((13, 17))
    own[:3] = 0
    with np.errstate(divide="ignore"):
        log = np.log(own / own.sum()).astype(dtype)
    names = [name for name in NAMES if name not in ("IG", "EMD")]
    target = target_of(**given_)
    found = score_prediction(names, Prediction(log, "log_density"), target)
    assert found == score_prediction(names, Prediction(np.exp(log)), target)


def test_several_scores_at_once_are_the_same_scores() -> None:
    given_ = inputs(9, (40, 31))
    p = prediction_of("smooth", 9, (40, 31), np.float32)
    names = [*reversed(OF_MAPS), *OF_POINTS]
    found = score_prediction(names, Prediction(p), target_of(**given_))
    assert list(found) == names
    assert found == {name: score(name, p, **given_) for name in names}


@pytest.mark.parametrize(("ours", "maps"), [("CC", "pearson"), ("KL", "kl"), ("SIM", "sim")])
def test_scores_that_ceilings_have_too_are_the_same(ours, maps) -> None:
    p, truth = np.random.default_rng(3).random((2, 211, 317)).astype(np.float32)
    wanted = score_maps(maps, p[None], truth[None])[0]
    assert score(ours, p, truth=truth) == pytest.approx(wanted, abs=1e-12)


# --- chance, nothing, and the best ---------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 0.1, -0.7, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_prediction_is_chance(value, dtype) -> None:
    given_ = inputs(1, (37, 53))
    p = np.full((37, 53), value, dtype)
    for name, chance in {"AUC": 0.5, "AUC_Judd": 0.5, "sAUC": 0.5, "NSS": 0, "CC": 0,
                         "CC_mask": 0}.items():  # fmt: skip
        assert score(name, p, **given_) == chance, name
    flat = {name: score(name, np.ones((37, 53)), **given_) for name in ("KL", "SIM", "IG")}
    for name, wanted in flat.items():
        assert score(name, p, **given_) == pytest.approx(wanted, abs=1e-12), name


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_or_missing_target_has_no_score(name) -> None:
    given_ = inputs(2, (5, 7))
    p = prediction_of("smooth", 2, (5, 7))
    for value in (0, 0.3):
        flat = {**given_, "truth": np.full((5, 7), value)}
        if name not in OF_POINTS:
            assert math.isnan(score(name, p, **flat))
    assert math.isnan(score(name, p))
    if name in OF_POINTS:
        nobody = np.zeros((5, 7), dtype=int)
        assert math.isnan(score(name, p, **{**given_, "counts": nobody}))


def test_a_missing_part_of_the_target_costs_only_its_scores() -> None:
    given_ = inputs(2, (5, 7))
    p = prediction_of("smooth", 2, (5, 7))
    for missing, names in {"others": ["sAUC"], "baseline": ["IG"], "truth": OF_MAPS}.items():
        target = target_of(**{**given_, missing: None})
        found = score_prediction([*OF_POINTS, *OF_MAPS], Prediction(p), target)
        assert sorted(name for name in found if math.isnan(found[name])) == sorted(names)
    nobody = {**given_, "others": np.zeros((5, 7), dtype=int)}
    assert math.isnan(score("sAUC", p, **nobody))


def test_a_target_constant_within_the_mask_has_no_masked_correlation() -> None:
    truth = np.array([[0.0, 0, 1, 1]])
    assert math.isnan(score("CC_mask", np.array([[0.0, 0, 0.1, 0.3]]), truth=truth))
    assert score("CC_mask", np.full((1, 4), 0.3), truth=truth) == 0  # constant is chance
    # one pixel more that only the prediction sees
    assert score("CC_mask", np.array([[0.0, 0.2, 0.1, 0.3]]), truth=truth) == pytest.approx(
        correlation([0.2, 0.1, 0.3], [0, 1, 1])
    )


def test_judds_area_without_unfixated_pixels_is_unknown() -> None:
    assert math.isnan(score("AUC_Judd", np.array([[1.0, 2]]), np.array([[1, 3]])))


def test_the_mask_of_cc_begins_above_a_ten_thousandth() -> None:
    # the first two pixels are left out, each of the next two is seen by one map alone
    truth = np.array([[0, 1e-4, 1.01e-4, 0, 0.5, 1]])
    p = np.array([[0, 1e-4, 0, 1.01e-4, 0.2, 1]])
    wanted = correlation(p.ravel()[2:].tolist(), truth.ravel()[2:].tolist())
    assert score("CC_mask", p, truth=truth) == pytest.approx(wanted, abs=1e-12)
    for fewer in (p.ravel()[3:], p.ravel()[1:]):
        there = truth.ravel()[-len(fewer) :]
        assert abs(wanted - correlation(fewer.tolist(), there.tolist())) > 1e-3


def test_a_perfect_prediction() -> None:
    truth = inputs(4, (31, 45))["truth"]
    best = {"CC": 1, "CC_mask": 1, "KL": 0, "SIM": 1, "MAE": 0, "MSE": 0}
    for name, wanted in best.items():
        assert score(name, truth, truth=truth) == pytest.approx(wanted, abs=1e-9), name
        worse = score(name, truth[::-1, ::-1], truth=truth)
        better = SALIENCY_SCORES[name].higher_is_better
        assert worse < wanted - 0.01 if better else worse > wanted + 0.01
    counts = (truth == truth.max()).astype(int)
    others = (truth == 0).astype(int)
    assert score("AUC_Judd", truth, counts) == 1
    assert score("sAUC", truth, counts, others=others) == 1
    assert score("sAUC", truth, others, others=counts) == 0
    # a fixated pixel is one of AUC's negatives too, at one half
    assert score("AUC", truth, counts) == pytest.approx(1 - counts.sum() / 2 / truth.size)


def test_a_perfect_prediction_moves_no_earth() -> None:
    pytest.importorskip("ot", reason="the extra 'emd' is not installed")
    truth = inputs(4, (8, 9))["truth"]
    assert score("EMD", truth, truth=truth) == pytest.approx(0, abs=1e-12)
    corner = np.zeros((8, 9))
    corner[0, 0] = 1
    across = score("EMD", corner, truth=corner[::-1, ::-1])
    assert across == pytest.approx(math.hypot(7, 8) / math.hypot(8, 9))
    low, high = SALIENCY_SCORES["EMD"].range
    assert low <= across <= high


# --- invariances -----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), dtype=st.sampled_from([np.float64, np.float32]))
def test_transformations_that_do_not_change_a_score(seed, dtype) -> None:
    given_ = inputs(seed)
    assume((given_["counts"] == 0).any())
    rng = np.random.default_rng(seed)
    p = (rng.integers(0, 8, given_["counts"].shape) / 8).astype(dtype)
    for name in ("AUC", "AUC_Judd", "sAUC"):
        for changed in (p**3, np.exp(p), np.log(p + dtype(0.1)), -1 / (1 + p)):
            assert score(name, changed, **given_) == score(name, p, **given_)
        upside_down = score(name, -p, **given_)
        if name != "AUC_Judd":  # its thresholds are the fixated values, from above
            assert upside_down == pytest.approx(1 - score(name, p, **given_), abs=1e-12)
    for name in ("NSS", "CC"):
        changed = dtype(0.5) * p - dtype(3)
        assert score(name, changed, **given_) == pytest.approx(score(name, p, **given_), abs=1e-9)
        assert score(name, -p, **given_) == pytest.approx(-score(name, p, **given_), abs=1e-12)
    for name in ("KL", "SIM", "CC_mask", "MAE", "MSE"):
        for factor in (dtype(64), dtype(1 / 1024)):
            found = score(name, p * factor, **given_)
            assert found == pytest.approx(score(name, p, **given_), abs=1e-12, nan_ok=True)


def test_a_pixel_fixated_twice_counts_twice() -> None:
    given_ = inputs(11, (9, 9))
    p = prediction_of("ties", 11, (9, 9))
    twice = {**given_, "counts": given_["counts"] * 2}
    for name in OF_POINTS:
        assert score(name, p, **twice) == pytest.approx(score(name, p, **given_), abs=1e-12)
    one, two = np.zeros((2, 9, 9), dtype=int)
    one[0, 0] = one[8, 8] = two[8, 8] = 1
    two[0, 0] = 3
    first, last = score("NSS", p, one), score("NSS", p, two)
    z = (p - p.mean()) / p.std()
    assert first == pytest.approx((z[0, 0] + z[8, 8]) / 2)
    assert last == pytest.approx((3 * z[0, 0] + z[8, 8]) / 4)


# --- numbers that are hard to hold --------------------------------------------------------------


def exact_cc(p, t):
    a, b = ([Fraction(float(v)) for v in m.flat] for m in (p, t))
    first, second = sum(a) / len(a), sum(b) / len(b)
    a, b = [v - first for v in a], [v - second for v in b]
    together = sum(x * y for x, y in zip(a, b, strict=True))
    squares = sum(x * x for x in a) * sum(y * y for y in b)
    return math.copysign(math.sqrt(together * together / squares), together)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    base=st.sampled_from([0.1, -1.0, 1e6, 3e-7]),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_correlation_of_nearly_constant_maps(seed, base, dtype) -> None:
    rng = np.random.default_rng(seed)
    p = np.full((6, 7), base, dtype)
    step = np.spacing(dtype(abs(base)))
    p += rng.integers(0, 3, p.shape).astype(dtype) * step
    assume(p.min() < p.max())
    truth = rng.random((6, 7))
    wanted = exact_cc(p, truth)
    assert score("CC", p, truth=truth) == pytest.approx(wanted, abs=1e-9)
    counts = rng.integers(0, 3, (6, 7))
    counts[0, 0] = 1
    # NSS is a correlation too: with the map of counts, scaled
    wanted = exact_cc(p, counts) * counts.std() / counts.mean() if np.ptp(counts) else 0
    assert score("NSS", p, counts) == pytest.approx(wanted, abs=1e-9)


def test_correlation_with_one_pixel_far_away() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((20, 20))
    for place in (0, 137):
        for far in (1e9, -1e9):
            p = rng.random((20, 20))
            p.flat[place] = far
            assert score("CC", p, truth=truth) == pytest.approx(exact_cc(p, truth), abs=1e-9)


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30, 1e100])
def test_very_small_and_very_large_maps(scale) -> None:
    given_ = inputs(6, (11, 12))
    p = prediction_of("smooth", 6, (11, 12))
    for name in (*OF_POINTS, *OF_MAPS):
        wanted = score(name, p, **given_)
        assert score(name, p * scale, **given_) == pytest.approx(wanted, abs=1e-9), name


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_prediction_with_nan_is_refused(bad, dtype) -> None:
    p = np.ones((3, 4), dtype)
    p[1, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        Prediction(p)
    with pytest.raises(ValueError, match="NaN or infinite"):
        Prediction(p, "density")
    if bad != -math.inf:  # an impossible place is a fine log density
        with pytest.raises(ValueError, match="NaN or infinite"):
            Prediction(p, "log_density")
    else:
        assert Prediction(p, "log_density").least == 0


def test_other_wrong_predictions_are_named() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        Prediction(np.full((2, 2), 800.0), "log_density")
    with pytest.raises(ValueError, match="without pixels"):
        Prediction(np.ones((0, 3)))
    with pytest.raises(ValueError, match="beyond 1e"):
        Prediction(np.array([[1e200, 0]]))
    with pytest.raises(ValueError, match="negative"):
        Prediction(np.array([[0.5, -0.5]]), "density")
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and a map of \(3, 2\)"):
        score("CC", np.ones((2, 3)), truth=np.eye(3)[:, :2])
    with pytest.raises(ValueError, match="not a density"):
        score("KL", np.eye(2), truth=-np.eye(2))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, bool])
def test_other_types_of_numbers(dtype) -> None:
    given_ = inputs(8, (6, 5))
    p = np.random.default_rng(8).integers(0, 2, (6, 5)).astype(dtype)
    names = [*OF_POINTS, *OF_MAPS]
    found = score_prediction(names, Prediction(p), target_of(**given_))
    wanted = score_prediction(names, Prediction(p.astype(np.float32)), target_of(**given_))
    assert found == wanted


def test_every_score_has_a_source_and_a_range() -> None:
    for name, entry in SALIENCY_SCORES.items():
        assert entry.name == name
        assert entry.reference
        assert entry.compare.__doc__
        assert entry.range[0] < entry.range[1]
        assert entry.needs == ("points" if name in OF_POINTS else "map")
        assert entry.also_needs == {"sAUC": "negatives", "IG": "baseline"}.get(name)
        assert entry.higher_is_better == (name not in ("KL", "EMD", "MAE", "MSE"))


# --- pysaliency -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pysaliency():
    """The reference; what it calls `trapz` is `trapezoid` in newer NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("pysaliency", reason="the extra 'pysaliency' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(np, "trapezoid"):
            patch.setattr(np, "trapz", np.trapezoid, raising=False)
        yield module


def by_its_functions(p, counts, others, truth):
    """Scores by pysaliency's metric functions of double-precision maps."""
    from pysaliency import metrics
    from pysaliency.roc import general_roc, general_rocs_per_positive
    from pysaliency.saliency_map_models import _get_unfixated_values

    p, truth = p.astype(np.float64), truth.astype(np.float64)
    (y, x), (far_y, far_x) = (
        np.repeat(np.nonzero(plane), plane[plane > 0], axis=1) for plane in (counts, others)
    )
    positives = p[y, x]
    found = {
        "AUC": general_roc(positives, p.ravel())[0],
        "sAUC": general_rocs_per_positive(positives, p[far_y, far_x]).mean(),
        "NSS": metrics.NSS(p, x, y).mean(),
        "CC": metrics.CC(p, truth),
        "SIM": metrics.SIM(p, truth),
    }
    with np.errstate(divide="ignore"):
        found["KL"] = metrics.MIT_KLDiv(p, truth)
    if (counts == 0).any():
        found["AUC_Judd"] = general_roc(positives, _get_unfixated_values(p, y, x), judd=1)[0]
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("shape", [(37, 53), (120, 161), (301, 227)])
def test_equals_pysaliencys_functions(pysaliency, kind, shape, dtype) -> None:
    given_ = inputs(sum(shape), shape)
    given_["truth"] = given_["truth"].astype(dtype)
    p = prediction_of(kind, sum(shape), shape, dtype)
    wanted = by_its_functions(p, given_["counts"], given_["others"], given_["truth"])
    assert len(wanted) == 7
    found = score_prediction(list(wanted), Prediction(p), target_of(**given_))
    assert found == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), dtype=st.sampled_from([np.float64, np.float32]))
def test_equals_pysaliencys_functions_with_ties_and_at_borders(pysaliency, data, dtype) -> None:
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(2, 5)))
    levels = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -1.0])
    p = data.draw(arrays(dtype, shape, elements=levels))
    truth = np.abs(data.draw(arrays(dtype, shape, elements=levels)))
    assume(truth.min() < truth.max())
    counts, others = (
        data.draw(arrays(np.int64, shape, elements=st.integers(0, 2))) for _ in range(2)
    )
    corner = data.draw(st.tuples(st.sampled_from([0, -1]), st.sampled_from([0, -1])))
    counts[corner] += 1
    others[corner] += 1
    wanted = by_its_functions(p, counts, others, truth)
    target = target_of(counts, truth, others)
    assert score_prediction(list(wanted), Prediction(p), target) == pytest.approx(wanted, abs=1e-9)


SIZES = [(60, 81), (41, 96), (75, 75)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["smooth", "ties", "negative", "zeros"])
def test_equals_pysaliencys_models_on_images_of_unequal_sizes(pysaliency, kind, dtype) -> None:
    rng = np.random.default_rng(7)
    maps = [prediction_of(kind, at, size, dtype) for at, size in enumerate(SIZES)]
    truths = [inputs(at, size)["truth"].astype(dtype) for at, size in enumerate(SIZES)]
    x, y, n = [], [], []
    for at, (height, width) in enumerate(SIZES):
        x += [*rng.integers(0, width, 30), 0, width - 1, width - 1, width - 1]
        y += [*rng.integers(0, height, 30), 0, height - 1, height - 1, 0]
        n += [at] * 34
    x, y, n = np.array(x), np.array(y), np.array(n)

    class Given(pysaliency.SaliencyMapModel):
        def __init__(self, values):
            super().__init__(caching=False)
            self.values = [v.astype(np.float64) for v in values]

        def _saliency_map(self, stimulus):
            return self.values[int(stimulus[0, 0, 0])]

    pictures = [np.full((*size, 3), at, np.uint8) for at, size in enumerate(SIZES)]
    stimuli = pysaliency.Stimuli(pictures)
    fixations = pysaliency.Fixations.create_without_history(x, y, n)
    model, gold = Given(maps), Given(truths)
    eps = 2.2204e-16
    nss = model.NSSs(stimuli, fixations)
    with np.errstate(divide="ignore"):
        divergence = model.image_based_kl_divergences(
            stimuli, gold, minimum_value=0, log_regularization=eps, quotient_regularization=eps
        )
    judd = {"nonfixations": "unfixated", "thresholds": "fixations"}
    wanted = {
        "AUC": model.AUC_per_image(stimuli, fixations, nonfixations="uniform"),
        "AUC_Judd": model.AUC_per_image(stimuli, fixations, **judd),
        "sAUC": model.AUC_per_image(stimuli, fixations, nonfixations="shuffled"),
        "NSS": [nss[n == at].mean() for at in range(len(SIZES))],
        "CC": model.CCs(stimuli, gold),
        "KL": divergence,
        "SIM": model.SIMs(stimuli, gold),
    }
    found = {name: [] for name in wanted}
    for at, (height, width) in enumerate(SIZES):
        counts, others = (np.zeros((height, width), dtype=int) for _ in range(2))
        np.add.at(counts, (y[n == at], x[n == at]), 1)
        for other, (far_height, far_width) in enumerate(SIZES):
            if other != at:  # where the others looked, relative to the image's size
                far_x, far_y = (
                    x[n == other] * (width / far_width),
                    y[n == other] * (height / far_height),
                )
                np.add.at(others, (far_y.astype(int), far_x.astype(int)), 1)
        target = target_of(counts, truths[at], others)
        for name, value in score_prediction(list(wanted), Prediction(maps[at]), target).items():
            found[name].append(value)
    for name, values in found.items():
        assert values == pytest.approx(list(wanted[name]), abs=1e-9), name
    area = model.AUC_Judd(stimuli, fixations, jitter=False)
    assert np.mean(found["AUC_Judd"]) == pytest.approx(area, abs=1e-9)
    mean = model.AUC(stimuli, fixations, nonfixations="shuffled", average="image")
    assert np.mean(found["sAUC"]) == pytest.approx(mean, abs=1e-9)


def test_information_gain_equals_pysaliencys_of_densities(pysaliency) -> None:
    shape = (24, 31)
    given_ = inputs(21, shape)
    counts, baseline = given_["counts"], given_["baseline"]
    own = np.random.default_rng(21).random(shape) + 1e-6
    own /= own.sum()

    class Given(pysaliency.Model):
        def __init__(self, density):
            super().__init__(caching=False)
            self.log = np.log(density)

        def _log_density(self, stimulus):
            return self.log

    stimuli = pysaliency.Stimuli([np.zeros((*shape, 3), np.uint8)])
    y, x = np.repeat(np.nonzero(counts), counts[counts > 0], axis=1)
    fixations = pysaliency.Fixations.create_without_history(x, y, np.zeros(len(x), int))
    wanted = Given(own).information_gain(stimuli, fixations, Given(baseline))
    for kind, values in {"density": own, "log_density": np.log(own)}.items():
        found = score("IG", values, counts, kind=kind, baseline=baseline)
        assert found == pytest.approx(wanted, abs=1e-9)
