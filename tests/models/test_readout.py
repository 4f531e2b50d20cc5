"""The trainable readout: densities, blocks, weights that come back, settings that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clickmap_cli.models.building import build_model
from clickmap_cli.models.readout import Finalizer
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.training.checkpoints import save_weights
from tests.training.tiny import Spot

SMALL = {"backbone": "resnet10t", "layers": ["layer1", "layer2"], "weights": "none"}


def made(**settings):
    return build_model("readout", "readout", {**SMALL, **settings}, "cpu")


def test_predictions_are_log_densities_of_the_images_size() -> None:
    model = made(requires_size=[32, 48]).model
    found = model.predict(Spot("s", 1, size=(64, 96)))
    assert found.shape == (32, 48)
    assert float(np.exp(found).sum()) == pytest.approx(1, abs=1e-4)


def test_a_flat_readout_leaves_the_centre_bias() -> None:
    finalizer = Finalizer(1.0, "gaussian", 0.25)
    found = finalizer(torch.zeros(1, 4, 6), (16, 24)).exp()[0].detach().numpy()
    y = (np.arange(16) + 0.5) / 16 - 0.5
    x = (np.arange(24) + 0.5) / 24 - 0.5
    wanted = np.exp(-0.5 * ((y[:, None] / 0.25) ** 2 + (x / 0.25) ** 2))
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-4)
    flat = Finalizer(1.0, "uniform", 0.25)(torch.zeros(1, 4, 6), (8, 8)).exp()
    np.testing.assert_allclose(flat.detach().numpy(), 1 / 64, rtol=1e-5)


def test_every_parameter_is_in_one_block() -> None:
    network = made().model.network()
    named = [id(p) for parameters in network.blocks().values() for p in parameters]
    assert sorted(named) == sorted(id(p) for p in network.parameters())
    assert list(network.blocks()) == ["backbone", "saliency", "finalizer"]


def test_saved_weights_come_back_and_count_in_the_cache_key(tmp_path) -> None:
    spot = Spot("s", 1, size=(32, 32))
    first = made(seed=3)
    path = tmp_path / "best.pth"
    save_weights(path, first.model.network(), {"epoch": 1})
    again = made(weights=None, weights_path=str(path))
    assert np.array_equal(first.model.predict(spot), again.model.predict(spot))
    assert again.identity != first.identity != made(seed=4).identity
    assert not again.model.notices
    assert "random" in first.model.notices[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ["layer9"]}, "no layer 'layer9'"),
        ({"layers": []}, "readout: layers is empty"),
        ({"centerbias": "gauss"}, "Did you mean 'gaussian'"),
        (
            {"centerbias_sigma": 0.2, "sigma_ratio": 0.4},
            "readout: centerbias_sigma and sigma_ratio are both set",
        ),
        ({"centerbias_sigma": 0}, "centerbias_sigma is 0.0; it must be above 0"),
        ({"blur_sigma": 0}, "blur_sigma is 0.0; it must be above 0"),
        ({"backbone": "resnet10"}, "timm has no network 'resnet10'"),
        ({"weights": None}, "set weights_path"),
        ({"layers": ["global_pool"]}, "gives no .*features"),
    ],
)
def test_wrong_settings_are_named(settings, message) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        made(**settings).model.network()


@pytest.mark.parametrize(
    ("given", "share"),
    [({}, 0.25), ({"centerbias_sigma": 0.1}, 0.1), ({"sigma_ratio": 0.1}, 0.05)],
)
def test_the_width_of_the_centre_bias_has_the_words_of_center_bias(given, share) -> None:
    model = made(**given).model
    widths = model.network().finalizer.log_widths.exp().detach()
    np.testing.assert_allclose(widths, [share, share], rtol=1e-6)
    assert any("sigma_ratio 0.1 is a share of half" in text for text in model.notices) == (
        "sigma_ratio" in given
    )
