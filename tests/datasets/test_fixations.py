"""What other images' fixations say of one: against plain loops, and against pysaliency."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.datasets import fixations as module
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.fixations import OtherFixations, blurred, gaussian_at, kernel_density
from tests.datasets.scenes import gaussian_sum

SIZES = [(30, 41), (21, 50), (30, 41), (37, 23)]


def image(image_id, size, x, y, **more) -> FileStimulus:
    points = Points(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    return FileStimulus(image_id=image_id, size=size, points=points, **more)


def images(seed=0, sizes=SIZES, n=12, fractions=True) -> list[FileStimulus]:
    rng = np.random.default_rng(seed)
    found = []
    for at, (height, width) in enumerate(sizes):
        x = [*rng.uniform(0, width, n), 0, width - 1, width - 1e-9]
        y = [*rng.uniform(0, height, n), 0, height - 1, height - 1e-9]
        if not fractions:
            x, y = np.floor(x), np.floor(y)
        found.append(image(str(at), (height, width), x, y))
    return found


def moved(stimulus, size):
    """Fixations in relative coordinates of another image, cut to whole pixels; plain numbers."""
    (height, width), (h, w) = stimulus.size, size
    for x, y in zip(stimulus.points.x.tolist(), stimulus.points.y.tolist(), strict=True):
        yield min(int(x * (w / width)), w - 1), min(int(y * (h / height)), h - 1)


def counted(places, size) -> np.ndarray:
    counts = np.zeros(size[0] * size[1])
    counts[places[0]] = places[1]
    return counts.reshape(size)


def test_negatives_are_the_other_images_fixations() -> None:
    stimuli = images()
    pool = OtherFixations(stimuli, 0.04)
    for stimulus in stimuli:
        wanted = np.zeros(stimulus.size)
        for other in stimuli:
            if other is not stimulus:
                for x, y in moved(other, stimulus.size):
                    wanted[y, x] += 1
        around = pool.around(stimulus)
        np.testing.assert_array_equal(counted(around.negatives, stimulus.size), wanted)
        own = np.zeros(stimulus.size)
        for x, y in zip(stimulus.points.x, stimulus.points.y, strict=True):
            own[int(y), int(x)] += 1
        np.testing.assert_array_equal(counted(around.points, stimulus.size), own)


def test_negatives_are_those_of_pysaliency() -> None:
    trapezoid = vars(np).get("trapezoid") or vars(np)["trapz"]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(np, "trapz", trapezoid, raising=False)
        pysaliency = pytest.importorskip("pysaliency", reason="the extra is not installed")
        from pysaliency.saliency_map_models import FullShuffledNonfixationProvider
    stimuli = images(1, fractions=False)
    theirs = pysaliency.Stimuli([np.zeros((*s.size, 3), np.uint8) for s in stimuli])
    fixations = pysaliency.Fixations.create_without_history(
        np.concatenate([s.points.x for s in stimuli]),
        np.concatenate([s.points.y for s in stimuli]),
        np.repeat(np.arange(len(stimuli)), [len(s.points) for s in stimuli]),
    )
    provider = FullShuffledNonfixationProvider(theirs, fixations)
    pool = OtherFixations(stimuli, 0.04)
    for at, stimulus in enumerate(stimuli):
        xs, ys = provider(theirs, fixations, int(np.flatnonzero(fixations.n == at)[0]))
        wanted = np.zeros(stimulus.size)
        np.add.at(wanted, (ys.astype(int), xs.astype(int)), 1)
        assert wanted.sum() == sum(len(s.points) for s in stimuli) - len(stimulus.points)
        found = counted(pool.around(stimulus).negatives, stimulus.size)
        np.testing.assert_array_equal(found, wanted)


def test_negatives_that_come_with_the_data_go_before() -> None:
    offered = Points(np.array([1.0, 1.5, 3.0]), np.array([2.0, 2.9, 0.0]))
    stimuli = images()
    stimuli[0] = image("0", (30, 41), [4.0], [5.0], nonfixations=offered)
    found = counted(OtherFixations(stimuli, 0.04).around(stimuli[0]).negatives, (30, 41))
    assert (found[2, 1], found[0, 3], found.sum()) == (2, 1, 3)


def plain_baseline(stimuli, stimulus, bandwidth) -> list[float]:
    """log2 b at every fixated pixel, in the order of the pixels.

    b: a Gaussian at every other fixation, sigma in image widths, on the image's pixels, scaled to
    sum 1 over them, with 1% of the uniform density.
    """
    height, width = stimulus.size
    places = [
        place
        for other in stimuli
        if other is not stimulus
        for place in moved(other, (height, width))
    ]
    density = np.zeros((height, width))
    for x, y in places:
        density += gaussian_sum([x], [y], (height, width), bandwidth * width)
    density /= math.fsum(density.ravel())
    own = {(int(y), int(x)) for x, y in zip(stimulus.points.x, stimulus.points.y, strict=True)}
    mixed = [0.99 * density[y, x] + 0.01 / (height * width) for y, x in sorted(own)]
    return [math.log2(value) for value in mixed]


@pytest.mark.parametrize("bandwidth", [0.04, 0.3])
@pytest.mark.parametrize("pairs", [1 << 22, 0])  # own density point by point, and as a map
def test_the_baseline_is_the_others_kernel_density(monkeypatch, bandwidth, pairs) -> None:
    monkeypatch.setattr(module, "_DIRECT_PAIRS", pairs)
    stimuli = images(2)
    pool = OtherFixations(stimuli, bandwidth)
    for stimulus in stimuli:
        wanted = plain_baseline(stimuli, stimulus, bandwidth)
        np.testing.assert_allclose(pool.around(stimulus).baseline, wanted, rtol=1e-9)


def test_the_baseline_holds_where_only_the_image_itself_was_looked_at() -> None:
    """The remainder after a large share is subtracted must not be rounding error."""
    near = image("a", (60, 80), np.full(500, 5.0), np.full(500, 5.0))
    far = image("b", (60, 80), [79.0], [59.0])
    found = OtherFixations([near, far], 0.04).around(near).baseline
    np.testing.assert_allclose(found, [math.log2(0.01 / 4800)], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_baselines_of_any_small_set(data) -> None:
    stimuli = []
    for at in range(data.draw(st.integers(2, 4))):
        height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
        n = data.draw(st.integers(1, 5))
        x = [data.draw(st.floats(0, width, exclude_max=True)) for _ in range(n)]
        y = [data.draw(st.floats(0, height, exclude_max=True)) for _ in range(n)]
        stimuli.append(image(str(at), (height, width), x, y))
    pool = OtherFixations(stimuli, 0.2)
    for stimulus in stimuli:
        found = pool.around(stimulus)
        np.testing.assert_allclose(
            found.baseline, plain_baseline(stimuli, stimulus, 0.2), rtol=1e-7, atol=1e-9
        )
        np.testing.assert_array_equal(found.baseline_at(found.points[0][-1:]), found.baseline[-1:])


def test_nobody_else_and_nothing_at_all() -> None:
    alone = image("a", (9, 9), [1.0, 1.0], [2.0, 3.0])
    around = OtherFixations([alone], 0.04).around(alone)
    assert around.baseline is None
    assert around.baseline_at(around.points[0]) is None
    assert not len(around.negatives[0])
    empty = image("b", (9, 9), [], [])
    unknown = FileStimulus(image_id="c", size=(9, 9))
    pool = OtherFixations([alone, empty, unknown], 0.04)
    for stimulus in (empty, unknown):
        around = pool.around(stimulus)
        assert (around.points, around.negatives, around.baseline) == (None, None, None)
    assert pool.around(alone).baseline is None


def test_the_order_of_images_changes_nothing() -> None:
    stimuli = images(3)
    one, two = OtherFixations(stimuli, 0.04), OtherFixations(stimuli[::-1], 0.04)
    for stimulus in stimuli:
        a, b = one.around(stimulus), two.around(stimulus)
        np.testing.assert_allclose(a.baseline, b.baseline, rtol=1e-12)
        np.testing.assert_array_equal(a.negatives, b.negatives)


@st.composite
def scenes(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    n = draw(st.integers(0, 60))  # few points take one way of computing, many the other
    rows = draw(st.lists(st.integers(0, height - 1), min_size=n, max_size=n))
    columns = draw(st.lists(st.integers(0, width - 1), min_size=n, max_size=n))
    sigma = draw(st.floats(0.3, 30))
    return np.array(columns, dtype=np.int64), np.array(rows, dtype=np.int64), (height, width), sigma


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_equals_the_sum_of_exponentials(scene) -> None:
    columns, rows, size, sigma = scene
    wanted = gaussian_sum(columns, rows, size, sigma)
    np.testing.assert_allclose(kernel_density(*scene), wanted, rtol=1e-12, atol=1e-300)
    counts = np.zeros(size, dtype=int)
    np.add.at(counts, (rows, columns), 1)
    np.testing.assert_allclose(blurred(counts, sigma), wanted, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("n", "whole"), [(0, False), (3, False), (500, True)])
def test_both_ways_of_computing_are_tested_and_agree(monkeypatch, n, whole) -> None:
    """Many points go through a map of counts, few do not."""
    asked = []
    monkeypatch.setattr(module, "blurred", lambda *given: asked.append(1) or blurred(*given))
    rng = np.random.default_rng(n)
    size = (13, 21)
    columns, rows = rng.integers(0, 21, n), rng.integers(0, 13, n)
    found = kernel_density(columns, rows, size, 2.5)
    assert bool(asked) is whole
    np.testing.assert_allclose(found, gaussian_sum(columns, rows, size, 2.5), rtol=1e-12)
    assert found.shape == size
    assert found.dtype == np.float64


def test_one_point_is_one_at_its_centre_and_nothing_is_cut_off() -> None:
    found = kernel_density(np.array([0]), np.array([0]), (40, 400), 20.0)
    assert found[0, 0] == 1
    assert found[0, 399] == pytest.approx(np.exp(-(399**2) / 800), rel=1e-12)
    assert found[0, 399] > 0
    twice = kernel_density(np.array([0, 0]), np.array([0, 0]), (40, 400), 20.0)
    np.testing.assert_allclose(twice, 2 * found)


def test_a_gaussian() -> None:
    np.testing.assert_allclose(gaussian_at([0, 3, -3], 3.0), [1, np.exp(-0.5), np.exp(-0.5)])
