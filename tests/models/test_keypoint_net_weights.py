"""Weights of the original release, written by the tests in its layout."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.models.keypoint_net import (
    CLASSIFIER,
    NAMES,
    build_keypoint_net,
    load_vit_npz,
)
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.helpers.payloads import Call
from tests.models.vit_release import (
    ORIGINAL,
    TINY,
    arrays_of,
    block,
    features,
    shallow,
    shapes_of,
)

STEP = {name: 16 if vit.units else vit.patch for name, vit in ORIGINAL.items()}
SIDE = 3
POSITIONS = "Transformer/posembed_input/pos_embedding"


def written(path: Path, arrays) -> Path:
    np.savez(path, **arrays)
    return path


def tiny(**given) -> torch.nn.Module:
    """A network that `TINY` describes, for 3 x 3 patches."""
    shape = {"embed_dim": TINY.width, "num_heads": TINY.heads, "depth": TINY.depth}
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, **{"img_size": 48, **shape, **given}
    )
    return network.eval()


# --- files that fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ViT-B_16", 85.8),
        ("ViT-B_32", 87.5),
        ("ViT-L_16", 303.3),
        ("ViT-L_32", 305.5),
        ("ViT-H_14", 630.8),
        ("R50-ViT-B_16", 97.9),
    ],
)
def test_the_release_has_as_many_numbers_as_the_networks(name, millions) -> None:
    side = 224 // STEP[name]
    shapes = shapes_of(ORIGINAL[name], side)
    numbers = sum(math.prod(shape) for key, shape in shapes.items() if key not in CLASSIFIER)
    with torch.device("meta"):
        backbone = build_keypoint_net(name, 224, 1).backbone
    assert sum(values.numel() for values in backbone.parameters()) == numbers
    assert numbers / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("name", ORIGINAL)
def test_each_network_takes_every_array(tmp_path, name) -> None:
    """As timm's own loader does, and the first block computes what NumPy does."""
    vit = shallow(name)
    arrays = arrays_of(vit, SIDE, seed=len(name))
    path = written(tmp_path / f"{name}.npz", arrays)
    size = SIDE * STEP[name]
    network = build_keypoint_net(name, size, 2, path, depth=1)
    assert network.shown.mean == network.shown.std == (0.5, 0.5, 0.5)
    (notice,) = network.notices
    assert notice == (
        f"{name}: {name}.npz: its classifier is left out "
        "(head/kernel, head/bias, pre_logits/kernel, pre_logits/bias)."
    )
    used = [values for key, values in arrays.items() if key not in CLASSIFIER]
    filled = list(network.backbone.parameters())
    assert sum(values.numel() for values in filled) == sum(values.size for values in used)
    for power in (1, 2):  # every number once
        total = sum(float((values.detach().double() ** power).sum()) for values in filled)
        wanted = sum(float((values.astype(np.float64) ** power).sum()) for values in used)
        assert total == pytest.approx(wanted, rel=1e-9)

    other = copy.deepcopy(network.backbone)
    with torch.no_grad():
        for values in other.parameters():
            values.fill_(torch.nan)
    other.load_pretrained(str(path))
    for key, values in network.backbone.state_dict().items():
        assert torch.equal(values, other.state_dict()[key]), key

    tokens = np.random.default_rng(0).standard_normal((2, 5, vit.width))
    with torch.inference_mode():
        found = network.backbone.blocks[0].double().eval()(torch.from_numpy(tokens))
    np.testing.assert_allclose(found, block(tokens, arrays, 0), rtol=1e-9, atol=1e-9)


def test_a_whole_network_computes_what_numpy_does(tmp_path) -> None:
    arrays = arrays_of(TINY, SIDE)
    network = tiny()
    load_vit_npz(network, written(tmp_path / "w.npz", arrays), "tiny")
    images = np.random.default_rng(1).standard_normal((2, 3, 48, 48))
    wanted = features(images, arrays, TINY)
    with torch.inference_mode():
        found = network.double()(torch.from_numpy(images))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3


@pytest.mark.parametrize("early", [True, False])
def test_a_resnet_is_turned(tmp_path, early) -> None:
    """Its kernels, and its scales and biases in both shapes that they come in."""
    narrow = replace(TINY, depth=1, patch=1, units=(3, 4, 9))
    arrays = arrays_of(narrow, 2, early=early)
    assert arrays["gn_root/scale"].ndim == (4 if early else 1)
    path = written(tmp_path / "w.npz", arrays)
    shape = {"embed_dim": TINY.width, "num_heads": TINY.heads, "depth": 1}
    trunk = build_keypoint_net("R50-ViT-B_16", 32, 1, path, **shape).backbone.patch_embed.backbone
    unit, last = trunk.stages[1].blocks[0], trunk.stages[2].blocks[8]
    for conv, name in [
        (trunk.stem.conv, "conv_root"),
        (unit.conv2, "block2/unit1/conv2"),
        (unit.downsample.conv, "block2/unit1/conv_proj"),
        (last.conv3, "block3/unit9/conv3"),
    ]:
        kernel = arrays[f"{name}/kernel"]
        height, width, before, after = kernel.shape
        assert conv.weight.shape == (after, before, height, width)
        for seed in range(20):
            y, x, i, o = (int(seed * 7919 % side) for side in kernel.shape)
            assert float(conv.weight.detach()[o, i, y, x]) == kernel[y, x, i, o]
    for part, name in [
        (trunk.stem.norm, "gn_root"),
        (unit.downsample.norm, "block2/unit1/gn_proj"),
        (last.norm1, "block3/unit9/gn1"),
    ]:
        np.testing.assert_array_equal(part.weight.detach(), arrays[f"{name}/scale"].ravel())
        np.testing.assert_array_equal(part.bias.detach(), arrays[f"{name}/bias"].ravel())


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions_are_taken(tmp_path, kind) -> None:
    arrays = {name: values.astype(kind) for name, values in arrays_of(TINY, SIDE).items()}
    network = tiny()
    load_vit_npz(network, written(tmp_path / "w.npz", arrays), "tiny")
    assert network.cls_token.dtype == torch.float32
    np.testing.assert_array_equal(
        network.cls_token.detach().numpy(), arrays["cls"].astype(np.float32)
    )


def test_a_file_without_a_classifier_is_as_good(tmp_path) -> None:
    arrays = arrays_of(TINY, SIDE)
    for name in CLASSIFIER:
        del arrays[name]
    assert load_vit_npz(tiny(), written(tmp_path / "w.npz", arrays), "tiny") == ()


def test_positions_are_resized_to_the_input(tmp_path) -> None:
    arrays = arrays_of(TINY, 5)
    path = written(tmp_path / "w.npz", arrays)
    shape = {"embed_dim": TINY.width, "num_heads": TINY.heads, "depth": TINY.depth}
    network = build_keypoint_net("vit_tiny_patch16_224", (32, 96), 1, path, **shape)
    assert network.notices[1] == (
        "vit_tiny_patch16_224: w.npz: position embeddings resized from 5 x 5 patches to 2 x 6."
    )
    wanted = plain_resized(arrays[POSITIONS], (2, 6))
    np.testing.assert_allclose(network.backbone.pos_embed.detach(), wanted, atol=1e-6)


# --- positions -----------------------------------------------------------------------------------


def cubic(at: float) -> float:
    """Keys' kernel with a = -0.5."""
    at = abs(at)
    if at < 1:
        return 1.5 * at**3 - 2.5 * at**2 + 1
    return -0.5 * (at**3 - 5 * at**2 + 8 * at - 4) if at < 2 else 0.0


def cubic_matrix(before: int, after: int) -> np.ndarray:
    """(after, before) weights; the kernel is widened where sizes shrink."""
    scale = before / after
    wide = max(scale, 1.0)
    weights = np.zeros((after, before))
    for out in range(after):
        centre = (out + 0.5) * scale
        for at in range(before):
            weights[out, at] = cubic((at + 0.5 - centre) / wide)
        weights[out] /= weights[out].sum()
    return weights


def plain_resized(positions: np.ndarray, grid) -> np.ndarray:
    side = math.isqrt(positions.shape[1] - 1)
    planes = positions[0, 1:].astype(np.float64).reshape(side, side, -1)
    rows, columns = cubic_matrix(side, grid[0]), cubic_matrix(side, grid[1])
    moved = np.einsum("ir,rcd,jc->ijd", rows, planes, columns)
    return np.concatenate([positions[:, :1], moved.reshape(1, grid[0] * grid[1], -1)], axis=1)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_resizing_is_bicubic_with_antialiasing(side, rows, columns, seed) -> None:
    arrays = arrays_of(TINY, side, seed=seed)
    network = tiny(img_size=(16 * rows, 16 * columns))
    with tempfile.TemporaryDirectory() as folder:
        load_vit_npz(network, written(Path(folder) / "w.npz", arrays), "tiny")
    found = network.pos_embed.detach().numpy()
    positions = arrays[POSITIONS]
    if (side, side) == (rows, columns):
        np.testing.assert_array_equal(found, positions)
    np.testing.assert_allclose(found, plain_resized(positions, (rows, columns)), atol=1e-5)
    np.testing.assert_array_equal(found[:, 0], positions[:, 0])  # the class token's


def test_a_grid_of_as_many_patches_is_another_grid(tmp_path) -> None:
    arrays = arrays_of(TINY, 4)
    network = tiny(img_size=(32, 128))
    load_vit_npz(network, written(tmp_path / "w.npz", arrays), "tiny")
    found = network.pos_embed.detach().numpy()
    assert found.shape == arrays[POSITIONS].shape
    assert (found != arrays[POSITIONS]).any()


# --- files that do not fit -----------------------------------------------------------------------


def without(*names):
    return lambda arrays: [arrays.pop(name) for name in names]


def having(**more):
    return lambda arrays: arrays.update({k.replace("__", "/"): v for k, v in more.items()})


def emptied(arrays) -> None:
    arrays.clear()
    arrays["cls"] = np.zeros((1, 1, TINY.width), np.float32)


QUERY = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
EXTRA = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("cls"), "not the weights of tiny; it lacks cls."),
        (without(POSITIONS), f"it lacks {POSITIONS}."),
        (
            without("cls", QUERY, "embedding/bias", "Transformer/encoder_norm/scale"),
            r"it lacks cls, .*, .* and 1 more\.",
        ),
        (emptied, r"it lacks Transformer/posembed_input/pos_embedding, embedding/kernel, .* more"),
        (having(extra=EXTRA), "it has unknown extra."),
        (having(head__scale=EXTRA), "it has unknown head/scale."),
        (
            lambda arrays: (arrays.pop("cls"), arrays.update(token=EXTRA)),
            "it lacks cls; it has unknown token.",
        ),
        (having(cls=np.zeros((1, TINY.width), np.float32)), r"cls \[1, 24\] for \[1, 1, 24\]"),
        (
            having(**{QUERY: np.zeros((24, 24), np.float32)}),
            r"has other shapes: .*query/kernel \[24, 24\] for \[24, 3, 8\]\.",
        ),
        (
            having(**{QUERY: np.zeros((3, 8, 24), np.float32)}),
            r"query/kernel \[3, 8, 24\] for \[24, 3, 8\]",
        ),
        (
            having(embedding__kernel=np.zeros((32, 32, 3, 24), np.float32)),
            r"embedding/kernel \[32, 32, 3, 24\] for \[16, 16, 3, 24\]",
        ),
        (
            having(embedding__bias=np.zeros((1, 1, 1, 24), np.float32)),
            r"embedding/bias \[1, 1, 1, 24\] for \[24\]",
        ),
        (
            having(**{POSITIONS: np.zeros((1, 9, 24), np.float32)}),
            r"pos_embedding \[1, 9, 24\] for \[1, 1 \+ a square, 24\]",
        ),
        (having(**{POSITIONS: np.zeros((1, 1, 24), np.float32)}), "a square"),
        (having(**{POSITIONS: np.zeros((1, 0, 24), np.float32)}), "a square"),
        (having(**{POSITIONS: np.zeros((1, 10, 12), np.float32)}), "a square, 24"),
        (having(**{POSITIONS: np.zeros((10, 24), np.float32)}), "a square"),
        (having(cls=np.zeros((1, 1, 24), np.int64)), "cls does not hold floating-point numbers"),
        (having(cls=np.zeros((1, 1, 24), ">f4")), "cls does not hold floating-point numbers"),
        (having(cls=np.full((1, 1, 24), np.nan, np.float32)), "cls holds numbers that are not"),
        (having(cls=np.full((1, 1, 24), 1e300)), "cls holds numbers that are not finite"),
        (having(cls=np.full((1, 1, 24), 0.5, object)), "cls does not hold floating-point numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, says) -> None:
    arrays = arrays_of(TINY, SIDE)
    change(arrays)
    network = tiny()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(DataError, match=says) as caught:
        load_vit_npz(network, written(tmp_path / "w.npz", arrays), "tiny")
    assert str(caught.value).startswith(str(tmp_path / "w.npz"))
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())


def test_files_of_another_depth_or_network_are_refused(tmp_path) -> None:
    path = written(tmp_path / "w.npz", arrays_of(TINY, SIDE))
    with pytest.raises(
        DataError, match=r"it has unknown Transformer/encoderblock_1/.* and 13 more"
    ):
        load_vit_npz(tiny(depth=1), path, "tiny")
    with pytest.raises(DataError, match="it lacks Transformer/encoderblock_2/"):
        load_vit_npz(tiny(depth=3), path, "tiny")
    with pytest.raises(DataError, match="it has other shapes: cls"):
        load_vit_npz(tiny(embed_dim=48), path, "tiny")
    with pytest.raises(DataError, match=r"it has unknown .*query/bias"):
        load_vit_npz(tiny(qkv_bias=False), path, "tiny")


def test_a_pickled_attack_is_refused_and_not_run(tmp_path) -> None:
    marker = tmp_path / "ran"
    arrays = arrays_of(TINY, SIDE)
    arrays["cls"] = np.array([Call(Path.touch, [marker])], dtype=object)
    with pytest.raises(DataError, match="cls"):
        load_vit_npz(tiny(), written(tmp_path / "w.npz", arrays), "tiny")
    assert not marker.exists()


def test_files_of_other_kinds_are_refused(tmp_path) -> None:
    torch.save(tiny().state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: not the weights of tiny; it lacks .* more"):
        load_vit_npz(tiny(), tmp_path / "w.pth", "tiny")
    (tmp_path / "w.npz").write_bytes(b"<html>")
    with pytest.raises(DataError, match="it is not a zip archive"):
        load_vit_npz(tiny(), tmp_path / "w.npz", "tiny")
    whole = written(tmp_path / "w.npz", arrays_of(TINY, SIDE)).read_bytes()
    (tmp_path / "w.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        load_vit_npz(tiny(), tmp_path / "w.npz", "tiny")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("test_resnet", {}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_tiny_patch16_224", {"init_values": 1.0}),
        ("vit_tiny_patch16_224", {"qk_norm": True}),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"no_embed_class": True}),
        ("vit_tiny_patch16_224", {"reg_tokens": 2}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "fc_norm": True}),
        ("vit_tiny_patch16_224", {"pos_embed": "none"}),
    ],
)
def test_networks_unlike_those_of_the_release_are_refused(tmp_path, name, more) -> None:
    path = written(tmp_path / "w.npz", arrays_of(TINY, SIDE))
    network = timm.create_model(name, num_classes=0, **more)
    with pytest.raises(ConfigError, match=r"^odd is built otherwise than the vision transformers"):
        load_vit_npz(network, path, "odd")


def test_the_names_are_those_of_the_release() -> None:
    assert NAMES.keys() == ORIGINAL.keys()
