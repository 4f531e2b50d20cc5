"""Models that stretch images themselves: their maps come back to oblong images, others do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.building import build_model
from clickmap_cli.scoring.predictions import Predictor
from tests.datasets.scenes import picture
from tests.models.test_torch_model import scripted

SIZE = (45, 70)
TINY_VIT = {"model": "vit_tiny_patch16_224", "weights": "none", "requires_size": [32, 32]}


def predicted(tmp_path, name: str, settings):
    path = tmp_path / "a.png"
    picture(path, SIZE)
    built = build_model("m", name, settings, "cpu")
    (found,) = Predictor(built, None, postprocess=True).predict([FileStimulus("a", SIZE, path)])
    return found


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("center_bias", {"requires_size": [20, 20]}),
        ("msi_net", {"weights": "none", "pad": False, "requires_size": None}),
        ("msi_net", {"weights": "none", "pad": False, "requires_size": [32, 32]}),
        ("msi_net", {"weights": "none", "pad": True, "requires_size": [32, 32]}),
        ("vit_attention", TINY_VIT),
        ("gradient", {"model": "test_resnet", "weights": "none", "requires_size": [64, 64]}),
    ],
)
def test_a_stretched_image_has_a_map_of_its_own_size(tmp_path, name, settings) -> None:
    found = predicted(tmp_path, name, settings)
    assert found.reason == ""
    assert found.maps[0].shape == SIZE


class _Fixed(torch.nn.Module):
    """Returns a square map, whatever it is shown."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.mean(dim=1), (16, 16))


@pytest.mark.parametrize("size", [None, [32, 32]])
def test_a_network_must_say_that_it_stretches(tmp_path, size) -> None:
    path = scripted(tmp_path / "net.pt", _Fixed())
    found = predicted(tmp_path, "torchscript", {"weights_path": path, "requires_size": size})
    if size is None:
        assert "a map of 16 x 16 fits neither the image" in found.reason
    else:
        assert found.reason == ""
        assert np.isfinite(found.maps[0]).all()
