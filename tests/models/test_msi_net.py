"""MSI-Net against its paper's layers, written out plainly; its weights' files; its frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.building import build_model
from clickmap_cli.models.msi_net import (
    MsiNet,
    MsiNetModel,
    double_size,
    from_tensorflow,
    place_image,
    scale_to_one,
)
from clickmap_cli.models.weights import load_state
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import picture

N_PARAMETERS = 24_934_209
SHAPES = {
    "conv1.conv1_1": (64, 3, 3), "conv1.conv1_2": (64, 64, 3),
    "conv2.conv2_1": (128, 64, 3), "conv2.conv2_2": (128, 128, 3),
    "conv3.conv3_1": (256, 128, 3), "conv3.conv3_2": (256, 256, 3), "conv3.conv3_3": (256, 256, 3),
    "conv4.conv4_1": (512, 256, 3), "conv4.conv4_2": (512, 512, 3), "conv4.conv4_3": (512, 512, 3),
    "conv5.conv5_1": (512, 512, 3), "conv5.conv5_2": (512, 512, 3), "conv5.conv5_3": (512, 512, 3),
    "aspp.conv1_1": (256, 1280, 1), "aspp.conv1_2": (256, 1280, 3), "aspp.conv1_3": (256, 1280, 3),
    "aspp.conv1_4": (256, 1280, 3), "aspp.conv1_5": (256, 1280, 1), "aspp.conv2": (256, 1280, 1),
    "decoder.conv1": (128, 256, 3), "decoder.conv2": (64, 128, 3), "decoder.conv3": (32, 64, 3),
    "decoder.conv4": (1, 32, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> MsiNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = MsiNet().eval()
        for name, value in made.named_parameters():  # weights that keep the numbers' size
            torch.nn.init.normal_(value, std=0.05 if name.endswith("bias") else
                                  (2 / value[0].numel()) ** 0.5)  # fmt: skip
    return made.requires_grad_(False)


def test_layers_and_parameters(network) -> None:
    assert sum(value.numel() for value in network.parameters()) == N_PARAMETERS
    wanted = {}
    for name, (after, before, size) in SHAPES.items():
        wanted[f"{name}.weight"] = (after, before, size, size)
        wanted[f"{name}.bias"] = (after,)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == wanted


def test_doubling_as_tensorflow_1_does() -> None:
    """Target i comes from i / 2: the pixel there, and the next one by what is left over."""
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    wanted = np.zeros((2, 3, 8, 10))
    for i in range(8):
        for j in range(10):
            row, column, down, right = i // 2, j // 2, (i % 2) / 2, (j % 2) / 2
            low, far = min(row + 1, 3), min(column + 1, 4)
            above = values[..., row, column] * (1 - right) + values[..., row, far] * right
            below = values[..., low, column] * (1 - right) + values[..., low, far] * right
            wanted[..., i, j] = above * (1 - down) + below * down
    found = double_size(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    for corners in (True, False):  # a plain resize is something else
        other = functional.interpolate(
            torch.from_numpy(values), scale_factor=2, mode="bilinear", align_corners=corners
        ).numpy()
        assert np.abs(found - other).max() > 0.1


def conv(x, state, name, dilation=1):
    """Explicit zeros around, then a convolution without padding."""
    weight = state[f"{name}.weight"]
    reach = dilation * (weight.shape[-1] // 2)
    x = functional.pad(x, (reach,) * 4)
    return functional.conv2d(x, weight, state[f"{name}.bias"], dilation=dilation)


def plain_map(state, image: torch.Tensor) -> torch.Tensor:
    """(h, w) of one (3, h, w) image, from the description of the network."""
    x = image - torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64)[:, None, None]
    x = x[None]
    pooled = {}
    for block, depth in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for at in range(1, depth + 1):
            x = conv(x, state, f"conv{block}.conv{block}_{at}", 2 if block == 5 else 1).relu()
        if block > 3:
            x = functional.pad(x, (0, 1, 0, 1), value=-torch.inf)
        windows = x.unfold(2, 2, 2 if block < 4 else 1).unfold(3, 2, 2 if block < 4 else 1)
        x = pooled[block] = windows.amax(dim=(4, 5))
    x = torch.cat([pooled[3], pooled[4], pooled[5]], dim=1)
    height, width = x.shape[2:]
    branches = [conv(x, state, "aspp.conv1_1").relu()]
    for at, dilation in ((2, 4), (3, 8), (4, 12)):
        branches.append(conv(x, state, f"aspp.conv1_{at}", dilation).relu())
    everywhere = conv(x.mean(dim=(2, 3), keepdim=True), state, "aspp.conv1_5").relu()
    branches.append(everywhere.repeat(1, 1, height, width))
    x = conv(torch.cat(branches, dim=1), state, "aspp.conv2").relu()
    for at in range(1, 4):
        rows = torch.arange(2 * x.shape[2])
        after = (rows // 2 + 1).clamp(max=x.shape[2] - 1)
        x = (x[:, :, rows // 2] + torch.where(rows % 2 == 0, 0, 1)[:, None]
             * (x[:, :, after] - x[:, :, rows // 2]) / 2)  # fmt: skip
        columns = torch.arange(2 * x.shape[3])
        after = (columns // 2 + 1).clamp(max=x.shape[3] - 1)
        x = (x[..., columns // 2] + torch.where(columns % 2 == 0, 0, 1)
             * (x[..., after] - x[..., columns // 2]) / 2)  # fmt: skip
        x = conv(x, state, f"decoder.conv{at}").relu()
    x = conv(x, state, "decoder.conv4")[0, 0]
    x = x - x.min()
    return x / (1e-7 + x.max())


@pytest.mark.parametrize("size", [(16, 24), (40, 8)])
def test_the_whole_network_is_its_description(network, size) -> None:
    images = torch.from_numpy(np.random.default_rng(1).uniform(0, 255, (2, 3, *size)))
    state = {key: value.double() for key, value in network.state_dict().items()}
    found = network(images.float())
    assert found.shape == (2, *size)
    for image, values in zip(images, found, strict=True):
        wanted = plain_map(state, image)
        assert float(wanted.std()) > 0.05
        np.testing.assert_allclose(values.numpy(), wanted.numpy(), atol=2e-4)
        assert values.min() == 0
        assert float(values.max()) == pytest.approx(1, abs=1e-5)


def test_scaling_a_map_that_is_negative_or_flat() -> None:
    maps = torch.tensor([[[-5.0, -3.0]], [[2.0, 2.0]]])
    np.testing.assert_allclose(scale_to_one(maps).numpy(), [[[0, 1]], [[0, 0]]], atol=1e-6)


def test_sides_that_are_not_multiples_of_8(network) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        network(torch.zeros(1, 3, 20, 16))


# --- weights -----------------------------------------------------------------------------------


def tensorflow_arrays(network, kernel="kernel", bias="bias", ending="") -> dict[str, np.ndarray]:
    """Its weights as a TensorFlow checkpoint's variables."""
    arrays = {}
    for key, value in network.state_dict().items():
        layer, _, kind = key.rpartition(".")
        name = f"{layer.replace('.', '/')}/{kernel if kind == 'weight' else bias}{ending}"
        values = value.numpy()
        arrays[name] = values.transpose(2, 3, 1, 0) if values.ndim == 4 else values
    return arrays


def same(state, network) -> bool:
    wanted = network.state_dict()
    return state.keys() == wanted.keys() and all(torch.equal(state[k], wanted[k]) for k in wanted)


def test_a_file_of_tensorflows_weights(tmp_path, network) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **tensorflow_arrays(network, ending=":0"))
    model = MsiNetModel(str(path), device="cpu")
    assert model.notices == ()
    built = model.build()
    path.unlink()  # 100 MB
    assert same(built.state_dict(), network)


@pytest.mark.parametrize("ending", ["", ":0"])
@pytest.mark.parametrize(("kernel", "bias"), [("kernel", "bias"), ("weights", "biases")])
def test_tensorflows_names_and_order_of_axes(network, kernel, bias, ending) -> None:
    arrays = tensorflow_arrays(network, kernel, bias, ending) | {
        f"conv1/conv1_1/{kernel}/Adam": np.zeros((3, 3, 3, 64), np.float32),
        f"decoder/conv4/{bias}/Adam_1": np.zeros(1, np.float32),
        "beta1_power": np.float32(0.9),
        "global_step": np.int64(3),
    }
    assert same(from_tensorflow(arrays, Path("w.npz")), network)


def test_a_kernel_of_tensorflow_sees_the_same(network) -> None:
    """One layer by hand: sum over rows, columns and channels of (h, w, in, out)."""
    rng = np.random.default_rng(0)
    kernel, image = rng.normal(size=(3, 3, 3, 2)), rng.normal(size=(3, 3, 3))
    state = from_tensorflow({"a/kernel:0": kernel, "a/bias": np.zeros(2)}, Path("f"))
    found = functional.conv2d(
        torch.from_numpy(np.moveaxis(image, -1, 0)).float()[None], state["a.weight"]
    )
    np.testing.assert_allclose(found[0, :, 0, 0], (image[..., None] * kernel).sum((0, 1, 2)),
                               rtol=1e-5)  # fmt: skip


def test_its_own_checkpoint_and_random_weights(tmp_path, network) -> None:
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    mine = MsiNetModel(str(tmp_path / "w.pth"), device="cpu")
    assert same(mine.build().state_dict(), network)
    assert len(mine.weights_digest()) == 64
    (tmp_path / "w.pth").unlink()  # 100 MB
    before = torch.random.get_rng_state()
    one, again, other = (MsiNetModel(weights="none", seed=seed) for seed in (1, 1, 2))
    built = [model.build().state_dict()["aspp.conv2.weight"] for model in (one, again, other)]
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.weights_digest() == again.weights_digest() != other.weights_digest()
    assert one.notices == (
        "msi_net: random weights (weights: none); its scores mean nothing.",
    )  # fmt: skip


def test_keys_move_with_weights_and_not_with_their_place(tmp_path) -> None:
    (tmp_path / "a.pth").write_bytes(b"1")
    (tmp_path / "b.pth").write_bytes(b"1")
    (tmp_path / "c.pth").write_bytes(b"2")

    def identity(**given):
        return build_model("x", "msi_net", given, "cpu").identity

    a, b, c = (identity(weights_path=str(tmp_path / f"{name}.pth")) for name in "abc")
    assert a == b != c
    assert identity(weights="none") == identity(weights="none", batch_size=3, device="cuda")
    assert identity(weights="none") != identity(weights="none", seed=1)
    assert identity(weights="none") != identity(weights="none", pad=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.pop("aspp/conv2/bias"), r"it lacks aspp\.conv2\.bias"),
        (lambda a: a.update({"dense/kernel": np.ones((2, 2), np.float32)}),
         r"it has unknown dense\.weight"),
        (lambda a: a.update({"decoder/conv4/bias": np.ones(3, np.float32)}),
         r"decoder\.conv4\.bias \[3\] for \[1\]"),
        (lambda a: a.update({"decoder/conv4/bias": np.array([1])}), "no floating-point numbers"),
        (lambda a: a.update({"decoder/conv4/biases:0": np.ones(1, np.float32)}), "stands there"),
        (lambda a: a.update({"decoder/conv4/bias": np.array([{"a": 1}], dtype=object)}),
         "no floating-point"),
    ],
)  # fmt: skip
def test_files_that_hold_something_else(network, change, says) -> None:
    arrays = tensorflow_arrays(network)
    change(arrays)
    path = Path("w.npz")
    with pytest.raises(DataError, match=says) as caught:
        load_state(network, from_tensorflow(arrays, path), path)
    assert str(caught.value).startswith("w.npz: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.npz", "w.pth"])
def test_files_that_are_damaged(tmp_path, name) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04cut")
    with pytest.raises(DataError, match=name):
        MsiNetModel(str(tmp_path / name), device="cpu").prepare()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "msi_net: set weights_path to its checkpoint, or weights: none"),
        ({"weights": "timm"}, "weights is 'timm'; it must be null or none"),
        ({"weights": "none", "weights_path": "a"}, "keep one"),
        ({"weights": "none", "requires_size": [240, 324]}, "must be multiples of 8"),
        ({"weights": "none", "requires_size": [240]}, r"\[height, width\]"),
    ],
)
def test_settings_that_make_no_sense(given, says) -> None:
    with pytest.raises(ConfigError, match=says):
        MsiNetModel(**given)


def test_weights_that_are_not_there() -> None:
    with pytest.raises(DataError, match=r"msi_net: no weights at nowhere\.npz"):
        MsiNetModel(weights_path="nowhere.npz")


# --- frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "wanted", "pad", "inner", "whole", "corner"),
    [
        ((480, 640), (240, 320), True, (240, 320), (240, 320), (0, 0)),
        ((100, 100), (240, 320), True, (240, 240), (240, 320), (0, 40)),
        ((1000, 10), (240, 320), True, (240, 2), (240, 320), (0, 159)),
        ((10, 4000), (240, 320), True, (1, 320), (240, 320), (119, 0)),
        ((100, 100), (240, 320), False, (240, 320), (240, 320), (0, 0)),
        ((33, 48), None, True, (33, 48), (40, 48), (3, 0)),
        ((33, 48), None, False, (40, 48), (40, 48), (0, 0)),
    ],
)
def test_where_an_image_lies(image, wanted, pad, inner, whole, corner) -> None:
    frame = place_image(image, wanted, pad)
    assert (frame.inner, frame.whole, frame.corner) == (inner, whole, corner)


class Echo(torch.nn.Module):
    """The mean over the channels, as it comes in."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=1)


def test_images_are_padded_with_126_and_maps_lose_it_again(tmp_path, monkeypatch) -> None:
    sizes = {"square": (20, 20), "wide": (10, 20)}
    stimuli = []
    for name, size in sizes.items():
        picture(tmp_path / f"{name}.png", size)
        stimuli.append(FileStimulus(name, size, tmp_path / f"{name}.png"))
    model = MsiNetModel(weights="none", requires_size=[16, 24], device="cpu")
    monkeypatch.setattr(model, "build", Echo)
    model.prepare()
    images = model.batch(stimuli)
    assert images.shape == (2, 3, 16, 24)
    for plane in images[0]:  # 16 x 16 in the middle
        np.testing.assert_allclose(plane[:, :4], 126, rtol=1e-6)
        np.testing.assert_allclose(plane[:, 20:], 126, rtol=1e-6)
    np.testing.assert_allclose(images[1, :, :2], 126, rtol=1e-6)  # 12 x 24
    np.testing.assert_allclose(images[1, :, 14:], 126, rtol=1e-6)
    for stimulus, inner, found in zip(
        stimuli, [(16, 16), (12, 24)], model.predict_batch(stimuli), strict=True
    ):
        grey = torch.from_numpy(stimulus.image().mean(axis=-1))[None, None].double()
        wanted = functional.interpolate(grey, size=inner, mode="bilinear", antialias=True)
        np.testing.assert_allclose(found, 255 * wanted[0, 0].numpy(), rtol=1e-4)


def test_several_at_once_are_as_one_by_one(tmp_path, network, monkeypatch) -> None:
    stimuli = []
    for at, size in enumerate([(20, 20), (10, 20), (16, 24)]):
        picture(tmp_path / f"{at}.png", size, seed=at)
        stimuli.append(FileStimulus(str(at), size, tmp_path / f"{at}.png"))
    model = MsiNetModel(weights="none", requires_size=[16, 24], device="cpu", batch_size=3)
    monkeypatch.setattr(model, "build", lambda: network)
    together = model.predict_batch(stimuli)
    assert [values.shape for values in together] == [(16, 16), (12, 24), (16, 24)]
    for stimulus, found in zip(stimuli, together, strict=True):
        np.testing.assert_allclose(found, model.predict(stimulus), atol=1e-5)
    own = MsiNetModel(weights="none", requires_size=None, device="cpu")
    monkeypatch.setattr(own, "build", lambda: network)
    assert own.predict(stimuli[1]).shape == (10, 20)
