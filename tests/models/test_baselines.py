from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from scipy.signal import convolve2d

from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.base import SaliencyModel
from clickmap_cli.models.baselines import (
    BlurBaseline,
    CenterBias,
    GoldStandard,
    Uniform,
    read_size,
)
from clickmap_cli.models.building import build_model
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import gaussian_sum, picture

SIZE = (13, 18)


def plain(size=SIZE) -> FileStimulus:
    return FileStimulus(image_id="a", size=size)


def test_uniform() -> None:
    np.testing.assert_array_equal(Uniform().predict(plain()), np.ones(SIZE))


@pytest.mark.parametrize("size", [SIZE, (1, 1), (2, 5)])
@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, 0.25),
        ({"sigma": 0.25}, 0.25),
        ({"sigma": 0.1}, 0.1),
        ({"sigma": 3.0}, 3.0),
        ({"sigma_ratio": 0.25}, 0.125),  # of half a side, as configs of the field have it
        ({"sigma_ratio": 1.0}, 0.5),
    ],
)
@pytest.mark.parametrize("requires_size", [None, [7, 4], False])
def test_center_bias_is_a_gaussian_whose_width_is_a_share_of_the_image(
    size, given, share, requires_size
) -> None:
    height, width = requires_size or size
    found = CenterBias(requires_size, **given).predict(plain(size))
    assert found.shape == (height, width)
    for row in range(height):
        for column in range(width):
            y = (row + 0.5 - height / 2) / (share * height)
            x = (column + 0.5 - width / 2) / (share * width)
            wanted = math.exp(-(x * x + y * y) / 2)
            assert found[row, column] == pytest.approx(wanted, rel=1e-12)


def test_widths_in_either_word_are_the_same_bytes() -> None:
    wanted = CenterBias().predict(plain()).tobytes()
    for given in ({"sigma": 0.25}, {"sigma_ratio": 0.5}):
        assert CenterBias(**given).predict(plain()).tobytes() == wanted


def test_a_width_in_halves_of_the_image_is_reported() -> None:
    (said,) = CenterBias(sigma_ratio=0.3).notices
    assert said == (
        "center_bias: sigma_ratio 0.3 is a share of half the image's height and width, which is "
        "sigma: 0.15 of the whole."
    )
    assert CenterBias().notices == CenterBias(sigma=0.3).notices == ()


def test_only_the_size_matters_to_those_that_look_at_nothing(tmp_path) -> None:
    for model in (Uniform(), CenterBias()):
        other = FileStimulus(image_id="b", size=SIZE, image_path=tmp_path / "none.png")
        assert model.depends_on(plain()) == model.depends_on(other)
        assert model.depends_on(plain()) != model.depends_on(plain((18, 13)))


@pytest.mark.parametrize("ksize", [1, 3, 9, 31])
def test_blur_baseline_is_blurred_luminance(tmp_path, ksize) -> None:
    """As OpenCV blurs: its sigma for the size, the kernel of that size, borders mirrored."""
    pixels = picture(tmp_path / "a.png", (24, 40)).astype(np.float64) / 255
    luminance = pixels @ [0.299, 0.587, 0.114]
    half = ksize // 2
    sigma = 0.3 * ((ksize - 1) / 2 - 1) + 0.8
    kernel = np.array([math.exp(-((at - half) ** 2) / (2 * sigma**2)) for at in range(ksize)])
    kernel /= kernel.sum()
    padded = np.pad(luminance, half, mode="reflect")
    wanted = convolve2d(padded, np.outer(kernel, kernel), mode="valid")
    stimulus = FileStimulus(image_id="a", size=(24, 40), image_path=tmp_path / "a.png")
    np.testing.assert_allclose(BlurBaseline(ksize).predict(stimulus), wanted, atol=1e-5)


def test_blur_of_a_point_and_of_a_plain_picture(tmp_path) -> None:
    Image.new("RGB", (30, 20), (255, 255, 255)).save(tmp_path / "white.png")
    white = FileStimulus(image_id="w", size=(20, 30), image_path=tmp_path / "white.png")
    np.testing.assert_allclose(BlurBaseline().predict(white), 1, atol=1e-5)
    small = FileStimulus(image_id="p", size=(3, 2), image_path=tmp_path / "p.png")
    picture(tmp_path / "p.png", (3, 2))
    assert BlurBaseline(31).predict(small).shape == (3, 2)
    assert BlurBaseline().depends_on(white) == white.image_digest()
    with pytest.raises(DataError):
        BlurBaseline().predict(plain())


def looked_at(moved=None, seed=0) -> FileStimulus:
    """Four people; `moved` has all points in a corner."""
    rng = np.random.default_rng(seed)
    subject = np.repeat([0, 1, 2, 3], [5, 1, 9, 4]).astype(np.int32)
    x, y = rng.uniform(0, SIZE[1], 19), rng.uniform(0, SIZE[0], 19)
    if moved is not None:
        x[subject == moved] = 0.5
    points = Points(x, y, subject, ("ann", "bob", "cid", "dan"))
    return FileStimulus(image_id="a", size=SIZE, points=points, sigma_px=3.0)


@pytest.mark.parametrize(("bandwidth", "sigma"), [(None, 3.0), (1.5, 1.5)])
def test_gold_standard_predicts_each_by_all_others(bandwidth, sigma) -> None:
    stimulus = looked_at()
    points = stimulus.points
    found = dict(GoldStandard(bandwidth).predict_people(stimulus))
    assert list(found) == ["ann", "bob", "cid", "dan"]
    for code, name in enumerate(found):
        others = points.subject != code
        wanted = gaussian_sum(points.x[others], points.y[others], SIZE, sigma)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-9)


@pytest.mark.parametrize("bandwidth", [None, 1.5])
@pytest.mark.parametrize("person", range(4))
def test_nobody_predicts_themselves(bandwidth, person) -> None:
    model = GoldStandard(bandwidth)
    before = [values for _, values in model.predict_people(looked_at())]
    after = [values for _, values in model.predict_people(looked_at(person))]
    for other in range(4):
        same = np.array_equal(before[other], after[other])
        assert same is (other == person)


def test_gold_standard_depends_on_what_people_did() -> None:
    model = GoldStandard()
    assert model.depends_on(looked_at()) == model.depends_on(looked_at())
    assert model.depends_on(looked_at()) != model.depends_on(looked_at(2))
    with pytest.raises(DataError, match="a: gold_standard needs two people or more"):
        list(model.predict_people(plain()))
    with pytest.raises(NotImplementedError):
        model.predict(plain())
    assert isinstance(model, SaliencyModel)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("center_bias", {"sigma_ratio": 0}, "model x: sigma_ratio is 0.0; it must be above 0"),
        ("center_bias", {"sigma": -1}, "model x: sigma is -1.0; it must be above 0"),
        ("center_bias", {"sigma": math.nan}, "sigma is nan; it must be finite"),
        (
            "center_bias",
            {"sigma": 0.25, "sigma_ratio": 0.5},
            (
                "center_bias: sigma and sigma_ratio are both set; keep sigma, a share of the "
                r"image's height and width \(sigma_ratio: the same of half of them\)"
            ),
        ),
        ("center_bias", {"requires_size": [3]}, r"requires_size is \[3\]; it must hold 2 values"),
        ("center_bias", {"requires_size": 0}, "requires_size is 0; the least allowed is 1"),
        ("blur_baseline", {"ksize": 0}, "ksize is 0; the least allowed is 1"),
        ("gold_standard", {"bandwidth_px": -1.0}, "bandwidth_px is -1.0; it must be above 0"),
    ],
)
def test_settings_that_make_no_sense(name, given, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build_model("x", name, given, "cpu")


def test_sizes() -> None:
    assert read_size(None, "x") is None
    assert read_size(False, "x") is None
    assert read_size(224, "x") == (224, 224)
    assert read_size([3, 5], "x") == (3, 5)
    for wrong in (True, [3, 0], [3, -1], [3, 4, 5], "ab", [3, True], 2.5, [2.5, 3], []):
        with pytest.raises(ConfigError, match=r"x is .*; it must be"):
            read_size(wrong, "x")
