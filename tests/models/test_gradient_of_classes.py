"""Interpretation of classifiers: slopes as differences, Grad-CAM by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from clickmap_cli.models.classifier import ClassifierNetwork, build_classifier
from clickmap_cli.models.gradient import METHODS, Noise, compute_class_saliency, compute_gradcam
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.seeding import generator

SIZE = (20, 24)


def network(channels=1, dtype=torch.float64) -> ClassifierNetwork:
    made = build_classifier(SIZE, channels, 3, in_size=3, seed=1)
    made.train()
    with torch.no_grad():
        for _ in range(5):
            made(torch.rand(8, channels, *SIZE))
    return made.to(dtype).eval()


def images(n=3, channels=1) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.random((n, channels, *SIZE)))


KEYS = ["a", "b", "c"]


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_differences(channels) -> None:
    made, shown = network(channels), images(3, channels)
    classes = torch.tensor([2, 0, 1])
    found = compute_class_saliency(made, shown, KEYS, classes)
    assert found.dtype == np.float32
    assert found.shape == (3, *SIZE)
    rng = np.random.default_rng(1)
    for at, label in enumerate(classes.tolist()):
        for _ in range(4):
            row, column = (int(rng.integers(side)) for side in SIZE)
            slopes = []
            for channel in range(channels):
                step = torch.zeros_like(shown[:1])
                step[0, channel, row, column] = 1e-6
                with torch.no_grad():
                    up, down = (made(shown[at : at + 1] + s)[0, label] for s in (step, -step))
                slopes.append(abs(float(up - down) / 2e-6))
            assert found[at, row, column] == pytest.approx(max(slopes), rel=1e-3, abs=1e-7)


def test_without_a_class_it_is_the_predicted_one() -> None:
    made, shown = network(), images()
    with torch.no_grad():
        predicted = made(shown).argmax(dim=1)
    for method in METHODS:
        np.testing.assert_array_equal(
            compute_class_saliency(made, shown, KEYS, None, method),
            compute_class_saliency(made, shown, KEYS, predicted, method),
        )
        np.testing.assert_array_equal(
            compute_class_saliency(made, shown, KEYS, 1, method),
            compute_class_saliency(made, shown, KEYS, torch.tensor([1, 1, 1]), method),
        )


def test_smoothgrad_without_noise_is_the_gradient() -> None:
    made, shown = network(), images()
    plain = compute_class_saliency(made, shown, KEYS, 1)
    found = compute_class_saliency(made, shown, KEYS, 1, "smoothgrad", Noise(4, 0.0))
    np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_smoothgrad_is_the_mean_over_copies_with_their_noise() -> None:
    made, shown = network(), images() * 3 - 1
    found = compute_class_saliency(made, shown, KEYS, 2, "smoothgrad", Noise(5, 0.2, 7))
    for at, key in enumerate(KEYS):
        rng = generator(7, key, "smoothgrad")
        one = shown[at : at + 1]
        spread = 0.2 * float(one.max() - one.min())
        total = torch.zeros_like(one)
        for _ in range(5):
            drawn = torch.from_numpy(rng.standard_normal((1, *SIZE), np.float32)).double()
            copy = (one + spread * drawn).requires_grad_()
            (slope,) = torch.autograd.grad(made(copy)[0, 2], copy)
            total += slope
        np.testing.assert_allclose(found[at], (total / 5).abs()[0, 0], rtol=1e-5, atol=1e-9)


def test_noise_never_depends_on_the_batch_or_the_order() -> None:
    made, shown = network(dtype=torch.float32), images().float()
    together = compute_class_saliency(made, shown, KEYS, 0, "smoothgrad", Noise(3))
    backwards = compute_class_saliency(made, shown.flip(0), KEYS[::-1], 0, "smoothgrad", Noise(3))
    np.testing.assert_allclose(backwards[::-1], together, rtol=1e-4, atol=1e-7)
    alone = compute_class_saliency(made, shown[1:2], ["b"], 0, "smoothgrad", Noise(3))
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-4, atol=1e-7)
    other = compute_class_saliency(made, shown[1:2], ["b"], 0, "smoothgrad", Noise(3, seed=1))
    assert (other != alone).any()


def test_gradcam_equals_a_computation_by_hand() -> None:
    made, shown = network(), images()
    found = compute_class_saliency(made, shown, KEYS, 1, "gradcam")
    assert found.min() >= 0
    assert found.max() > 0
    for at in range(3):
        # in pieces: what the last convolution gives, and everything after it
        inside = made.first(made.input_norm(shown[at : at + 1]))
        activations = made.second[0](inside).detach().requires_grad_()
        score = made.linear(made.second[1:](activations).flatten(1))[0, 1]
        (slopes,) = torch.autograd.grad(score, activations)
        a, s = activations.detach()[0].numpy(), slopes[0].numpy()
        coarse = np.maximum(sum(s[k].mean() * a[k] for k in range(len(a))), 0)
        np.testing.assert_allclose(found[at], bilinear(coarse, SIZE), atol=1e-6)


def bilinear(values, size) -> np.ndarray:
    """Every pixel from its four neighbours, borders repeated."""
    found = np.empty(size)
    for row in range(size[0]):
        for column in range(size[1]):
            places = []
            for at, side, whole in (
                (row, values.shape[0], size[0]), (column, values.shape[1], size[1]),
            ):  # fmt: skip
                place = max((at + 0.5) * side / whole - 0.5, 0)
                low = min(int(place), side - 1)
                places.append((low, min(low + 1, side - 1), place - low))
            (top, bottom, v), (left, right, h) = places
            upper = values[top, left] * (1 - h) + values[top, right] * h
            lower = values[bottom, left] * (1 - h) + values[bottom, right] * h
            found[row, column] = upper * (1 - v) + lower * v
    return found


class InPlace(nn.Module):
    """A ReLU that overwrites what the convolution gave, and a gate of a single position."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(1, 4, 3)
        self.relu = nn.ReLU(inplace=inplace)
        self.gate = nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, 2)

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        values = self.relu(self.conv(shown))
        gate = torch.sigmoid(self.gate(values.mean(dim=(2, 3), keepdim=True)))
        return self.last((values * gate).square().mean(dim=(2, 3)))


def test_layers_in_place_and_gates_change_nothing() -> None:
    shown = images().float()
    one, other = (compute_gradcam(InPlace(inplace).eval(), shown, 1) for inplace in (True, False))
    torch.testing.assert_close(one, other)
    made = InPlace(False).eval()
    a = made.conv(shown).detach().requires_grad_()
    values = a.relu()
    gate = torch.sigmoid(made.gate(values.mean(dim=(2, 3), keepdim=True)))
    scores = made.last((values * gate).square().mean(dim=(2, 3)))[:, 1]
    (slopes,) = torch.autograd.grad(scores.sum(), a)
    coarse = (slopes.mean(dim=(2, 3), keepdim=True) * a.detach()).sum(dim=1, keepdim=True)
    wanted = nn.functional.interpolate(coarse.clamp_min(0), SIZE, mode="bilinear")[:, 0]
    torch.testing.assert_close(one, wanted)
    assert float(one.max()) > 0


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("method", METHODS)
def test_any_network_has_a_map(name, method) -> None:
    made = build_classifier((48, 48), 1, 2, network=name)
    made.requires_grad_(False)
    shown = torch.rand(2, 1, 48, 48)
    found = compute_class_saliency(made, shown, ["a", "b"], 0, method, Noise(2))
    assert found.shape == (2, 48, 48)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0


def test_the_network_is_left_as_it_was() -> None:
    made = network()
    made.train()
    made.second.eval()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    modes = [module.training for module in made.modules()]
    for method in METHODS:
        compute_class_saliency(made, images(), KEYS, 0, method, Noise(2))
    assert [module.training for module in made.modules()] == modes
    assert all(value.equal(before[key]) for key, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())
    assert not any(module._forward_hooks for module in made.modules())


def test_a_spot_that_decides_is_found() -> None:
    """A score that is the sum inside a window has its gradient there and nowhere else."""

    class Window(nn.Module):
        def forward(self, shown: torch.Tensor) -> torch.Tensor:
            inside = shown[:, 0, 4:8, 10:15].sum(dim=(1, 2))
            return torch.stack((-inside, inside), dim=1)

    found = compute_class_saliency(Window(), images(), KEYS, 1)
    wanted = np.zeros(SIZE)
    wanted[4:8, 10:15] = 1
    np.testing.assert_array_equal(found, [wanted] * 3)


def test_what_cannot_be_done() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(SIZE[0] * SIZE[1], 2)).double()
    with pytest.raises(ConfigError, match="no convolution"):
        compute_class_saliency(flat, images(), KEYS, 0, "gradcam")
    with pytest.raises(ConfigError, match="must be one of gradient, smoothgrad, gradcam"):
        compute_class_saliency(flat, images(), KEYS, 0, "lime")
