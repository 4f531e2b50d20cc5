"""Classifiers of attention images: layers by hand, sizes by formula, timm networks by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from clickmap_cli.models.classifier import (
    build_classifier,
    feature_size,
    fit_logistic,
)
from clickmap_cli.runtime.errors import ConfigError, DataError


def base(size=(20, 23), channels=1, n_classes=2, **given) -> torch.nn.Module:
    return build_classifier(size, channels, n_classes, **given)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_the_size_by_formula_is_that_of_a_run(height, width) -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 3, 1), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(1, 1, 5, 2), torch.nn.MaxPool2d(2),
    )  # fmt: skip
    try:
        with torch.no_grad():
            wanted = tuple(layers(torch.zeros(1, 1, height, width)).shape[-2:])
    except RuntimeError:  # nothing is left
        assert min(height, width) < 16
        with pytest.raises(ConfigError, match="too small; they must have 16 x 16"):
            feature_size((height, width))
    else:
        assert feature_size((height, width)) == wanted


def test_the_layers_are_those_of_the_study() -> None:
    network = base((128, 128), channels=3, n_classes=2, in_size=12, dropout=0.3)
    kinds = [type(module).__name__ for module in network.modules() if not list(module.children())]
    block = ["Conv2d", "ReLU", "MaxPool2d", "Dropout", "BatchNorm2d"]
    assert kinds == ["BatchNorm2d", *block, *block, "Linear"]
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert not any(name.startswith("input_norm") for name in shapes)
    assert shapes["first.0.weight"] == (12, 3, 3, 3)
    assert shapes["second.0.weight"] == (24, 12, 5, 5)
    assert shapes["linear.weight"] == (2, 24 * 15 * 15)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.stride for c in convolutions] == [(1, 1), (2, 2)]
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


def plain(network, image) -> np.ndarray:
    """The network in evaluation mode, in loops and float64."""
    state = {k: v.double().numpy() for k, v in network.state_dict().items()}

    def norm(values, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        found = (values - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
        if f"{name}.weight" in state:
            found = found * state[f"{name}.weight"][:, None, None]
            found = found + state[f"{name}.bias"][:, None, None]
        return found

    def block(values, name, kernel, stride):
        weight, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
        height, width = ((side - kernel) // stride + 1 for side in values.shape[1:])
        made = np.empty((len(weight), height, width))
        for row in range(height):
            for column in range(width):
                part = values[:, stride * row :, stride * column :][:, :kernel, :kernel]
                made[:, row, column] = np.tensordot(weight, part, axes=3) + bias
        made = np.maximum(made, 0)
        rows, columns = height // 2, width // 2
        cut = made[:, : 2 * rows, : 2 * columns].reshape(len(weight), rows, 2, columns, 2)
        return norm(cut.max(axis=(2, 4)), f"{name}.4")

    values = norm(image, "input_norm")
    values = block(block(values, "first", 3, 1), "second", 5, 2)
    return state["linear.weight"] @ values.ravel() + state["linear.bias"]


@pytest.mark.parametrize(("size", "channels"), [((16, 16), 1), ((21, 18), 3)])
def test_scores_equal_a_plain_computation(size, channels) -> None:
    network = base(size, channels, 3, in_size=2, seed=4)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((4, channels, *size))).float()
    network.train()
    network(images)  # moves the running means
    network.eval()
    with torch.no_grad():
        found = network(images)
    for image, scores in zip(images.double().numpy(), found, strict=True):
        np.testing.assert_allclose(scores, plain(network, image), atol=1e-4)


def test_brightness_and_contrast_of_a_batch_are_taken_out_in_training() -> None:
    network = base(dropout=0.0)
    network.train()
    images = torch.rand(5, 1, 20, 23)
    with torch.no_grad():
        torch.testing.assert_close(
            network(images), network(images * 0.3 + 0.1), atol=2e-3, rtol=1e-3
        )


def test_weights_follow_the_seed_and_nothing_else() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = base(seed=1).state_dict()
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(6)
    two, other = base(seed=1).state_dict(), base(seed=2).state_dict()
    assert all(one[key].equal(two[key]) for key in one)
    assert not one["linear.weight"].equal(other["linear.weight"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": "timm"}, "has no weights to begin with"),
        ({"weights_path": "x.pth"}, "has no weights to begin with"),
        ({"network": "no_such_net"}, "timm has no network 'no_such_net'"),
        ({"network": "test_resnet", "weights": "imagenet"}, "it must be null, none or timm"),
    ],
)
def test_settings_that_are_wrong(given, message) -> None:
    with pytest.raises(ConfigError, match=message):
        base(**given)


def test_weights_that_are_not_there() -> None:
    with pytest.raises(DataError, match=r"no weights at none\.pth"):
        base(network="test_resnet", weights_path="none.pth")


# --- timm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_network_of_timm_takes_grey_or_colour(name, channels) -> None:
    network = base((48, 64), channels, 3, network=name, seed=2)
    images = torch.rand(2, channels, 48, 64)
    network.eval()
    with torch.no_grad():
        scores = network(images)
    assert scores.shape == (2, 3)
    again = base((48, 64), channels, 3, network=name, seed=2).eval()
    with torch.no_grad():
        assert again(images).equal(scores)


def test_a_checkpoint_gives_everything_but_the_last_layer(tmp_path) -> None:
    import timm

    torch.manual_seed(0)
    source = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    wanted = source.state_dict()
    for channels in (1, 3):
        made = base((48, 48), channels, 2, network="test_resnet", weights_path=str(path))
        state = made.network.state_dict()
        first = wanted["conv1.0.weight"]
        first = first.sum(dim=1, keepdim=True) if channels == 1 else first
        torch.testing.assert_close(state["conv1.0.weight"], first)
        assert state["layer4.0.conv1.weight"].equal(wanted["layer4.0.conv1.weight"])
        assert state["fc.weight"].shape == (2, wanted["fc.weight"].shape[1])


def test_images_are_normalised_as_the_weights_were() -> None:
    colour = base((48, 48), 3, 2, network="test_resnet")
    torch.testing.assert_close(colour.mean.flatten(), torch.tensor([0.5, 0.5, 0.5]))
    grey = base((48, 48), 1, 2, network="test_resnet")
    assert grey.mean.shape == (1, 1, 1)
    shown = []
    grey.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    image = torch.rand(1, 1, 48, 48)
    grey.eval()(image)
    torch.testing.assert_close(shown[0], (image - 0.5) / 0.5)


def test_weights_that_do_not_fit_and_images_that_do_not(tmp_path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"conv1.0.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(DataError, match=r"weights.pth: not the weights of .*it lacks"):
        base((48, 48), 1, 2, network="test_resnet", weights_path=str(path))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"weights.pth"):
        base((48, 48), 1, 2, network="test_resnet", weights_path=str(path))
    with pytest.raises(
        ConfigError, match=r"network test_vit: size is \[45, 45\]; its sides must be"
    ):
        base((45, 45), 1, 2, network="test_vit")


def data(n=40, features=3, classes=2, seed=0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unlike scales, labels that follow them in part, weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (n, features)) * 10.0 ** np.arange(features) + 5
    towards = rng.normal(0, 1, (features, classes))
    scores = ((x - x.mean(0)) / x.std(0)) @ towards + rng.gumbel(0, 1, (n, classes))
    labels = scores.argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return x, labels, rng.uniform(0.5, 2, n)


def plain_loss(flat, x, labels, weights, classes, l2) -> float:
    """The minimised objective, in loops: one difference for two classes, a column each for more."""
    columns = 1 if classes == 2 else classes
    w = flat.reshape(x.shape[1] + 1, columns)
    total = 0.0
    for row, label, weight in zip(x, labels, weights, strict=True):
        free = [float(row @ w[:-1, k] + w[-1, k]) for k in range(columns)]
        scores = [0.0, free[0]] if classes == 2 else free
        top = max(scores)
        total -= weight * (
            scores[label] - top - math.log(sum(math.exp(s - top) for s in scores))
        )  # fmt: skip
    return total + l2 / 2 * float((w[:-1] ** 2).sum())


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l2", [0.1, 1.0, 30.0])
def test_it_is_the_minimum_of_what_is_stated(classes, l2) -> None:
    x, labels, weights = data(30, 2, classes)
    fitted = fit_logistic(x, labels, weights, l2)[-1]
    found = np.vstack((fitted.coef_.T, fitted.intercept_))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    columns = 1 if classes == 2 else classes
    here = plain_loss(found.ravel(), z, labels, weights, classes, l2)
    arguments = (z, labels, weights, classes, l2)
    least = minimize(plain_loss, np.zeros(3 * columns), arguments, "BFGS", options={"gtol": 1e-7})
    assert here == pytest.approx(least.fun, abs=1e-7)
    for at in range(found.size):  # no direction goes down
        step = np.zeros(found.size)
        step[at] = 1e-4
        for sign in (1, -1):
            moved = plain_loss(found.ravel() + sign * step, *arguments)
            assert moved >= here - 1e-10
        slope = (
            plain_loss(found.ravel() + step, *arguments)
            - plain_loss(found.ravel() - step, *arguments)
        ) / 2e-4
        assert slope == pytest.approx(0, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(0, 20), st.sampled_from([1e-3, 1.0, 100.0]))
def test_probabilities_sum_to_one_and_their_means_are_the_shares(classes, seed, l2) -> None:
    """Constants are free, so at the optimum the mean prediction of a class is its share."""
    x, labels, weights = data(25, 2, classes, seed)
    found = fit_logistic(x, labels, weights, l2).predict_proba(x)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    shares = [weights[labels == k].sum() / weights.sum() for k in range(classes)]
    np.testing.assert_allclose(weights @ found / weights.sum(), shares, atol=1e-6)


def test_scale_order_and_shift_of_the_features_change_nothing() -> None:
    x, labels, _ = data(30, 3, 3)
    found = fit_logistic(x, labels).predict_proba(x)
    changed = x[:, ::-1] * [3.0, 1e-6, 1e4] - [1, 2, 3]
    np.testing.assert_allclose(
        fit_logistic(changed, labels).predict_proba(changed), found, atol=1e-7
    )
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(
        fit_logistic(x[order], labels[order]).predict_proba(x), found, atol=1e-9
    )


def test_standardisation_knows_the_training_data_alone() -> None:
    x, labels, _ = data()
    found = fit_logistic(x, labels)
    elsewhere = x * 100 - 7
    regression = found[-1]
    standard = (elsewhere - x.mean(axis=0)) / x.std(axis=0)
    plain = 1 / (1 + np.exp(-(standard @ regression.coef_[0] + regression.intercept_[0])))
    np.testing.assert_allclose(found.predict_proba(elsewhere)[:, 1], plain, atol=1e-12)


def test_a_feature_that_never_changes_and_classes_that_are_apart() -> None:
    x = np.array([[0.1, -3.0], [0.1, -2.0], [0.1, 2.0], [0.1, 3.0]])
    found = fit_logistic(x, np.array([0, 0, 1, 1]), l2=1e-6)
    assert found.predict(x).tolist() == [0, 0, 1, 1]
    assert np.isfinite(found[-1].coef_).all()
    np.testing.assert_allclose(found[-1].coef_[0, 0], 0, atol=1e-9)
