"""DeepGaze IIE and III: the checkpoints' names, the arithmetic, and what must not matter."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch.nn import functional

from clickmap_cli.models.deepgaze import backbones
from clickmap_cli.models.deepgaze import network as deepgaze
from clickmap_cli.models.deepgaze.backbones import (
    EfficientNetB5,
    find_sources,
    normalise,
    resize_nearest,
)
from clickmap_cli.models.deepgaze.network import DeepGazeIIE, DeepGazeIII
from clickmap_cli.models.weights import seeded
from tests.models.deepgaze import plain

NAN = math.nan
GPU = torch.cuda.is_available()
CHANNELS = {"resnet50": 2048, "efficientnet_b5": 2416, "densenet201": 2048, "resnext50": 2560}
HOOKED = (
    ["layer3.0.conv2", "layer3.3.conv2", "layer3.5.conv1", "layer3.5.conv2", "layer4.1.conv2",
     "layer4.2.conv2"],
    ["_blocks.24._depthwise_conv", "_blocks.26._depthwise_conv", "_blocks.35._project_conv"],
    ["features.denseblock4.denselayer32.norm1", "features.denseblock4.denselayer32.conv1",
     "features.denseblock4.denselayer31.conv2"],
    ["layer3.5.conv1", "layer3.5.conv2", "layer3.4.conv2", "layer4.2.conv2"],
)  # fmt: skip
WIDTHS = ([256, 256, 256, 256, 512, 512], [1056, 1056, 304], [1888, 128, 32], [512] * 3 + [1024])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for one another on busy cores take minutes for what takes a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shaken(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Readouts in which every number matters: no scale is 1, no shift 0, no two blurs are alike."""
    with torch.no_grad(), seeded(seed):
        for name, values in network.named_parameters():
            if ".features." in f".{name}":
                continue
            if name.endswith("sigma"):
                values.uniform_(0.3, 9)
            elif name.endswith("center_bias_weight"):
                values.uniform_(0.2, 1.5)
            elif "layernorm" in name and name.endswith("weight"):
                values.uniform_(0.5, 2)
            elif "conv2" in name and "fixation_selection" in name:
                values.normal_(std=1.5)  # densities that are far from uniform
            elif name.endswith("bias"):
                values.normal_(std=0.5)
    return network.eval()


@pytest.fixture(scope="module")
def iie() -> DeepGazeIIE:
    with seeded(0):
        return shaken(DeepGazeIIE())


@pytest.fixture(scope="module")
def iii() -> DeepGazeIII:
    with seeded(0):
        return shaken(DeepGazeIII())


def pictures(n: int, size, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(0, 256, (n, 3, *size))
    return torch.from_numpy(values).float()


def noise(height: int, width: int) -> torch.Tensor:
    """An image as a backbone gets it."""
    return torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, height, width))).float()


def biases(n: int, size, seed: int = 0) -> torch.Tensor:
    """Log densities in float64."""
    rng = np.random.default_rng(seed + 100)
    values = np.cumsum(np.cumsum(rng.normal(size=(n, *size)), axis=1), axis=2) / 20
    return torch.from_numpy(np.stack([v - plain.logsumexp(v) for v in values]))


def histories(*rows) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of (x, y) pairs, missing ones at the end."""
    full = [list(row) + [(NAN, NAN)] * (4 - len(row)) for row in rows]
    pairs = torch.tensor(full, dtype=torch.float32)
    return pairs[..., 0], pairs[..., 1]


def run(network, *inputs) -> torch.Tensor:
    with torch.inference_mode():
        return network(*inputs)


# --- names and shapes ----------------------------------------------------------------------------


def norm(name: str, channels: int) -> dict[str, tuple]:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def component(k: int, channels: int, with_scanpath: bool = False) -> dict[str, tuple]:
    s, f, z = f"saliency_networks.{k}", f"fixation_selection_networks.{k}", f"finalizers.{k}"
    keys = {f"{z}.gauss.sigma": (), f"{z}.center_bias_weight": (1,)}
    for i, (c, n) in enumerate(((channels, 8), (8, 16), (16, 1))):
        keys |= norm(f"{s}.layernorm{i}", c)
        keys |= {f"{s}.conv{i}.weight": (n, c, 1, 1), f"{s}.bias{i}.bias": (n,)}
    keys |= norm(f"{f}.layernorm0.layernorm_part0", 1) | norm(f"{f}.layernorm1", 128)
    keys |= {
        f"{f}.conv0.conv_part0.weight": (128, 1, 1, 1), f"{f}.bias0.bias": (128,),
        f"{f}.conv1.weight": (16, 128, 1, 1), f"{f}.bias1.bias": (16,),
        f"{f}.conv2.weight": (1, 16, 1, 1),
    }  # fmt: skip
    if with_scanpath:
        p = f"scanpath_networks.{k}"
        keys |= norm(f"{f}.layernorm0.layernorm_part1", 16) | norm(f"{p}.layernorm1", 128)
        keys |= {f"{f}.conv0.conv_part1.weight": (128, 16, 1, 1)}
        keys |= {f"{p}.conv1.weight": (16, 128, 1, 1), f"{p}.bias1.bias": (16,)}
        for i in range(4):
            keys |= {f"{p}.encoding0.convolutions.{i}.weight": (128, 3, 1, 1)}
            keys |= {f"{p}.encoding0.convolutions.{i}.bias": (128,)}
    return keys


def shapes(network: torch.nn.Module) -> dict[str, tuple]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def official_efficientnet_name(key: str) -> str:
    """timm's name in the words of the checkpoint."""
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
             "classifier": "_fc"}  # fmt: skip
    first, _, rest = key.partition(".")
    if first != "blocks":
        return f"{outer[first]}.{rest}"
    stage, at, inside = rest.split(".", 2)
    flat = sum((3, 5, 5, 7, 7, 9, 3)[: int(stage)]) + int(at)
    words = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    if stage == "0":
        words |= {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv",
                  "bn2": "_bn2"}  # fmt: skip
    else:
        words |= {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv",
                  "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
    layer, kind = inside.rsplit(".", 1)
    return f"_blocks.{flat}.{words[layer]}.{kind}"


def backbone_shapes() -> list[tuple[str, dict[str, tuple]]]:
    with torch.device("meta"):
        resnet = shapes(torchvision.models.resnet50())
        resnext = shapes(torchvision.models.resnext50_32x4d())
        densenet = shapes(torchvision.models.densenet201())
        efficientnet = shapes(timm.create_model("tf_efficientnet_b5"))
    efficientnet = {official_efficientnet_name(k): v for k, v in efficientnet.items()}
    found = [("1.module.", resnet), ("1.", efficientnet), ("1.", densenet), ("1.", resnext)]
    assert [len(keys) for _, keys in found] == [320, 854, 1207, 320]
    return found


def test_the_names_and_shapes_of_iie_are_the_checkpoints(iie) -> None:
    wanted = {}
    for b, (prefix, keys) in enumerate(backbone_shapes()):
        wanted |= {f"models.{b}.features.features.{prefix}{k}": v for k, v in keys.items()}
        for k in range(30):
            part = component(k, list(CHANNELS.values())[b])
            assert len(part) == 23
            wanted |= {f"models.{b}.{key}": shape for key, shape in part.items()}
    assert len(wanted) == 5461
    assert shapes(iie) == wanted
    assert sum(p.numel() for p in iie.parameters()) == 104_048_808
    assert sum(p.numel() for p in iie.parameters() if p.requires_grad) == 3_059_160
    assert sum(b.numel() for b in iie.buffers()) == 523_559


def test_the_names_and_shapes_of_iii_are_the_checkpoints(iii) -> None:
    wanted = {f"features.features.1.{k}": v for k, v in backbone_shapes()[2][1].items()}
    for k in range(10):
        wanted |= component(k, 2048, with_scanpath=True)
    assert len(wanted) == 1587
    assert shapes(iii) == wanted
    assert sum(p.numel() for p in iii.parameters()) == 20_311_338


def test_backbones_have_the_known_numbers_of_parameters(iie) -> None:
    counts = [sum(p.numel() for p in member.features.parameters()) for member in iie.models]
    assert counts == [25_557_032, 30_389_784, 20_013_928, 25_028_904]


# --- grids and pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("small", "large"),
    [((3, 5), (24, 40)), ((2, 3), (7, 11)), ((47, 35), (95, 71)), ((13, 17), (55, 71))],
)
def test_near_is_what_torch_does(small, large) -> None:
    for start, end in ((small, large), (large, small), (small, small)):
        values = torch.randn(2, 3, *start)
        wanted = functional.interpolate(values, size=end, mode="nearest")
        assert torch.equal(resize_nearest(values, end), wanted)
        np.testing.assert_array_equal(plain.near(values.numpy(), end), wanted)
    assert not find_sources(3, 8).is_inference()


@pytest.mark.parametrize("size", [(64, 66), (65, 67)])
def test_backbones_get_half_the_pixels_normalised(size) -> None:
    image = pictures(1, size)
    found = normalise(image, torch.float32)
    assert found.shape[-2:] == (size[0] // 2, size[1] // 2)
    np.testing.assert_array_equal(found[0], plain.normalised(image[0].numpy()))
    assert torch.equal(normalise(image.to(torch.uint8), torch.float32), found)
    exact = normalise(image, torch.float64)
    assert exact.dtype == torch.float64
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


# --- backbones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("b", range(4))
def test_layers_are_read_raw_and_in_order(iie, b) -> None:
    features = iie.models[b].features
    image, grid = pictures(1, (97, 70)), (4, 3)
    modules = dict(features.backbone.named_modules())
    kept = {}
    hooks = [
        modules[name].register_forward_hook(
            lambda _m, _i, made, name=name: kept.__setitem__(name, made.clone())
        )
        for name in HOOKED[b]
    ]
    run(features.backbone, normalise(image, torch.float32))
    for hook in hooks:
        hook.remove()
    assert [kept[name].shape[1] for name in HOOKED[b]] == WIDTHS[b]
    parts = [functional.interpolate(kept[n], size=grid, mode="nearest") for n in HOOKED[b]]
    found = run(features, image, grid)
    assert found.shape == (1, list(CHANNELS.values())[b], *grid)
    torch.testing.assert_close(found, torch.cat(parts, dim=1), rtol=1e-5, atol=1e-5)
    assert not any(module._forward_hooks for module in features.modules())


def test_densenets_norm_is_read_before_its_relu(iie) -> None:
    features = iie.models[2].features
    found = run(features, pictures(1, (64, 64)), (1, 1))
    norm1, conv1 = found[:, :1888], found[:, 1888:2016]
    assert (norm1 < 0).float().mean() > 0.2
    layer = features.backbone.features.denseblock4.denselayer32.conv1
    torch.testing.assert_close(run(layer, norm1.relu()), conv1, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def two_efficientnets(iie):
    """Ours, and timm's with the same weights."""
    ours = iie.models[1].features.backbone
    theirs = timm.create_model("tf_efficientnet_b5", pretrained=False).eval()
    state = ours.state_dict()
    theirs.load_state_dict({k: state[official_efficientnet_name(k)] for k in theirs.state_dict()})
    return ours, theirs


def read(network, names, image) -> list[torch.Tensor]:
    kept = []
    modules = dict(network.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _m, _i, made: kept.append(made.clone()))
        for name in names
    ]
    run(network, image)
    for hook in hooks:
        hook.remove()
    return kept


TIMM_LAYERS = ["blocks.4.4.conv_dw", "blocks.4.6.conv_dw", "blocks.5.8.conv_pwl"]


def test_efficientnet_is_timms_where_padding_does_not_differ(two_efficientnets) -> None:
    ours, theirs = two_efficientnets
    image = noise(64, 96)
    for found, wanted in zip(read(ours, HOOKED[1], image), read(theirs, TIMM_LAYERS, image),
                             strict=True):  # fmt: skip
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    norms = [m for m in ours.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) > 100
    assert {m.eps for m in norms} == {1e-3}


@pytest.mark.parametrize("size", [(37, 50), (63, 95), (33, 34)])
def test_efficientnets_padding_is_frozen(two_efficientnets, size, monkeypatch) -> None:
    """timm's five convolutions of stride 2, padded by hand."""
    ours, theirs = two_efficientnets
    modules = dict(theirs.named_modules())
    padded = ["conv_stem", *(f"blocks.{stage}.0.conv_dw" for stage in (1, 2, 3, 5))]
    for name in padded:
        conv = modules[name]
        assert conv.stride == (2, 2)
        ends = {3: (0, 1, 0, 1), 5: (1, 2, 1, 2)}[conv.kernel_size[0]]
        monkeypatch.setattr(
            conv, "forward",
            lambda x, conv=conv, ends=ends: functional.conv2d(
                functional.pad(x, ends), conv.weight, stride=2, groups=conv.groups
            ),
        )  # fmt: skip
    assert sum(getattr(m, "stride", None) == (2, 2) for m in modules.values()) == len(padded)
    image = noise(*size)
    found = read(ours, HOOKED[1], image)
    for one, other in zip(found, read(theirs, TIMM_LAYERS, image), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert found[0].shape[-2:] == (size[0] // 16, size[1] // 16)
    assert found[2].shape[-2:] == (size[0] // 32, size[1] // 32)


def test_efficientnet_in_double_precision(two_efficientnets) -> None:
    double = copy.deepcopy(two_efficientnets[0]).double()
    image = noise(45, 33)
    exact = run(double, image.double())
    torch.testing.assert_close(run(two_efficientnets[0], image).double(), exact, rtol=1e-3,
                               atol=1e-4)  # fmt: skip
    assert isinstance(double, EfficientNetB5)


# --- arithmetic ----------------------------------------------------------------------------------


class Known(torch.nn.Module):
    """Stands for a backbone: activations that are drawn once for a grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.dtype = torch.float64

    def forward(self, image: torch.Tensor, grid) -> torch.Tensor:
        rng = np.random.default_rng(self.channels)
        drawn = rng.gamma(0.5, size=(7, self.channels, *grid)) - 0.3
        return torch.from_numpy(drawn[: len(image)]).to(self.dtype)


@pytest.fixture
def without_backbones(monkeypatch):
    for name, channels in CHANNELS.items():
        monkeypatch.setattr(deepgaze, name, lambda channels=channels: (Known(channels), channels))
    with seeded(0):
        yield


def as_type(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    for module in network.to(dtype).modules():
        if isinstance(module, Known):
            module.dtype = dtype
    return network


SIZES = [(64, 64), (75, 67), (93, 130)]


@pytest.mark.parametrize("size", SIZES)
def test_iie_is_a_plain_computation_in_float64(without_backbones, size) -> None:
    network = as_type(shaken(DeepGazeIIE()), torch.float64)
    image, bias = pictures(1, size), biases(1, size)
    grid = (math.ceil(size[0] / 32), math.ceil(size[1] / 32))
    wanted = []
    for b, channels in enumerate(CHANNELS.values()):
        features = Known(channels)(image, grid)[0].numpy()
        state = network.models[b].state_dict()
        wanted.append(plain.log_mixture(features, bias[0].numpy(), state, 30, (32, 2)))
    wanted = plain.logsumexp(np.stack(wanted) - math.log(4), axis=0)
    assert np.ptp(wanted) > 1  # it is far from uniform
    found = run(network, image.double(), bias)[0]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)
    as_type(network, torch.float32)
    mixed = run(network, image, bias)[0]
    assert mixed.dtype == torch.float64  # as the centre bias
    single = run(network, image, bias.float())[0]
    assert single.dtype == torch.float32
    for less in (mixed, single):
        np.testing.assert_allclose(less, wanted, rtol=0, atol=1e-4)


HISTORIES = [
    [(30, 20)],
    [(10.5, 60.25), (0, 0), (44, 31)],
    [],
    [(1, 2), (3, 4), (5, 6), (60, 50)],
]


@pytest.mark.parametrize("size", SIZES)
def test_iii_is_a_plain_computation_in_float64(without_backbones, size) -> None:
    network = as_type(shaken(DeepGazeIII()), torch.float64)
    n = len(HISTORIES)
    image, bias = pictures(n, size), biases(n, size)
    x, y = histories(*HISTORIES)
    grid = (math.ceil(size[0] / 8), math.ceil(size[1] / 8))
    features = Known(2048)(image, grid).numpy()
    wanted = [
        plain.log_mixture(
            features[i], bias[i].numpy(), network.state_dict(), 10, (8, 4),
            (x[i].double().numpy(), y[i].double().numpy()),
        )
        for i in range(n)
    ]  # fmt: skip
    found = run(network, image.double(), bias, x.double(), y.double())
    for row, values in enumerate(wanted):
        # an encoding of nothing is the same everywhere: its norm divides rounding by 1e-6
        exact = 1e-10 if HISTORIES[row] else 1e-9
        np.testing.assert_allclose(found[row], values, rtol=0, atol=exact)
    as_type(network, torch.float32)
    single = run(network, image, bias.float(), x, y)
    np.testing.assert_allclose(single, wanted, rtol=0, atol=1e-4)


def test_a_history_matters_and_a_missing_fixation_does_not(without_backbones) -> None:
    network = as_type(shaken(DeepGazeIII()), torch.float64)
    size = (64, 72)

    def predicted(x, y):
        inputs = pictures(1, size).double(), biases(1, size)
        return run(network, *inputs, torch.tensor([x]).double(), torch.tensor([y]).double())

    one = predicted([30, NAN, NAN, NAN], [20, NAN, NAN, NAN])
    assert torch.equal(predicted([30, 5, NAN, 7], [20, NAN, 3, NAN]), one)
    assert not torch.allclose(predicted([31, NAN, NAN, NAN], [20, NAN, NAN, NAN]), one)
    assert not torch.allclose(predicted([NAN, 30, NAN, NAN], [NAN, 20, NAN, NAN]), one)
    none = predicted([NAN] * 4, [NAN] * 4)
    assert torch.isfinite(none).all()
    assert not torch.allclose(none, one)
    with torch.no_grad():  # weights of a fixation that is missing do not matter
        for part in network.scanpath_networks:
            for convolution in part.encoding0.convolutions:
                convolution.weight += 1
                convolution.bias += 1
    assert torch.equal(predicted([NAN] * 4, [NAN] * 4), none)
    assert not torch.allclose(predicted([30, NAN, NAN, NAN], [20, NAN, NAN, NAN]), one)


# --- whole networks ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (67, 95), (131, 140)])
def test_iie_is_a_density(iie, size) -> None:
    image, bias = pictures(2, size), biases(2, size).float()
    found = run(iie, image, bias)
    assert found.shape == (2, *size)
    np.testing.assert_allclose(found.double().exp().sum((1, 2)), 1, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-2)
    assert torch.equal(run(iie, image.to(torch.uint8), bias), found)


@pytest.mark.parametrize("size", [(58, 64), (67, 95), (131, 140)])
def test_iii_is_a_density(iii, size) -> None:
    image, bias = pictures(2, size), biases(2, size).float()
    found = run(iii, image, bias, *histories([(9, 8)], []))
    assert found.shape == (2, *size)
    np.testing.assert_allclose(found.double().exp().sum((1, 2)), 1, atol=1e-5)


# In images below 128 pixels DenseNet's last maps are one place, so what stands out is the same
# everywhere and the next norm divides rounding by 1e-6: log densities of float32 differ by 0.01.
def alone_and_together(network, *inputs) -> float:
    together = run(network, *inputs)
    alone = [run(network, *(part[i : i + 1] for part in inputs))[0] for i in range(len(inputs[0]))]
    return float((together - torch.stack(alone)).abs().max())


def test_iie_does_not_depend_on_the_batch(iie) -> None:
    size = (131, 140)
    assert alone_and_together(iie, pictures(3, size), biases(3, size).float()) < 1e-4


@pytest.mark.parametrize("b", range(4))
def test_members_of_iie_do_not_depend_on_the_batch_in_float64(iie, b) -> None:
    size = (67, 95)
    member = copy.deepcopy(iie.models[b]).double()
    member.forward = member.log_mixture
    assert alone_and_together(member, pictures(3, size), biases(3, size)) < 1e-8


def test_iii_does_not_depend_on_the_batch(iii) -> None:
    where = histories([(9, 8)], [], [(40, 30), (1, 2)])
    size = (131, 140)
    assert alone_and_together(iii, pictures(3, size), biases(3, size).float(), *where) < 1e-4
    size = (67, 95)
    double = copy.deepcopy(iii).double()
    assert alone_and_together(double, pictures(3, size), biases(3, size), *where) < 1e-8


def test_inputs_of_wrong_shapes(iie, iii) -> None:
    image, bias = pictures(2, (64, 64)), biases(2, (64, 64))
    nothing = torch.full((2, 4), NAN)
    for inputs, says in (
        ((image[0], bias), r"image has the shape \(3, 64, 64\)"),
        ((image[..., :63], bias[..., :63]), "64 x 63 pixels; 64 x 64 is the least"),
        ((image, bias[:, None]), r"centerbias has the shape \(2, 1, 64, 64\)"),
        ((image, bias[:1]), r"it must be \(2, 64, 64\)"),
    ):
        with pytest.raises(ValueError, match=says):
            iie(*inputs)
    with pytest.raises(ValueError, match=r"y_hist has the shape \(2, 3\); it must be \(2, 4\)"):
        iii(image, bias, nothing, nothing[:, :3])
    with pytest.raises(ValueError, match="58 x 58 is the least"):
        iii(image[..., :57], bias[..., :57], nothing, nothing)


# --- training ------------------------------------------------------------------------------------


def test_blocks_are_all_parameters_once(iie, iii) -> None:
    names = ["backbone", "saliency", "fixation_selection", "finalizer"]
    assert sorted(iie.blocks()) == sorted(names)
    assert sorted(iii.blocks()) == sorted([*names, "scanpath"])
    for network in (iie, iii):
        listed = [id(p) for block in network.blocks().values() for p in block]
        assert sorted(listed) == sorted(id(p) for p in network.parameters())
        assert {p.requires_grad for p in network.blocks()["backbone"]} == {False}
    known = {id(p): name for name, p in iie.named_parameters()}
    for block, word in zip(names, ("features", "saliency_networks", "fixation_selection_networks",
                                   "finalizers"), strict=True):  # fmt: skip
        assert {known[id(p)].split(".")[2] for p in iie.blocks()[block]} == {word}
    assert len(iie.blocks()["finalizer"]) == 4 * 30 * 2


def test_training_reaches_readouts_and_leaves_backbones_alone(iii) -> None:
    image, bias = pictures(2, (128, 132)), biases(2, (128, 132)).float()
    x, y = histories([(9, 8), (20, 30), (50, 3), (33, 60)], [])
    before = {name: value.clone() for name, value in iii.named_buffers()}
    network = iii.train()
    assert network.training
    assert not any(module.training for module in network.features.modules())
    network(image, bias, x, y)[:, 5, 6].sum().backward()
    blocks = network.blocks()
    assert all(p.grad is None for p in blocks.pop("backbone"))
    for name, parameters in blocks.items():
        moved = [p.grad is not None and bool((p.grad != 0).any()) for p in parameters]
        assert all(moved), (name, sum(moved), len(moved))
        assert all(torch.isfinite(p.grad).all() for p in parameters if p.grad is not None)
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())
    network.zero_grad()
    network.eval()


def test_the_gradient_of_a_blurs_width_is_right(without_backbones) -> None:
    network = as_type(shaken(DeepGazeIII()), torch.float64)
    image, bias = pictures(1, (64, 64)).double(), biases(1, (64, 64))
    x, y = (places.double() for places in histories([(9, 8)]))
    sigma = network.finalizers[0].gauss.sigma
    with torch.no_grad():
        sigma.fill_(2.1)
    network(image, bias, x, y)[0, 5, 6].backward()
    values = []
    for step in (-1e-5, 1e-5):
        with torch.no_grad():
            sigma.fill_(2.1 + step)
            values.append(float(network(image, bias, x, y)[0, 5, 6]))
    assert float(sigma.grad) == pytest.approx((values[1] - values[0]) / 2e-5, rel=1e-5)


# --- copies and devices --------------------------------------------------------------------------


def test_copies_read_their_own_activations(iii) -> None:
    inputs = pictures(1, (64, 64)), biases(1, (64, 64)).float(), *histories([(9, 8)])
    wanted = run(iii, *inputs)
    for made in (copy.deepcopy(iii), pickle.loads(pickle.dumps(iii))):
        assert torch.equal(run(made, *inputs), wanted)
        assert shapes(made) == shapes(iii)


class Traveller(torch.nn.Module):
    """Notes where it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.went = []

    def to(self, device):
        self.went.append(str(device))
        assert not torch.is_inference_mode_enabled()
        return self


def test_a_part_travels_to_the_images_device_and_back() -> None:
    part = Traveller()
    with torch.inference_mode():
        with deepgaze._moved_to(part, torch.device("cpu")):
            assert part.went == []
        with deepgaze._moved_to(part, torch.device("meta")):
            assert part.went == ["meta"]
        assert part.went == ["meta", "cpu"]
        with pytest.raises(KeyError), deepgaze._moved_to(part, torch.device("meta")):
            raise KeyError
    assert part.went == ["meta", "cpu"] * 2


@pytest.mark.skipif(not GPU, reason="no GPU")
def test_one_backbone_at_a_time_on_a_gpu(iie) -> None:
    image, bias = pictures(1, (96, 64)).cuda(), biases(1, (96, 64)).float().cuda()
    visiting = run(iie, image, bias).cpu()
    assert {p.device.type for p in iie.parameters()} == {"cpu"}
    there = run(copy.deepcopy(iie).cuda(), image, bias).cpu()
    np.testing.assert_allclose(visiting, there, rtol=0, atol=1e-4)
    np.testing.assert_allclose(visiting, run(iie, image.cpu(), bias.cpu()), rtol=0, atol=1e-2)


def test_nothing_is_downloaded(monkeypatch) -> None:
    """Building asks for no weights."""
    asked = []
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", asked.append)
    with torch.device("meta"):
        for name in CHANNELS:
            getattr(backbones, name)()
    assert asked == []
