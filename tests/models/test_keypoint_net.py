"""Networks for key points: names, sizes, weights, and what they give."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.config.saliency import Freeze
from clickmap_cli.models.keypoint_net import (
    NAMES,
    KeypointInput,
    KeypointNet,
    build_keypoint_net,
)
from clickmap_cli.models.weights import evaluating
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.training.blocks import apply_freeze, block_table, set_modes

SMALL = {"embed_dim": 24, "num_heads": 3, "depth": 2}
VIT = "vit_tiny_patch16_224"
HALF = (0.5, 0.5, 0.5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def plain_net(seed=0, n_points=3, side=4) -> KeypointNet:
    """All pixels are features."""
    return KeypointNet(
        "plain",
        torch.nn.Flatten(),
        3 * side * side,
        n_points,
        KeypointInput((side, side), HALF, HALF),
        seed,
    )


def states_equal(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- what comes out ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "more"),
    [
        (VIT, 224, SMALL),
        (VIT, 96, SMALL),
        (VIT, [48, 80], SMALL),
        ("vit_tiny_patch16_224.augreg_in21k", 32, SMALL),
        ("ViT-B_16", 96, SMALL),
        ("ViT-B_32", 224, SMALL),
        ("ViT-L_16", 112, SMALL),
        ("ViT-L_32", (96, 64), SMALL),
        ("ViT-H_14", 70, SMALL),
        ("R50-ViT-B_16", 64, SMALL),
        ("R50-ViT-B_16", (32, 48), SMALL),
        ("resnet18", 100, {}),
        ("mobilenetv3_small_050", 64, {}),  # its features are not what timm calls their number
        ("deit_tiny_distilled_patch16_224", 64, SMALL),
        ("eva02_tiny_patch14_224", 56, {"depth": 1}),
        ("test_convnext", 64, {}),
    ],
)
def test_shapes(model, size, more) -> None:
    network = build_keypoint_net(model, size, 5, **more).eval()
    height, width = size if isinstance(size, list | tuple) else (size, size)
    assert network.shown.size == (height, width)
    with torch.inference_mode():
        found = network(torch.zeros(2, 3, height, width))
    assert found.shape == (2, 5, 2)
    # images of a batch are equal but for the order of sums, which is the processor's
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert (found - 0.5).abs().max() < 0.5  # all begin inside


@pytest.mark.parametrize("name", NAMES)
def test_the_six_names_are_those_of_timm(name) -> None:
    found = timm.get_pretrained_cfg(NAMES[name])
    assert found.tag == "orig_in21k"
    with torch.device("meta"):
        network = build_keypoint_net(name, None, 1)
    assert network.shown == KeypointInput((224, 224), HALF, HALF)
    width = {"B": 768, "L": 1024, "H": 1280}[name.partition("ViT-")[2][0]]
    assert network.finalizer.in_features == width


def test_its_own_normalisation() -> None:
    shown = build_keypoint_net("resnet18", None, 1).shown
    assert shown == KeypointInput((224, 224), *IMAGENET)
    assert build_keypoint_net("test_resnet", None, 1).shown.size == (160, 160)
    assert build_keypoint_net(VIT, None, 1, **SMALL).shown == KeypointInput((224, 224), HALF, HALF)


def test_points_are_a_linear_layer_of_features() -> None:
    network = plain_net(n_points=4)
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 3, 4, 4), np.float32))
    weight = network.finalizer.weight.detach().numpy().astype(np.float64)
    flat = images.numpy().reshape(3, -1).astype(np.float64)
    wanted = [
        [[0.5 + row @ weight[2 * p + axis] for axis in (0, 1)] for p in range(4)] for row in flat
    ]
    np.testing.assert_allclose(network(images).detach(), wanted, rtol=1e-5)


def test_the_head_keeps_its_precision_under_autocast() -> None:
    network = plain_net(n_points=2)
    network.backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 48))
    images = torch.rand(1, 3, 4, 4)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.backbone(images)
        found = network(images)
    assert features.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    with torch.inference_mode():
        wanted = network.finalizer(features.float()).unflatten(1, (2, 2))
    torch.testing.assert_close(found, wanted)
    assert (found != found.bfloat16().float()).any()


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [VIT, "test_resnet"])
def test_random_weights_are_of_the_seed_and_announced(model) -> None:
    more = SMALL if model == VIT else {}
    before = torch.random.get_rng_state()
    one, same, other = (build_keypoint_net(model, 32, 2, seed=s, **more) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert states_equal(one, same)
    for part in ("backbone", "finalizer"):
        assert not states_equal(getattr(one, part), getattr(other, part))
    assert one.notices == (f"{model}: random weights (nothing pretrained was named).",)
    assert one.training
    assert all(module.training for module in one.modules())


@settings(deadline=None, max_examples=25)
@given(st.integers(-(2**31), 2**63), st.integers(1, 40))
def test_a_head_is_small_and_its_own(seed, n_points) -> None:
    network = plain_net(seed, n_points)
    weight = network.finalizer.weight.detach()
    assert weight.shape == (2 * n_points, 48)
    assert float(weight.std()) == pytest.approx(0.01, rel=0.35)
    assert bool((network.finalizer.bias == 0.5).all())
    assert states_equal(network, plain_net(seed, n_points))
    assert not states_equal(network, plain_net(seed + 1, n_points))


def test_the_head_is_the_same_whatever_the_backbone_holds(monkeypatch) -> None:
    create = timm.create_model
    asked = []

    def pretend(name, pretrained=False, **more):
        asked.append((name, pretrained))
        with torch.random.fork_rng():
            torch.manual_seed(99)
            return create(name, pretrained=False, **more)

    random = build_keypoint_net("ViT-B_16", 32, 2, None, 5, **SMALL)
    monkeypatch.setattr(timm, "create_model", pretend)
    loaded = build_keypoint_net("ViT-B_16", 32, 2, "timm", 5, **SMALL)
    assert asked == [("vit_base_patch16_224.orig_in21k", True)]
    assert states_equal(random.finalizer, loaded.finalizer)
    assert not states_equal(random.backbone, loaded.backbone)
    assert loaded.notices == ("ViT-B_16: weights of timm (vit_base_patch16_224.orig_in21k).",)


def test_nothing_is_downloaded_unless_asked_for(monkeypatch) -> None:
    create = timm.create_model

    def watch(name, pretrained=False, **more):
        assert pretrained is False
        return create(name, pretrained=pretrained, **more)

    monkeypatch.setattr(timm, "create_model", watch)
    build_keypoint_net("ViT-B_16", 32, 1, **SMALL)


def test_a_download_that_fails_is_a_sentence(monkeypatch) -> None:
    def fail(name, **_):
        raise OSError("no\nroute")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(DataError) as caught:
        build_keypoint_net("ViT-B_32", 224, 2, "timm")
    assert str(caught.value) == (
        "ViT-B_32: timm's weights of vit_base_patch32_224.orig_in21k could not be downloaded "
        "(no route); name an .npz of the original release instead, or nothing."
    )


def test_a_file_for_another_kind_of_network_is_a_sentence(tmp_path) -> None:
    np.savez(tmp_path / "w.npz", cls=np.zeros((1, 1, 24), np.float32))
    with pytest.raises(ConfigError, match="test_resnet is built otherwise"):
        build_keypoint_net("test_resnet", 32, 1, tmp_path / "w.npz")
    with pytest.raises(DataError, match=r"w\.npz: not the weights of vit_tiny_patch16_224"):
        build_keypoint_net(VIT, 32, 1, str(tmp_path / "w.npz"), **SMALL)
    for nowhere in (tmp_path / "x.npz", tmp_path):
        with pytest.raises(DataError, match=r"vit_tiny_patch16_224: no weights at .* \(looked"):
            build_keypoint_net(VIT, 32, 1, nowhere, **SMALL)


# --- freezing ------------------------------------------------------------------------------------


def test_blocks_are_those_that_freezing_knows() -> None:
    network = build_keypoint_net("test_resnet", 32, 3)
    rows = {row.block: row for row in block_table(network)}
    assert list(rows) == ["backbone", "finalizer"]
    assert rows["finalizer"].total == 6 * network.finalizer.in_features + 6
    assert sum(row.total for row in rows.values()) == sum(p.numel() for p in network.parameters())
    apply_freeze(network, Freeze(mode="train_blocks", blocks=["head"]))
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert trained == ["finalizer.weight", "finalizer.bias"]
    set_modes(network)
    assert not network.backbone.training


def test_evaluation_mode_is_for_a_while() -> None:
    network = build_keypoint_net("test_resnet", 32, 1)
    network.backbone.layer1.eval()
    modes = [module.training for module in network.modules()]
    with pytest.raises(RuntimeError, match="stop"), evaluating(network):
        assert not any(module.training for module in network.modules())
        raise RuntimeError("stop")
    assert [module.training for module in network.modules()] == modes


# --- settings that make no sense -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ViT-B16", "ViT-B_16"),
        ("vit-b_16", "ViT-B_16"),
        ("vit_b_32", "ViT-B_32"),
        ("R50+ViT-B_16", "R50-ViT-B_16"),
        ("R50_ViT-B_16", "R50-ViT-B_16"),
        ("vit_tiny_patch16_225", VIT),
        ("resnet-18", "resnet18"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name, near) -> None:
    with pytest.raises(ConfigError) as caught:
        build_keypoint_net(name, 224, 1)
    said = f"model_type: timm has no network '{name}'. Did you mean '{near}'"
    assert str(caught.value).startswith(said)


def test_a_name_that_is_near_to_nothing_gives_the_six() -> None:
    with pytest.raises(ConfigError) as caught:
        build_keypoint_net("qqqqqqqq", 224, 1)
    assert "Known: R50-ViT-B_16, ViT-B_16, ViT-B_32, ViT-H_14, ViT-L_16" in str(caught.value)
    assert "timm.list_models()" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "size", "more", "says"),
    [
        (
            VIT,
            100,
            SMALL,
            r"img_size is \[100, 100\]; its sides must be multiples of",
        ),
        ("ViT-H_14", 224 + 7, SMALL, r"multiples of the network's patches, \[14, 14\]"),
        ("ViT-B_32", (224, 240), SMALL, r"\[224, 240\]; its sides .* \[32, 32\]"),
        ("R50-ViT-B_16", 72, SMALL, r"R50-ViT-B_16: img_size .* \[16, 16\]"),
        (
            "mixer_s32_224",
            64,
            {},
            r"mixer_s32_224: .* takes images of \[224, 224\] only",
        ),
        (
            "densenet121",
            16,
            {},
            r"densenet121: .*the network cannot take .*too small",
        ),
        (VIT, 0, SMALL, r"img_size is 0; it must be \[height, width\]"),
        (VIT, [96], SMALL, r"img_size is \[96\]"),
        (VIT, 96.0, SMALL, "img_size is 96.0"),
        (VIT, -16, SMALL, "img_size is -16"),
        (f"{VIT}.better", 96, SMALL, "has an unknown tag; known tags"),
        (VIT, 96, {"dept": 2}, "cannot be built .*unexpected keyword.*dept"),
        (VIT, 96, {"embed_dim": 10}, "it cannot be built"),
        (VIT, 96, {"depth": -1}, "it cannot be built"),
        (VIT, 96, {"global_pool": "", **SMALL}, "gives no row of features for an image"),
    ],
)
def test_networks_that_cannot_be_built(model, size, more, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build_keypoint_net(model, size, 2, **more)


@pytest.mark.parametrize("n_points", [0, -1, 2.0, True, "3"])
def test_key_points_are_one_or_more(n_points) -> None:
    with pytest.raises(ConfigError, match=f"{n_points!r} key points; there must be 1 or more"):
        plain_net(n_points=n_points)
