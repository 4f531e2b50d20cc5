"""Maps against an independent, plain, double-precision implementation of their definition."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from clickmap_cli.clickmaps.blur import Kernel, blur_clicks, blur_counts
from clickmap_cli.clickmaps.blur_torch import blur_mean_map, blur_trial_maps
from clickmap_cli.clickmaps.maps import ImageClicks, bin_maps, covered_pixels, mean_map, trial_maps
from clickmap_cli.clickmaps.settings import MapSettings


def settings_of(
    shape=(32, 32), crop=None, kind="circle", size=21, sigma=None, largest=51, tau=None
) -> MapSettings:
    return MapSettings(shape, crop, kind, size, sigma, largest, tau)


def clicks_of(trials, native) -> ImageClicks:
    flat = np.array([c for t in trials for c in t], dtype=np.int16).reshape(-1, 2)
    offsets = np.concatenate(([0], np.cumsum([len(t) for t in trials]))).astype(np.int64)
    return ImageClicks(flat[:, 0], flat[:, 1], offsets, native)


# --- the reference: definitions written down, nothing shared with the package -----------------


def reference_kernel(kind: str, size: int, sigma: float | None, base: int) -> np.ndarray:
    centre = (size - 1) / 2
    y, x = np.mgrid[0:size, 0:size] - centre
    if kind == "circle":
        kernel = (np.sqrt(x**2 + y**2) <= (size - 1) / 2).astype(float)
    else:
        at_base = math.sqrt(base) if sigma is None else sigma
        kernel = np.exp(-(x**2 + y**2) / (2 * (at_base * size / base) ** 2))
    return kernel / kernel.sum()


def reference_size(blur_size: int, native, image_shape, largest: int) -> tuple[int, int]:
    base = blur_size if blur_size % 2 == 1 else blur_size + 1
    if native == image_shape:
        return base, base
    size = math.floor(blur_size * min(native) / min(image_shape) + 0.5)
    size = size if size % 2 == 1 else size + 1
    return min(size, largest if largest % 2 == 1 else largest - 1), base


def reference_native(trial, native, s: MapSettings) -> np.ndarray:
    counts = np.zeros(native)
    for k, (x, y) in enumerate(trial):
        counts[y, x] += 1 if s.decay_tau is None else math.exp(-k / s.decay_tau)
    if s.kernel_type == "none":
        return counts
    size, base = reference_size(s.blur_size, native, s.image_shape, s.max_kernel_size)
    kernel = reference_kernel(s.kernel_type, size, s.blur_sigma, base)
    blurred = _same(counts, kernel)
    return _same(blurred, kernel) if s.kernel_type == "circle" else blurred


def _same(counts: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    r = kernel.shape[0] // 2
    full = convolve2d(counts, kernel, mode="full")
    return full[r : r + counts.shape[0], r : r + counts.shape[1]]


def reference_finish(native_map: np.ndarray, s: MapSettings) -> np.ndarray:
    import torch

    native = native_map.shape
    out = native_map
    if native != s.image_shape:
        short = min(s.image_shape)
        scale = short / min(native)
        size = [max(short, math.floor(side * scale + 0.5)) for side in native]
        size[int(np.argmin(native))] = short
        if tuple(size) != native:
            out = torch.nn.functional.interpolate(
                torch.from_numpy(native_map)[None, None],
                size=size,
                mode="bilinear",
                antialias=True,
                align_corners=False,
            )[0, 0].numpy()
    if s.crop is not None:
        from torchvision.transforms.functional import center_crop

        out = center_crop(torch.from_numpy(np.array(out)), list(s.crop)).numpy()
    return out


@st.composite
def studies(draw, native_sizes: bool = False):
    image_shape = (draw(st.integers(8, 40)), draw(st.integers(8, 40)))
    native = image_shape
    if native_sizes:
        native = (draw(st.integers(6, 70)), draw(st.integers(6, 70)))
    limit = min(image_shape) if native_sizes else None
    crop = None
    if draw(st.booleans()):
        crop = tuple(draw(st.integers(1, limit or side)) for side in image_shape)
    height, width = native
    # corners and borders come up as often as everything else
    xs = st.one_of(st.sampled_from([0, width - 1]), st.integers(0, width - 1))
    ys = st.one_of(st.sampled_from([0, height - 1]), st.integers(0, height - 1))
    trial = st.lists(st.tuples(xs, ys), min_size=1, max_size=25)
    s = settings_of(
        shape=image_shape,
        crop=crop,
        kind=draw(st.sampled_from(["circle", "gaussian", "none"])),
        size=draw(st.integers(1, 24)),
        sigma=draw(st.one_of(st.none(), st.floats(0.3, 9))),
        largest=draw(st.sampled_from([11, 20, 21, 51])),
        tau=draw(st.one_of(st.none(), st.floats(0.2, 20))),
    )
    return draw(st.lists(trial, min_size=1, max_size=4)), native, s


def check_against_reference(study) -> None:
    trials, native, s = study
    clicks = clicks_of(trials, native)
    wanted = np.stack([reference_finish(reference_native(t, native, s), s) for t in trials])
    found = trial_maps(clicks, s)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(mean_map(clicks, s), wanted.mean(axis=0), atol=1e-6, rtol=1e-6)


@settings(max_examples=300, deadline=None)
@given(studies())
@example(([[(0, 0), (31, 31), (0, 31), (31, 0)]], (32, 32), settings_of()))
@example(([[(0, 0)]], (8, 8), settings_of(shape=(8, 8), size=24)))
def test_maps_equal_the_definition(study) -> None:
    check_against_reference(study)


@settings(max_examples=150, deadline=None)
@given(studies(native_sizes=True))
def test_maps_of_native_sizes_equal_the_definition(study) -> None:
    check_against_reference(study)


@settings(max_examples=60, deadline=None)
@given(studies(native_sizes=True))
def test_torch_gives_the_same_maps(study) -> None:
    trials, native, s = study
    clicks = clicks_of(trials, native)
    exact = trial_maps(clicks, s)
    np.testing.assert_allclose(
        blur_trial_maps(clicks, s, "cpu", batch=3), exact, atol=1e-5, rtol=1e-5
    )
    np.testing.assert_allclose(
        blur_mean_map(clicks, s, "cpu", batch=2), mean_map(clicks, s), atol=1e-5, rtol=1e-5
    )


@settings(max_examples=100, deadline=None)
@given(studies())
def test_stamps_and_running_sums_give_the_same_integers(study) -> None:
    trials, native, s = study
    kernel = Kernel.from_sizes(native, s.image_shape, "circle", s.blur_size, None, 51)
    x, y = (np.array(axis) for axis in zip(*trials[0], strict=True))
    counts = np.zeros(native, dtype=np.int64)
    np.add.at(counts, (y, x), 1)
    stamped, summed = blur_clicks(x, y, native, kernel), blur_counts(counts, kernel)
    assert stamped.dtype.kind == summed.dtype.kind == "i"
    np.testing.assert_array_equal(stamped, summed)


@pytest.mark.parametrize("many", [32_767, 32_768, 100_000, 2**31 - 1, 2**31, 2**40])
@pytest.mark.parametrize("where", [[(4, 5)], [(0, 0), (8, 0), (5, 5)]])
def test_however_many_clicks_a_sum_holds_them_all(many, where) -> None:
    counts = np.zeros((9, 10), dtype=np.int64)
    for at in where:
        counts[at] = many // len(where)
    kernel = Kernel.from_sizes((9, 10), (9, 10), "circle", 7, None, 51)
    disk = (np.hypot(*np.mgrid[-3:4, -3:4]) <= 3).astype(np.int64)
    wanted = counts
    for _ in range(2):
        spread = np.zeros((15, 16), dtype=object)  # Python's integers, which have no end
        for y, x in zip(*np.nonzero(wanted), strict=True):
            spread[y : y + 7, x : x + 7] += disk * int(wanted[y, x])
        wanted = spread[3:12, 3:13]
    np.testing.assert_array_equal(blur_counts(counts, kernel), wanted)


def test_equal_values_are_exactly_equal() -> None:
    # a click's map is symmetric, so pixels at the same distance must tie, to the last bit
    heat = trial_maps(clicks_of([[(16, 16)]], (33, 33)), settings_of(shape=(33, 33)))[0]
    np.testing.assert_array_equal(heat, heat.T)
    np.testing.assert_array_equal(heat, heat[::-1])


def test_zero_outside_the_kernels_reach() -> None:
    for kind, reach in (("circle", 20), ("gaussian", 10), ("none", 0)):
        heat = trial_maps(clicks_of([[(50, 50)]], (101, 101)), settings_of((101, 101), kind=kind))[
            0
        ]
        y, x = np.nonzero(heat)
        assert (y.min(), y.max(), x.min(), x.max()) == (50 - reach, 50 + reach) * 2, kind
        assert heat.min() == 0


def test_a_click_away_from_borders_sums_to_one() -> None:
    for kind in ("circle", "gaussian", "none"):
        heat = trial_maps(clicks_of([[(50, 50)]], (101, 101)), settings_of((101, 101), kind=kind))
        assert heat.sum() == pytest.approx(1, abs=1e-6)


def test_a_pixel_clicked_twice_counts_twice() -> None:
    one = trial_maps(clicks_of([[(3, 4)]], (32, 32)), settings_of())
    two = trial_maps(clicks_of([[(3, 4), (3, 4)]], (32, 32)), settings_of())
    np.testing.assert_array_equal(two, 2 * one)


def test_bins_are_means_of_the_first_clicks() -> None:
    trials = [[(1, 1), (5, 5), (9, 9), (20, 20)], [(30, 2), (2, 30)]]
    clicks, s = clicks_of(trials, (32, 32)), settings_of(size=3)
    by_count = bin_maps(clicks, s, 4, time_based=False)
    for k in range(1, 5):
        first = clicks_of([t[:k] for t in trials], (32, 32))
        np.testing.assert_array_equal(by_count[k - 1], mean_map(first, s))
    by_share = bin_maps(clicks, s, 2, time_based=True)
    half = clicks_of([trials[0][:2], trials[1][:1]], (32, 32))
    np.testing.assert_array_equal(by_share[0], mean_map(half, s))
    np.testing.assert_array_equal(by_share[1], mean_map(clicks, s))


def test_time_bins_are_exact_where_shares_are_whole() -> None:
    # 77 x 9 / 11 is 63; in floating point it is a little more
    trial = [(k % 32, k // 32) for k in range(77)]
    clicks, s = clicks_of([trial], (32, 32)), settings_of(kind="none")
    maps = bin_maps(clicks, s, 11, time_based=True)
    assert [int(m.sum()) for m in maps] == [7 * k for k in range(1, 12)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9), st.booleans())
def test_a_bin_holds_the_first_clicks_rounded_up(lengths, bins, time_based) -> None:
    trials = [[(k % 8, k // 8) for k in range(length)] for length in lengths]
    clicks, s = clicks_of(trials, (8, 8)), settings_of((8, 8), kind="none")
    for k, found in enumerate(bin_maps(clicks, s, bins, time_based), 1):
        wanted = np.zeros((8, 8))
        for trial in trials:
            whole = len(trial) if time_based else max(lengths)
            for x, y in trial[: math.ceil(Fraction(whole * k, bins))]:
                wanted[y, x] += 1
        np.testing.assert_allclose(found, wanted / len(trials), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(studies(native_sizes=True))
def test_covered_pixels_are_counted_before_cropping(study) -> None:
    trials, native, s = study
    wanted = [
        np.count_nonzero(reference_native(t, native, s).astype(np.float32) > 1e-12) for t in trials
    ]
    if s.decay_tau is None and (s.blur_sigma is None or s.blur_sigma > 4):
        assert covered_pixels(clicks_of(trials, native), s).tolist() == wanted


@pytest.mark.parametrize(
    ("native", "size"),
    [((256, 256), 21), ((512, 700), 43), ((128, 300), 11), ((4000, 3000), 51), ((256, 999), 21)],
)
def test_kernels_grow_with_the_short_side(native, size) -> None:
    # 21 x short side / 256, rounded, made odd, at most 51
    assert Kernel.from_sizes(native, (256, 256), "gaussian", 21, None, 51).size == size


@given(
    st.integers(1, 400), st.integers(1, 400), st.integers(8, 300), st.integers(1, 40),
    st.integers(1, 60),
)  # fmt: skip
def test_kernels_are_odd_and_at_most_the_largest(height, width, short, blur_size, largest) -> None:
    shape = (short + 1, short)
    kernel = Kernel.from_sizes((height, width), shape, "gaussian", blur_size, None, largest)
    if (height, width) == shape:
        return
    size = math.floor(blur_size * min(height, width) / short + 0.5)
    size += 1 - size % 2
    wanted = max(k for k in range(1, largest + 1, 2) if k <= size)
    base = blur_size + 1 - blur_size % 2
    assert kernel.size == wanted
    assert kernel.sigma == pytest.approx(math.sqrt(base) * wanted / base)
