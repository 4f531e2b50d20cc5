"""Derivatives of a classifier against differences, and sums that must come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.building import build_model
from clickmap_cli.models.gradient import (
    Gradient,
    compute_input_gradient,
    compute_integrated_gradients,
    compute_smoothgrad,
)
from clickmap_cli.runtime.errors import ConfigError
from tests.datasets.scenes import picture

SIDES = (32, 48)


def model_of(model="test_convnext", requires_size=SIDES, **given) -> Gradient:
    return Gradient(model, "none", requires_size=list(requires_size), device="cpu", **given)


def shown(folder, n=1, size=SIDES) -> list[FileStimulus]:
    for seed in range(n):
        picture(folder / f"{seed}.png", size, seed)
    return [FileStimulus(str(seed), size, folder / f"{seed}.png") for seed in range(n)]


def rgb(stimulus) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(stimulus.image(), -1, 0).astype(np.float64))[None]


def scores(model, images) -> torch.Tensor:
    """(n, classes) of RGB in 0..1, in double precision, by timm's network itself."""
    network = model.network().double()
    mean, std = (torch.tensor(v).double()[:, None, None] for v in (model._timm.mean,
                                                                   model._timm.std))  # fmt: skip
    with torch.no_grad():
        return network.network((images - mean) / std)


@pytest.mark.parametrize(("name", "sides"), [("test_convnext", SIDES), ("test_vit", SIDES)])
@pytest.mark.parametrize("index", [None, 3])
def test_gradients_are_differences(tmp_path, name, sides, index) -> None:
    (stimulus,) = shown(tmp_path)
    model = model_of(name, sides, class_index=index)
    found = model.predict(stimulus)
    image = rgb(stimulus)
    chosen = int(scores(model, image).argmax()) if index is None else index
    rng = np.random.default_rng(0)
    for _ in range(6):
        row, column = (int(rng.integers(side)) for side in sides)
        slopes = []
        for channel in range(3):
            step = torch.zeros_like(image)
            step[0, channel, row, column] = 1e-5
            up, down = (scores(model, image + s)[0, chosen] for s in (step, -step))
            slopes.append(float(up - down) / 2e-5)
        wanted = max(abs(slope) for slope in slopes)
        assert found[row, column] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("reduce", ["max", "mean", "l2"])
def test_magnitudes_over_the_channels(tmp_path, reduce) -> None:
    (stimulus,) = shown(tmp_path)
    model = model_of(reduce=reduce, class_index=2)
    network = model.network()
    slopes = (
        compute_input_gradient(lambda x: network(x)[:, 2], rgb(stimulus).float())[0]
        .double()
        .numpy()
    )
    wanted = {
        "max": np.abs(slopes).max(axis=0),
        "mean": np.abs(slopes).mean(axis=0),
        "l2": np.sqrt((slopes**2).sum(axis=0)),
    }[reduce]
    np.testing.assert_allclose(model.predict(stimulus), wanted, rtol=1e-4, atol=1e-7)
    assert all(not value.requires_grad for value in network.parameters())


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_integrated_gradients_add_up_to_the_score(tmp_path, name) -> None:
    """Sundararajan et al. (2017): their sum is score(image) - score(black)."""
    stimuli = shown(tmp_path, 2)
    model = model_of(name)
    network = model.network().double()
    images = torch.cat([rgb(stimulus) for stimulus in stimuli])

    def score(x):
        return network(x)[:, 4]

    wanted = (scores(model, images) - scores(model, torch.zeros_like(images)))[:, 4]
    errors = []
    for steps in (8, 128):
        sums = compute_integrated_gradients(score, images, steps).sum(dim=(1, 2, 3))
        errors.append(float((sums - wanted).abs().max() / wanted.abs().max()))
    assert errors[1] < 2e-3
    assert errors[1] <= errors[0]


def test_integrated_gradients_of_a_polynomial() -> None:
    """Of x^2 it is x^2, and the midpoint rule is exact for a slope that is linear."""
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    found = compute_integrated_gradients(lambda x: x.square().sum(dim=(1, 2, 3)), images, 1)
    np.testing.assert_allclose(found, images.square(), rtol=1e-12)


def test_integrated_map_and_its_steps(tmp_path) -> None:
    (stimulus,) = shown(tmp_path)
    model = model_of(method="integrated", steps=3, class_index=1)
    network, image = model.network(), rgb(stimulus).float()
    slopes = sum(
        compute_input_gradient(lambda x: network(x)[:, 1], image * part)
        for part in (1 / 6, 3 / 6, 5 / 6)
    )
    wanted = (image * slopes / 3).abs().amax(dim=1)[0]
    np.testing.assert_allclose(model.predict(stimulus), wanted, rtol=1e-4, atol=1e-7)


# --- noise -------------------------------------------------------------------------------------


def test_smoothgrad_is_the_mean_over_noisy_copies() -> None:
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    noises = [torch.randn(2, 3, 4, 5, dtype=torch.float64) for _ in range(3)]
    found = compute_smoothgrad(lambda x: (x**3).sum(dim=(1, 2, 3)), images, iter(noises))
    wanted = sum(3 * (images + noise) ** 2 for noise in noises) / 3
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_the_noise_has_the_size_that_is_set() -> None:
    model = model_of("test_resnet", method="smoothgrad", noise=0.4, n_samples=20)
    model._keys = ["a", "b"]
    drawn = torch.stack(list(model._noise.copies(torch.zeros(2, 3, 40, 40), model._keys)))
    assert drawn.shape == (20, 2, 3, 40, 40)
    assert float(drawn.std()) == pytest.approx(0.4, rel=0.01)
    assert float(drawn.mean()) == pytest.approx(0, abs=0.005)
    flat = drawn.movedim(1, 0).reshape(40, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(40)).max() < 0.1


def test_noise_never_depends_on_batches_or_order(tmp_path) -> None:
    stimuli = shown(tmp_path, 3)
    model = model_of(method="smoothgrad", n_samples=3, batch_size=3)
    together = model.predict_batch(stimuli)
    backwards = model.predict_batch(stimuli[::-1])[::-1]
    for stimulus, found, other in zip(stimuli, together, backwards, strict=True):
        alone = model.predict(stimulus)
        tolerance = 1e-4 * alone.max()
        np.testing.assert_allclose(found, alone, atol=tolerance)
        np.testing.assert_allclose(other, alone, atol=tolerance)
        np.testing.assert_array_equal(model.predict(stimulus), alone)
        again = model_of(method="smoothgrad", n_samples=3)
        np.testing.assert_array_equal(again.predict(stimulus), alone)


def test_noise_moves_with_seed_and_image_and_the_key_with_it(tmp_path) -> None:
    (stimulus,) = shown(tmp_path)
    renamed = FileStimulus("other", SIDES, stimulus.image_path)
    torch.save(model_of().network().network.state_dict(), tmp_path / "w.pth")

    def made(seed, method="smoothgrad"):
        return Gradient("test_convnext", None, str(tmp_path / "w.pth"), list(SIDES), method,
                        n_samples=2, seed=seed, device="cpu")  # fmt: skip

    base = made(0).predict(stimulus)
    assert not np.allclose(base, made(1).predict(stimulus), rtol=1e-3)
    assert not np.allclose(base, made(0).predict(renamed), rtol=1e-3)
    assert made(0).depends_on(stimulus) != made(0).depends_on(renamed)
    plain = made(0, "gradient")
    assert plain.depends_on(stimulus) == plain.depends_on(renamed) == stimulus.image_digest()
    np.testing.assert_array_equal(plain.predict(stimulus), made(1, "gradient").predict(renamed))


def test_tiny_noise_gives_the_gradient(tmp_path) -> None:
    (stimulus,) = shown(tmp_path)
    found = model_of(method="smoothgrad", n_samples=2, noise=1e-6).predict(stimulus)
    wanted = model_of().predict(stimulus)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.max())


# --- the rest ----------------------------------------------------------------------------------


def test_maps_may_be_blurred(tmp_path) -> None:
    (stimulus,) = shown(tmp_path)
    wanted = gaussian_filter(model_of().predict(stimulus), 2.5, mode="mirror")
    np.testing.assert_allclose(model_of(smooth_sigma=2.5).predict(stimulus), wanted, rtol=1e-6)


def test_images_are_brought_to_the_networks_size(tmp_path) -> None:
    (stimulus,) = shown(tmp_path, size=(20, 70))
    assert model_of().predict(stimulus).shape == SIDES
    assert Gradient("test_resnet", "none", device="cpu").predict(stimulus).shape == (160, 160)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "smooth"}, "method is 'smooth'; it must be one of gradient, smoothgrad, int"),
        ({"reduce": "sum"}, "reduce is 'sum'; it must be one of max, mean, l2"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"noise": 0}, "noise is 0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"smooth_sigma": -1}, "smooth_sigma is -1"),
        ({"class_index": -1}, "class_index is -1; the classes are 0 to 999"),
        ({"model": "vit_small_patch14_dinov2"}, "scores no classes"),
        ({"model": "resnet5O"}, "timm has no network 'resnet5O'. Did you mean"),
        ({"weights": None}, "gradient: set weights_path"),
        ({"noise": "much"}, "model x: "),
    ],
)
def test_settings_that_make_no_sense(given, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build_model("x", "gradient", {"weights": "none", **given}, "cpu")


def test_random_weights_are_announced() -> None:
    (notice,) = model_of().notices
    assert notice.startswith("gradient: test_convnext has random weights")
