"""PCK, RMSE and pixel errors: hand-counted cases, and plain loops over random ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.metrics.keypoints import reference_distances, scale_points, score_keypoints

NAN = math.nan


def hand_made():
    """Three images; points 0 and 1, the reference, are 50 px, 10 px and an unknown way apart."""
    true = np.array([
        [[0.0, 0.0], [30.0, 40.0], [10.0, 10.0]],
        [[5.0, 5.0], [5.0, 15.0], [NAN, NAN]],
        [[NAN, NAN], [8.0, 8.0], [1.0, 2.0]],
    ])  # fmt: skip
    off = np.array([
        [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]],  # 5, 0, 10: alpha 0.1 allows 5
        [[0.0, 1.0], [0.0, -2.0], [7.0, 7.0]],  # 1, 2, not labelled: alpha 0.1 allows 1
        [[9.0, 9.0], [0.0, 3.0], [4.0, 0.0]],  # not labelled, 3, 4: no reference
    ])  # fmt: skip
    return np.where(np.isnan(true), 0, true) + off, true


def test_hand_counted_with_missing_labels() -> None:
    scores = score_keypoints(*hand_made(), reference=(0, 1), alpha=0.1)
    np.testing.assert_array_equal(scores.distances, [[5, 0, 10], [1, 2, NAN], [NAN, 3, 4]])
    np.testing.assert_array_equal(scores.reference, [50, 10, NAN])
    np.testing.assert_allclose(scores.image_pck, [2 / 3, 1 / 2, NAN])
    np.testing.assert_allclose(scores.point_pck, [1, 1 / 2, 0])
    assert scores.pck == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.wrong == ((2,), (1,), ())
    of_images = [math.sqrt(125 / 3), math.sqrt(5 / 2), math.sqrt(25 / 2)]
    of_points = [math.sqrt(26 / 2), math.sqrt(13 / 3), math.sqrt(116 / 2)]
    np.testing.assert_allclose(scores.image_rmse, of_images)
    np.testing.assert_allclose(scores.point_rmse, of_points)
    assert scores.rmse == pytest.approx(sum(of_images) / 3)
    np.testing.assert_allclose(scores.image_error, [5, 1.5, 3.5])
    np.testing.assert_allclose(scores.point_error, [3, 5 / 3, 7])
    assert scores.error == pytest.approx(10 / 3)
    assert (scores.without_label, scores.without_pck) == (0, 1)


def test_a_point_at_exactly_the_limit_is_correct() -> None:
    true = np.array([[[0.0, 0.0], [0.0, 64.0], [8.0, 8.0]]])
    shifts = {16.0: 1.0, np.nextafter(16.0, 17.0): 2 / 3}
    for shift, pck in shifts.items():
        off = np.array([[[0.0, 0.0], [0.0, 0.0], [shift, 0.0]]])
        assert score_keypoints(np.abs(off + true), true, (0, 1), alpha=0.25).pck == pck


def test_images_without_any_label_have_no_score() -> None:
    predicted, true = hand_made()
    true[1] = NAN
    scores = score_keypoints(predicted, true, (0, 1))
    assert math.isnan(scores.image_rmse[1])
    assert math.isnan(scores.image_pck[1])
    assert scores.rmse == pytest.approx((math.sqrt(125 / 3) + math.sqrt(25 / 2)) / 2)
    assert scores.wrong == ((2,), (), ())
    assert (scores.without_label, scores.without_pck) == (1, 1)
    nothing = score_keypoints(predicted, np.full_like(true, NAN), (0, 1))
    assert nothing.without_label == 3
    assert all(math.isnan(value) for value in (nothing.pck, nothing.rmse, nothing.error))
    empty = score_keypoints(np.empty((0, 3, 2)), np.empty((0, 3, 2)), (0, 1))
    assert math.isnan(empty.rmse)
    assert empty.point_pck.shape == (3,)


def test_without_reference_points_there_is_no_pck() -> None:
    scores = score_keypoints(*hand_made(), reference=None)
    assert math.isnan(scores.pck)
    assert np.isnan(scores.point_pck).all()
    assert scores.wrong == ((), (), ())
    assert not math.isnan(scores.rmse)


def test_reference_points_in_one_place_measure_nothing() -> None:
    true = np.array([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [3.0, 4.0]]])
    np.testing.assert_array_equal(reference_distances(true, (0, 1)), [NAN, 5])
    scores = score_keypoints(true, true, (0, 1))
    np.testing.assert_array_equal(scores.image_pck, [NAN, 1])
    assert scores.without_pck == 1


def plain(predicted, true, reference, alpha):
    """PCK and RMSE of every image by the definition, one point at a time."""
    pcks, rmses, wrong = [], [], []
    for found, labels in zip(predicted.tolist(), true.tolist(), strict=True):
        (ax, ay), (bx, by) = labels[reference[0]], labels[reference[1]]
        measure = math.sqrt((ax - bx) ** 2 + (ay - by) ** 2)
        squares, bad = [], []
        for at, ((fx, fy), (tx, ty)) in enumerate(zip(found, labels, strict=True)):
            if not math.isnan(tx):
                squares.append((fx - tx) ** 2 + (fy - ty) ** 2)
                if measure > 0 and math.sqrt(squares[-1]) > alpha * measure:
                    bad.append(at)
        rmses.append(math.sqrt(sum(squares) / len(squares)) if squares else NAN)
        counts = bool(squares) and measure > 0
        pcks.append(1 - len(bad) / len(squares) if counts else NAN)
        wrong.append(tuple(bad) if counts else ())
    return pcks, rmses, tuple(wrong)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 6), st.sampled_from([0.1, 0.5, 2])
)
def test_as_a_plain_loop_scores_it(seed, n, k, alpha) -> None:
    rng = np.random.default_rng(seed)
    true = np.floor(rng.uniform(-0.5, 60, (n, k, 2)))
    predicted = true + rng.normal(0, 6, (n, k, 2))
    true[rng.random((n, k)) < 0.3] = NAN
    reference = tuple(rng.permutation(k)[:2].tolist())
    scores = score_keypoints(predicted, true, reference, alpha)
    pcks, rmses, wrong = plain(predicted, true, reference, alpha)
    np.testing.assert_allclose(scores.image_pck, pcks, rtol=1e-12)
    np.testing.assert_allclose(scores.image_rmse, rmses, rtol=1e-12)
    assert scores.wrong == wrong
    order = rng.permutation(n)
    moved = score_keypoints(predicted[order], true[order], reference, alpha)
    np.testing.assert_allclose(moved.image_rmse, scores.image_rmse[order], rtol=1e-12)
    np.testing.assert_allclose(moved.rmse, scores.rmse, rtol=1e-12)


def test_invalid_points_are_errors() -> None:
    predicted, true = hand_made()
    with pytest.raises(ValueError, match=r"not \(n, k, 2\)"):
        score_keypoints(predicted[:2], true, (0, 1))
    with pytest.raises(ValueError, match=r"not \(n, k, 2\)"):
        score_keypoints(predicted[0], true[0], (0, 1))
    for reference in ((0, 3), (-1, 0)):
        with pytest.raises(ValueError, match=r"not in 0\.\.2"):
            score_keypoints(predicted, true, reference)
    with pytest.raises(ValueError, match="both 1"):
        score_keypoints(predicted, true, (1, 1))
    for alpha in (0, -1, NAN, math.inf):
        with pytest.raises(ValueError, match="alpha"):
            score_keypoints(predicted, true, (0, 1), alpha)
    half = true.copy()
    half[0, 0, 1] = NAN
    with pytest.raises(ValueError, match="only one of x and y"):
        score_keypoints(predicted, half, (0, 1))
    far = true.copy()
    far[0, 0] = math.inf
    with pytest.raises(ValueError, match="infinite"):
        score_keypoints(predicted, far, (0, 1))
    predicted[1, 2] = NAN  # not labelled: it does not matter
    assert not math.isnan(score_keypoints(predicted, true, (0, 1)).rmse)
    predicted[0, 2] = NAN
    with pytest.raises(ValueError, match="not finite"):
        score_keypoints(predicted, true, (0, 1))


def test_inputs_stay_as_they_are() -> None:
    predicted, true = hand_made()
    before = predicted.copy(), true.copy()
    score_keypoints(predicted, true, (0, 1))
    np.testing.assert_array_equal(predicted, before[0])
    np.testing.assert_array_equal(true, before[1])


def test_scaling_keeps_shares_of_the_image() -> None:
    corners = np.array([[-0.5, -0.5], [447.5, 334.5], [223.5, 167.0], [NAN, NAN]])
    moved = scale_points(corners, (335, 448), (224, 200))
    np.testing.assert_allclose(moved, [[-0.5, -0.5], [199.5, 223.5], [99.5, 111.5], [NAN, NAN]])
    np.testing.assert_allclose(scale_points(moved, (224, 200), (335, 448)), corners, rtol=1e-12)


@pytest.mark.parametrize(("size", "to"), [((40, 60), (20, 20)), ((20, 20), (60, 40))])
def test_scaling_moves_a_dot_as_resizing_does(size, to) -> None:
    rows, columns = np.mgrid[: size[0], : size[1]]
    x, y = 12.3, 9.6
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.6**2))
    small = resize(blob, to).astype(np.float64)
    rows, columns = np.mgrid[: to[0], : to[1]]
    centre = [(small * columns).sum() / small.sum(), (small * rows).sum() / small.sum()]
    np.testing.assert_allclose(centre, scale_points(np.array([x, y]), size, to), atol=0.02)
