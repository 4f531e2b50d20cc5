"""Attention maps of key points against plain loops in double precision."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.models.attention import (
    find_attention_modules,
    keypoint_maps,
    record_attention,
)
from clickmap_cli.models.keypoint_net import KeypointInput, KeypointNet, build_keypoint_net

VIT = "vit_tiny_patch16_224"
SMALL = {"embed_dim": 24, "num_heads": 3, "depth": 3}
POOLED = {**SMALL, "class_token": False, "global_pool": "avg"}
SIZE = (48, 64)
GRID = (3, 4)


def net_of(model=VIT, size=SIZE, n_points=2, seed=0, **more) -> KeypointNet:
    """In double precision; attention far from uniform, so that layers differ."""
    network = build_keypoint_net(model, size, n_points, None, seed, **more).double()
    with torch.no_grad():
        for name, values in network.backbone.named_parameters():
            if name.endswith(("qkv.weight", "mlp.fc1.weight")):
                values.mul_(20)
    return network.eval()


def image_of(seed=0, size=SIZE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((3, *size)))


# --- rollout -------------------------------------------------------------------------------------


def attention_by_hand(network, image) -> list[np.ndarray]:
    """(heads, tokens, tokens) of each block, from what went into it and its own weights."""
    given, hooks = [], []
    for block in network.backbone.blocks:
        hook = block.attn.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
        hooks.append(hook)
    with torch.inference_mode():
        network(image[None])
    for hook in hooks:
        hook.remove()
    found = []
    for block, tokens in zip(network.backbone.blocks, given, strict=True):
        weight, bias = (values.detach().numpy() for values in block.attn.qkv.parameters())
        query, key, _ = np.split(tokens[0].numpy() @ weight.T + bias, 3, axis=1)
        heads = []
        for q, k in zip(
            np.split(query, block.attn.num_heads, axis=1),
            np.split(key, block.attn.num_heads, axis=1),
            strict=True,
        ):
            powers = np.exp(q @ k.T / math.sqrt(q.shape[1]))
            heads.append(powers / powers.sum(axis=1, keepdims=True))
        found.append(np.stack(heads))
    return found


def slopes_of(network, image, point, axis) -> tuple[list[np.ndarray], np.ndarray]:
    """Derivatives of one coordinate by each layer's attention and by the last layer's tokens."""
    last = []
    hook = network.backbone.norm.register_forward_pre_hook(lambda _, args: last.append(args[0]))
    with record_attention(network.backbone) as layers:
        place = network(image[None])[0, point, axis]
    hook.remove()
    *slopes, tokens = torch.autograd.grad(place, [*layers, last[0]])
    return [slope[0].numpy() for slope in slopes], tokens[0].numpy()


def plain_map(network, image, point) -> np.ndarray:
    """(patches) value by value."""
    attention = attention_by_hand(network, image)
    prefix = network.backbone.num_prefix_tokens
    maps = []
    for axis in (0, 1):
        slopes, tokens = slopes_of(network, image, point, axis)
        n = len(tokens)
        row = np.array([math.sqrt(sum(value**2 for value in token)) for token in tokens])
        row /= row.sum()
        product = np.eye(n)
        for heads, slope in zip(attention, slopes, strict=True):
            fused = np.zeros((n, n))
            for i in range(n):
                for j in range(n):
                    fused[i, j] = np.mean(
                        [abs(a[i, j] * g[i, j]) for a, g in zip(heads, slope, strict=True)]
                    )
            fused /= max(fused[i].sum() for i in range(n))
            mixed = (fused + np.eye(n)) / 2
            for i in range(n):
                mixed[i] /= mixed[i].sum()
            product = mixed @ product
        maps.append((row @ product)[prefix:])
    return np.mean(maps, axis=0)


@pytest.mark.parametrize(
    ("model", "more", "prefix"),
    [
        (VIT, SMALL, 1),
        (VIT, POOLED, 0),
        (VIT, {**SMALL, "reg_tokens": 2}, 3),
        ("deit_tiny_distilled_patch16_224", SMALL, 2),
        ("R50-ViT-B_16", SMALL, 1),
    ],
)
def test_rollout_is_a_plain_loop(model, more, prefix) -> None:
    network = net_of(model, **more)
    assert network.backbone.num_prefix_tokens == prefix
    image = image_of()
    maps, notice = keypoint_maps(network, image)
    assert notice is None
    assert (maps.shape, maps.dtype) == ((2, *GRID), np.float32)
    for point in range(2):
        wanted = plain_map(network, image, point)
        np.testing.assert_allclose(maps[point].ravel(), wanted, rtol=1e-5, atol=1e-9)
        assert wanted.max() > 1.2 * wanted.min() > 0
    assert not np.allclose(maps[0], maps[1], rtol=1e-2)


def test_a_class_token_is_what_a_class_head_reads() -> None:
    """The tokens' weights are the class token's row alone, where only that is pooled."""
    network = net_of(**SMALL)
    _, tokens = slopes_of(network, image_of(), 0, 0)
    lengths = np.linalg.norm(tokens, axis=1)
    assert lengths[0] > 0
    assert not lengths[1:].any()


# --- what must be lit ----------------------------------------------------------------------------


def single_patch(rng, at, size=SIZE) -> torch.Tensor:
    """Black but for one patch."""
    image = torch.zeros(3, *size, dtype=torch.float64)
    y, x = 16 * (at // GRID[1]), 16 * (at % GRID[1])
    image[:, y : y + 16, x : x + 16] = torch.from_numpy(rng.standard_normal((3, 16, 16)))
    return image


@pytest.mark.parametrize("at", range(12))
def test_only_the_patch_that_says_anything_is_lit(at) -> None:
    """A network without biases and positions, whose other patches are nothing but zeros."""
    network = net_of(**{**SMALL, "depth": 1})
    with torch.no_grad():
        network.backbone.pos_embed.zero_()
        for name, values in network.backbone.named_parameters():
            if name.endswith("bias"):
                values.zero_()
    maps, _ = keypoint_maps(network, single_patch(np.random.default_rng(at), at))
    for found in maps.reshape(2, -1):
        assert found[at] > 0
        assert not np.delete(found, at).any()


@pytest.mark.parametrize("more", [SMALL, POOLED])
@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_head_that_reads_one_patch_lights_it(more, at) -> None:
    def head_of(depth: int) -> KeypointNet:
        network = net_of(**{**more, "depth": depth})
        prefix = network.backbone.num_prefix_tokens
        network.backbone.pool = lambda tokens, *_: tokens[:, prefix + at]
        return network

    maps, _ = keypoint_maps(head_of(1), image_of(at))
    for found in maps.reshape(2, -1):  # half stays where it is, the rest is from where it looks
        assert 0.5 <= found[at] < 1
        assert 0 < np.delete(found, at).sum() <= 0.5
    alone = head_of(3)
    with torch.no_grad():  # patches that hear nothing of each other
        for block in alone.backbone.blocks:
            block.attn.proj.weight.zero_()
    maps, _ = keypoint_maps(alone, image_of(at))
    np.testing.assert_array_equal(maps.reshape(2, -1), np.eye(12)[[at, at]])


def test_points_keep_their_order_and_units_do_not_matter() -> None:
    network = net_of(n_points=3, **SMALL)
    image = image_of()
    maps, _ = keypoint_maps(network, image)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rows = other.finalizer.weight.unflatten(0, (3, 2))[[2, 0, 1]]
        other.finalizer.weight.copy_(-1000 * rows.flatten(0, 1))  # other units, and mirrored
        other.finalizer.bias.fill_(7)
    found, _ = keypoint_maps(other, image)
    np.testing.assert_allclose(found, maps[[2, 0, 1]], rtol=1e-5)


def test_a_point_that_nothing_moves_has_an_empty_map() -> None:
    network = net_of(**SMALL)
    with torch.no_grad():
        network.finalizer.weight[:2] = 0
    maps, notice = keypoint_maps(network, image_of())
    assert notice is None
    assert not maps[0].any()
    assert maps[1].all()


def test_single_precision_gives_the_same() -> None:
    network = net_of(**SMALL)
    wanted, _ = keypoint_maps(network, image_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = keypoint_maps(network.float(), image_of().float())
    np.testing.assert_allclose(found, wanted, rtol=2e-3)


# --- other networks ------------------------------------------------------------------------------


def test_derivatives_by_pixels_of_a_linear_network() -> None:
    shown = KeypointInput((4, 6), (0.5,) * 3, (0.5,) * 3)
    network = KeypointNet("plain", torch.nn.Flatten(), 72, 5, shown, seed=3).double()
    maps, notice = keypoint_maps(network, image_of(size=(4, 6)))
    weight = network.finalizer.weight.detach().numpy().reshape(5, 2, 3, 4, 6)
    np.testing.assert_allclose(maps, np.abs(weight).max(axis=2).mean(axis=1), rtol=1e-6)
    assert notice == (
        "plain: it has no blocks with one attention each; the maps of its key points are "
        "magnitudes of derivatives by pixels."
    )


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext"])
def test_derivatives_by_pixels_of_a_cnn(model) -> None:
    """Against central differences."""
    network = build_keypoint_net(model, 32, 2).double().eval()
    image = image_of(size=(32, 32))
    maps, notice = keypoint_maps(network, image)
    assert notice.startswith(f"{model}: it has no blocks with one attention each")
    assert maps.shape == (2, 32, 32)
    step = 1e-6
    for y, x in [(0, 0), (15, 16), (20, 7), (31, 30)]:
        numeric = []
        for channel in range(3):
            change = torch.zeros_like(image)
            change[channel, y, x] = step
            with torch.inference_mode():
                ahead, behind = network(torch.stack([image + change, image - change]))
            numeric.append(((ahead - behind) / (2 * step)).numpy())
        wanted = np.abs(numeric).max(axis=0).mean(axis=1)
        np.testing.assert_allclose(maps[:, y, x], wanted, rtol=1e-4, atol=1e-9)
    assert maps.max() > 0


def test_attention_that_cannot_be_followed_is_reported(monkeypatch) -> None:
    network = net_of(**SMALL)
    doubled = torch.nn.Identity()
    doubled.register_forward_hook(lambda _module, _given, attention: 2 * attention)
    find_attention_modules(network.backbone)[1].attn_drop = doubled
    maps, notice = keypoint_maps(network, image_of())
    assert maps.shape == (2, *SIZE)
    assert notice.startswith(f"{VIT}: its attentions are not shares that sum to 1; the maps")


def test_a_window_transformer_has_maps_too() -> None:
    maps, notice = keypoint_maps(
        build_keypoint_net("swin_tiny_patch4_window7_224", None, 1, depths=(1, 1), embed_dim=24),
        image_of(size=(224, 224)).float(),
    )
    assert maps.shape == (1, 224, 224)
    assert "magnitudes of derivatives by pixels" in notice


# --- nothing else changes ------------------------------------------------------------------------


@pytest.mark.parametrize("model", [VIT, "test_resnet"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_network_stays_as_it_was(model, frozen) -> None:
    network = build_keypoint_net(model, 32, 2, **(SMALL if model == VIT else {}))
    network.backbone.requires_grad_(not frozen)
    list(network.backbone.children())[-1].eval()
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    image = image_of(size=(32, 32)).float()
    with torch.no_grad():
        first, _ = keypoint_maps(network, image)
    again, _ = keypoint_maps(network, image)
    np.testing.assert_allclose(first, again, rtol=1e-5)  # threads add in any order
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())
    assert all(values.grad is None for values in network.parameters())
    assert image.grad is None
    assert not image.requires_grad
    assert not any(module._forward_hooks for module in network.modules())


# --- over the image ------------------------------------------------------------------------------


def test_maps_over_an_image_are_bilinear() -> None:
    maps = np.random.default_rng(0).uniform(size=(2, 3, 4)).astype(np.float32)
    found = resize(maps, (30, 52))
    wanted = interpolate(torch.from_numpy(maps)[None].double(), (30, 52), mode="bilinear")[0]
    assert (found.shape, found.dtype) == ((2, 30, 52), np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_array_equal(resize(maps, (3, 4)), maps)
    np.testing.assert_allclose(resize(np.ones((1, 7, 7), np.float32), (224, 160)), 1, rtol=1e-6)
