"""Centre biases as log densities: uniform, from files, and of the other images' fixations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import zoom
from scipy.special import logsumexp

from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.models.deepgaze.model import read_center_bias
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import gaussian_sum
from tests.helpers.payloads import Call
from tests.helpers.tables import object_array

SIZE = (30, 41)


def image(image_id="a", size=SIZE, n=5, seed=0) -> FileStimulus:
    rng = np.random.default_rng(seed)
    points = Points(rng.uniform(0, size[1], n), rng.uniform(0, size[0], n))
    return FileStimulus(image_id=image_id, size=size, points=points)


def total(values: np.ndarray) -> float:
    return float(np.exp(values.astype(np.float64)).sum())


def test_uniform() -> None:
    bias = read_center_bias("uniform", "x")
    found = bias.log_density(image(), (7, 9))
    assert found.shape == (7, 9)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, -np.log(63), rtol=1e-6)
    assert bias.digest(image("a")) == bias.digest(image("b", seed=1))


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(768, 1024), (683, 1024), (64, 71), (100, 100), (101, 1500)])
@pytest.mark.parametrize("shape", [(1024, 1024), (100, 64), (7, 9)])
def test_a_file_is_zoomed_and_scaled_again(tmp_path, size, shape) -> None:
    values = np.random.default_rng(0).normal(size=shape) * 3
    np.save(tmp_path / "b.npy", values)
    found = read_center_bias(str(tmp_path / "b.npy"), "x").log_density(image(), size)
    factors = (size[0] / shape[0], size[1] / shape[1])
    wanted = zoom(values, factors, order=0, mode="nearest")
    assert found.shape == wanted.shape == size
    np.testing.assert_allclose(found, wanted - logsumexp(wanted), rtol=0, atol=2e-6)
    assert total(found) == pytest.approx(1, abs=1e-5)


def test_a_file_counts_by_its_content(tmp_path) -> None:
    for name, value in (("a", 0.0), ("b", 0.0), ("c", 1.0)):
        np.save(tmp_path / f"{name}.npy", np.array([[value, 0.0], [0.0, 0.0]]))
    a, b, c = (
        read_center_bias(str(tmp_path / f"{name}.npy"), "x").digest(image()) for name in "abc"
    )
    assert a == b != c


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(3), "height, width"),
        (np.zeros((0, 3)), "height, width"),
        (np.zeros((2, 2, 2)), "height, width"),
        (np.array([[0.0, np.nan]]), "NaN, infinite"),
        (np.array([[0.0, -np.inf]]), "NaN, infinite"),
        (np.array([["a", "b"]]), "NaN, infinite"),
        (np.array([[1j, 0]]), "NaN, infinite"),
        (object_array([Call(print, ["ran"])]), "b.npy"),
    ],
)
def test_files_that_hold_something_else(tmp_path, values, says, capsys) -> None:
    np.save(tmp_path / "b.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=says) as caught:
        read_center_bias(str(tmp_path / "b.npy"), "x")
    assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "says"),
    [("centre", "centerbias is 'centre'; it must be"), (None, "centerbias is None"),
     (3, "centerbias is 3")],
)  # fmt: skip
def test_settings_that_are_nothing(value, says) -> None:
    with pytest.raises(ConfigError, match=says):
        read_center_bias(value, "deepgaze")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"deepgaze: no centerbias at none\.npy"):
        read_center_bias("none.npy", "deepgaze")


# --- fitted --------------------------------------------------------------------------------------


def fitted(stimuli, at=0):
    bias = read_center_bias("fitted", "deepgaze")
    bias.see(stimuli)
    return bias, stimuli[at]


def test_fitted_is_the_others_kernel_density_and_a_little_of_uniform() -> None:
    size = (33, 27)
    bias, stimulus = fitted([image(), image("b", (60, 82), 7, 1), image("c", (21, 50), 4, 2)])
    x, y = [], []
    for other, (h, w) in (((1), (60, 82)), ((2), (21, 50))):
        points = image(str(other), (h, w), 7 if other == 1 else 4, other).points
        x += [np.floor(v * size[1] / w) for v in points.x]
        y += [np.floor(v * size[0] / h) for v in points.y]
    density = gaussian_sum(np.array(x), np.array(y), size, 0.04 * size[1])
    wanted = 0.99 * density / density.sum() + 0.01 / (size[0] * size[1])
    found = bias.log_density(stimulus, size)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)), wanted, rtol=1e-5)
    assert total(found) == pytest.approx(1, abs=1e-5)


def test_fitted_is_what_information_gain_is_measured_against() -> None:
    stimuli = [image(str(at), SIZE if at % 2 else (40, 30), 6, at) for at in range(5)]
    bias, _ = fitted(stimuli)
    others = OtherFixations(stimuli, 0.04)
    for stimulus in stimuli:
        around = others.around(stimulus)
        found = bias.log_density(stimulus, stimulus.size).ravel()[around.points[0]]
        np.testing.assert_allclose(found / np.log(2), around.baseline, rtol=1e-5)


def test_an_images_own_fixations_do_not_matter() -> None:
    one, stimulus = fitted([image(seed=0), image("b", seed=1)])
    other, changed = fitted([image(seed=5, n=9), image("b", seed=1)])
    np.testing.assert_array_equal(one.log_density(stimulus, SIZE), other.log_density(changed, SIZE))
    third, again = fitted([image(seed=0), image("b", seed=2)])
    assert not np.array_equal(one.log_density(stimulus, SIZE), third.log_density(again, SIZE))


def test_the_digest_moves_with_the_others() -> None:
    def digest(*stimuli):
        bias, first = fitted(list(stimuli))
        return bias.digest(first)

    base = digest(image(), image("b", seed=1))
    assert digest(image(), image("b", seed=1)) == base
    others = [
        digest(image(), image("b", seed=2)),
        digest(image(), image("b", seed=1), image("c", seed=2)),
        digest(image(), image("b", (30, 42), seed=1)),
        digest(image("b", seed=1), image()),
    ]
    assert len({base, *others}) == 5


def test_each_data_set_has_its_own() -> None:
    sets = [[image("a"), image("b", seed=seed)] for seed in (1, 2)]
    bias = read_center_bias("fitted", "x")
    for stimuli in sets:
        bias.see(stimuli)
    for stimuli in sets:
        alone, _ = fitted(stimuli)
        for stimulus in stimuli:
            assert bias.digest(stimulus) == alone.digest(stimulus)
            assert np.array_equal(
                bias.log_density(stimulus, SIZE), alone.log_density(stimulus, SIZE)
            )
    assert bias.digest(sets[0][0]) != bias.digest(sets[1][0])


def test_nothing_to_fit_is_a_sentence() -> None:
    blank = FileStimulus(image_id="c", size=SIZE)
    bias, stimulus = fitted([image(n=3), image("b", n=0), blank])
    for ask in (bias.digest, lambda s: bias.log_density(s, SIZE)):
        with pytest.raises(DataError, match="a: no other image has fixations"):
            ask(stimulus)
        with pytest.raises(DataError, match="a: deepgaze has centerbias: fitted, and no data set"):
            ask(image())
    bias, stimulus = fitted([blank, image()])  # an image without fixations may have one
    assert total(bias.log_density(stimulus, SIZE)) == pytest.approx(1, abs=1e-5)
