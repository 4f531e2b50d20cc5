"""Notices about a blur that is not the one a configuration seems to ask for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clickmap_cli.clickmaps.blur import Kernel, blur_clicks
from clickmap_cli.clickmaps.settings import MapSettings, blur_notices
from clickmap_cli.config.loading import load_experiment


def settings_of(*words: str) -> MapSettings:
    return MapSettings.from_config(load_experiment(None, words).config)


def notices_of(*words: str, shapes=((256, 256),)) -> list[str]:
    return list(blur_notices(settings_of(*words), np.array(shapes).reshape(-1, 2)))


def spread(kernel: Kernel, side: int = 401) -> float:
    """Standard deviation along one axis of a single click's map, from the map itself."""
    at = np.array([side // 2])
    heat = blur_clicks(at, at, (side, side), kernel) / kernel.scale()
    assert heat.sum() == pytest.approx(1)
    marginal = heat.sum(axis=0)
    return math.sqrt((marginal * (np.arange(side) - side // 2) ** 2).sum())


@pytest.mark.parametrize(
    "kernel",
    [Kernel("gaussian", 21, 20.0), Kernel("gaussian", 161, 20.0), Kernel("gaussian", 1, 3.0),
     Kernel("circle", 21, 0.0), Kernel("circle", 51, 0.0), Kernel("none", 21, 3.0)],
)  # fmt: skip
def test_the_effective_sigma_is_that_of_one_clicks_map(kernel) -> None:
    assert kernel.effective_sigma() == pytest.approx(spread(kernel), abs=1e-9)


def test_sigma_alone_gives_a_gaussian_of_that_sigma_without_an_edge() -> None:
    kernel = settings_of("kernel_type=gaussian", "blur_sigma=20").kernel((256, 256))
    assert kernel.radius >= 4 * 20
    assert spread(kernel) == pytest.approx(20, rel=0.01)
    at = np.array([200])
    heat = blur_clicks(at, at, (401, 401), kernel)
    edge = heat[200, 200 + kernel.radius] / heat.max()
    assert edge < 1 / 2000  # below one step of a picture's 256 levels
    assert notices_of("kernel_type=gaussian", "blur_sigma=20") == []


def test_a_narrow_window_gives_a_notice_with_the_effective_sigma() -> None:
    (text,) = notices_of("kernel_type=gaussian", "blur_sigma=20", "blur_size=21")
    assert "window of 21 pixels cuts a gaussian of sigma 20 at 0.5 sigma" in text
    assert "effective sigma of the blur is 5.9 pixels" in text
    assert "at least 121" in text
    assert notices_of("kernel_type=gaussian", "blur_sigma=20", "blur_size=121") == []
    (text,) = notices_of("kernel_type=gaussian", "blur_sigma=20", "blur_size=119")
    assert "effective sigma" in text


def test_the_notice_names_the_square_root_where_the_window_cuts_it() -> None:
    (text,) = notices_of("kernel_type=gaussian")
    assert "sigma 4.58, sqrt(21) as blur_sigma is not set," in text
    assert notices_of("kernel_type=gaussian", "blur_size=41") == []


@pytest.mark.parametrize("kind", ["circle", "none"])
def test_an_unused_sigma_gives_a_notice(kind) -> None:
    (text,) = notices_of(f"kernel_type={kind}", "blur_sigma=5")
    assert text.startswith(f"blur_sigma: 5 has no effect with kernel_type: {kind}")
    assert notices_of(f"kernel_type={kind}") == []


def test_a_largest_kernel_that_cuts_gives_a_notice() -> None:
    words = ("kernel_type=gaussian", "blur_sigma=9")
    shapes = [(256, 256), (600, 800), (700, 900), (64, 64)]
    (text,) = notices_of(*words, shapes=shapes)
    # 73 x 700 / 256 = 199.6, rounded and made odd; sigma shrinks with the window
    settings = settings_of(*words)
    assert settings.kernel((700, 900)) == Kernel("gaussian", 51, 9 * 51 / 73)
    assert "max_kernel_size: 51 cuts the blur of 2 of 4 images" in text
    assert "would be one of 201 at [700, 900], and is one of 51" in text
    now = spread(Kernel("gaussian", 51, 9 * 51 / 73))
    wanted = spread(Kernel("gaussian", 201, 9 * 201 / 73))
    assert f"is {now:.3g} pixels instead of {wanted:.3g}" in text
    assert notices_of(*words, "max_kernel_size=201", shapes=shapes) == []
    (text,) = notices_of("kernel_type=circle", shapes=shapes)
    assert "1 of 4 images" in text
    assert notices_of("kernel_type=none", shapes=shapes) == []
    assert notices_of(*words, shapes=()) == []


def test_window_and_sigma_shrink_and_grow_alike() -> None:
    settings = settings_of("kernel_type=gaussian", "blur_sigma=5", "max_kernel_size=999")
    base = settings.kernel((256, 256))
    for native in ((512, 700), (128, 128), (300, 1000), (4000, 3000)):
        kernel = settings.kernel(native)
        assert kernel.sigma / kernel.size == pytest.approx(base.sigma / base.size)
        assert kernel.sigma == pytest.approx(5 * min(native) / 256, rel=0.05)
