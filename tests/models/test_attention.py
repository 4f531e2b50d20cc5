"""Attention rollout against plain loops in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.attention import (
    VitAttention,
    drop_lowest,
    find_attention_modules,
    record_attention,
    roll_out,
)
from clickmap_cli.models.building import build_model
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import picture

SIDES = (48, 64)
GRID = (3, 4)


def model_of(model="test_vit", requires_size=SIDES, **given) -> VitAttention:
    return VitAttention(model, "none", requires_size=list(requires_size), device="cpu", **given)


def shown(folder, n=1, size=(20, 30)) -> list[FileStimulus]:
    for seed in range(n):
        picture(folder / f"{seed}.png", size, seed)
    return [FileStimulus(str(seed), size, folder / f"{seed}.png") for seed in range(n)]


def attention_by_hand(model, stimuli) -> list[np.ndarray]:
    """(n, heads, tokens, tokens) of each block, from what went into it and its own weights."""
    network = model.network()
    given = []
    hooks = [
        block.attn.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
        for block in network.blocks
    ]
    with torch.inference_mode():
        network(model.batch(stimuli))
    for hook in hooks:
        hook.remove()
    found = []
    for block, tokens in zip(network.blocks, given, strict=True):
        weight, bias = (value.detach().double().numpy() for value in block.attn.qkv.parameters())
        n_heads, width = block.attn.num_heads, weight.shape[1] // block.attn.num_heads
        joint = tokens.double().numpy() @ weight.T + bias
        heads = []
        for head in range(n_heads):
            at = slice(head * width, (head + 1) * width)
            q = joint[..., : weight.shape[1]][..., at]
            k = joint[..., weight.shape[1] : 2 * weight.shape[1]][..., at]
            logits = np.einsum("nid,njd->nij", q, k) / math.sqrt(width)
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
            heads.append(powers / powers.sum(axis=-1, keepdims=True))
        found.append(np.stack(heads, axis=1))
    return found


def plain_rollout(layers, fuse, ratio=0.0, with_class=True, prefix=1) -> np.ndarray:
    """(n, patches), image by image and value by value."""
    maps = []
    for image in range(len(layers[0])):
        product = np.eye(layers[0].shape[-1])
        for layer in layers:
            fused = fuse(layer[image], axis=0).copy()
            free = [
                (fused[i, j], i, j)
                for i in range(len(fused))
                for j in range(len(fused))
                if j > 0 or not with_class
            ]
            for _, i, j in sorted(free)[: int(ratio * len(free))]:
                fused[i, j] = 0
            mixed = (fused + np.eye(len(fused))) / 2
            for i in range(len(mixed)):
                mixed[i] /= mixed[i].sum()
            product = mixed @ product
        row = product[0] if with_class else product[prefix:].mean(axis=0)
        maps.append(row[prefix:])
    return np.stack(maps)


@pytest.mark.parametrize(("fusion", "fuse"), [("mean", np.mean), ("max", np.max), ("min", np.min)])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.93])
def test_rollout_is_a_plain_loop(tmp_path, fusion, fuse, ratio) -> None:
    model = model_of(head_fusion=fusion, discard_ratio=ratio)
    stimuli = shown(tmp_path, 2)
    wanted = plain_rollout(attention_by_hand(model, stimuli), fuse, ratio)
    found = model.predict_batch(stimuli)
    for values, plain in zip(found, wanted, strict=True):
        assert values.shape == GRID
        np.testing.assert_allclose(values.ravel(), plain, rtol=1e-4, atol=1e-7)
    assert wanted.std() > 0


@pytest.mark.parametrize(
    ("model", "with_class", "prefix"),
    [("test_vit2", False, 1), ("deit_tiny_distilled_patch16_224", True, 2)],
)
def test_registers_and_models_without_a_class_token(tmp_path, model, with_class, prefix) -> None:
    made = model_of(model, discard_ratio=0.3)
    assert made.network().num_prefix_tokens == prefix
    (stimulus,) = shown(tmp_path)
    layers = attention_by_hand(made, [stimulus])
    (wanted,) = plain_rollout(layers, np.mean, 0.3, with_class, prefix)
    np.testing.assert_allclose(made.predict(stimulus).ravel(), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("fused", [True, False])
def test_recording_changes_nothing(tmp_path, fused) -> None:
    model = model_of()
    network = model.network()
    for module in find_attention_modules(network):
        module.fused_attn = fused
    batch = model.batch(shown(tmp_path))
    with torch.inference_mode():
        before = network(batch)
        with record_attention(network) as layers:
            assert not any(module.fused_attn for module in find_attention_modules(network))
            inside = network(batch)
        assert torch.equal(network(batch), before)
    torch.testing.assert_close(inside, before, rtol=1e-4, atol=1e-5)
    assert len(layers) == len(network.blocks)  # and nothing more from the last pass
    assert [module.fused_attn for module in find_attention_modules(network)] == [fused] * len(
        layers
    )


def test_attention_is_restored_after_an_error(tmp_path, monkeypatch) -> None:
    model = model_of()
    network = model.network()
    modules = find_attention_modules(network)
    modules[0].fused_attn, modules[1].fused_attn = True, False

    def fail(*_):
        raise RuntimeError("out of memory")

    hook = network.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.predict(*shown(tmp_path))
    hook.remove()
    assert [module.fused_attn for module in modules[:2]] == [True, False]
    assert not any(module.attn_drop._forward_hooks for module in modules)
    model.predict(*shown(tmp_path))
    assert not any(module.attn_drop._forward_hooks for module in modules)


# --- gradients ---------------------------------------------------------------------------------


def slopes_of(network, batch, index) -> tuple[list, list]:
    with record_attention(network) as layers:
        score = network(batch.clone().requires_grad_())[:, index].sum()
    return layers, list(torch.autograd.grad(score, layers))


def test_the_gradient_of_an_attention_is_that_of_the_score(tmp_path) -> None:
    """Against central differences: an attention is changed by hand, in double precision."""
    model = model_of(method="gradient")
    network = model.network().double()
    batch = model.batch(shown(tmp_path)).double()
    _, slopes = slopes_of(network, batch, 17)
    rng = np.random.default_rng(0)

    def score(layer, place, change) -> float:
        def changed(_module, _given, attention):
            attention = attention.clone()
            attention[place] += change
            return attention

        with record_attention(network), torch.no_grad():
            hook = find_attention_modules(network)[layer].attn_drop.register_forward_hook(changed)
            said = float(network(batch)[0, 17])
            hook.remove()
        return said

    for layer, slope in enumerate(slopes):
        for _ in range(3):
            place = tuple(rng.integers(0, side) for side in slope.shape)
            step = 1e-4
            numeric = (score(layer, place, step) - score(layer, place, -step)) / (2 * step)
            assert float(slope[place]) == pytest.approx(numeric, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("fusion", "fuse"), [("mean", np.mean), ("max", np.max)])
@pytest.mark.parametrize("index", [None, 5])
def test_gradient_rollout_is_a_plain_loop(tmp_path, fusion, fuse, index) -> None:
    model = model_of(method="gradient", head_fusion=fusion, class_index=index, discard_ratio=0.4)
    stimuli = shown(tmp_path, 2)
    network = model.network()
    batch = model.batch(stimuli)
    wanted = []
    for image in batch:  # each on its own
        chosen = int(network(image[None]).argmax()) if index is None else index
        layers, slopes = slopes_of(network, image[None], chosen)
        weighted = [
            np.maximum((a * g).detach().double().numpy(), 0)
            for a, g in zip(layers, slopes, strict=True)
        ]
        wanted.append(plain_rollout(weighted, fuse, 0.4)[0])
    found = model.predict_batch(stimuli)
    for values, plain in zip(found, wanted, strict=True):
        assert plain.max() > 0
        np.testing.assert_allclose(values.ravel(), plain, rtol=1e-3, atol=1e-4 * plain.max())
    assert all(not value.requires_grad for value in network.parameters())
    assert not torch.is_inference_mode_enabled()


def test_the_class_matters_to_gradients_only(tmp_path) -> None:
    (stimulus,) = shown(tmp_path)
    graded = [model_of(method="gradient", class_index=at).predict(stimulus) for at in (1, 2)]
    assert not np.allclose(graded[0] / graded[0].max(), graded[1] / graded[1].max())
    plain = [model_of(class_index=at).predict(stimulus) for at in (1, 2)]
    np.testing.assert_array_equal(*plain)


# --- parts -------------------------------------------------------------------------------------


def test_the_lowest_are_dropped_and_never_those_to_the_class() -> None:
    fused = torch.tensor([[[0.0, 0.5, 0.1], [0.01, 0.2, 0.3], [0.02, 0.4, 0.6]]])
    found = drop_lowest(fused, 0.5, with_class=True)  # 3 of 6
    np.testing.assert_allclose(found[0], [[0, 0.5, 0], [0.01, 0, 0], [0.02, 0.4, 0.6]])
    found = drop_lowest(fused, 0.5, with_class=False)  # 4 of 9
    np.testing.assert_allclose(found[0], [[0, 0.5, 0], [0, 0.2, 0.3], [0, 0.4, 0.6]])
    assert drop_lowest(fused, 0.1, with_class=True) is fused


def test_shares_sum_to_1_and_nothing_attended_to_stays_where_it_is() -> None:
    rng = np.random.default_rng(0)
    layers = [torch.from_numpy(rng.uniform(size=(2, 5, 5))) for _ in range(4)]
    start = torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    np.testing.assert_allclose(roll_out(layers, start).sum(dim=1), 1, rtol=1e-12)
    nothing = roll_out([torch.zeros(1, 5, 5, dtype=torch.float64)], start)
    np.testing.assert_array_equal(nothing[0], start)


def test_several_at_once_are_as_one_by_one(tmp_path) -> None:
    stimuli = [*shown(tmp_path, 3), *shown(tmp_path / "other", 1, (40, 12))]
    for method in ("rollout", "gradient"):
        model = model_of(method=method, discard_ratio=0.5, batch_size=4)
        together = model.predict_batch(stimuli)
        for stimulus, found in zip(stimuli, together, strict=True):
            np.testing.assert_allclose(found, model.predict(stimulus), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("model", ["resnet18", "swin_tiny_patch4_window7_224", "test_efficientnet"])
def test_networks_that_are_no_such_transformer(model) -> None:
    with pytest.raises(ConfigError, match="is not a transformer with one attention a block"):
        VitAttention(model, "none", device="cpu").prepare()


def test_attentions_that_are_not_shares(tmp_path) -> None:
    model = model_of()
    doubling = torch.nn.Identity()
    doubling.register_forward_hook(lambda _module, _given, attention: 2 * attention)
    find_attention_modules(model.network())[1].attn_drop = doubling
    with pytest.raises(DataError, match="not shares that sum to 1"):
        model.predict(*shown(tmp_path))
    find_attention_modules(model.network())[1].attn_drop.register_forward_hook(
        lambda _module, _given, attention: attention[:, :, :, 1:]
    )
    with pytest.raises(RuntimeError):  # the network itself cannot go on
        model.predict(*shown(tmp_path))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "rolling"}, "method is 'rolling'; it must be one of rollout, gradient"),
        ({"head_fusion": "sum"}, "head_fusion is 'sum'; it must be one of mean, max, min"),
        ({"discard_ratio": 1.0}, "discard_ratio is 1.0; it must be below 1"),
        ({"discard_ratio": -0.1}, "discard_ratio is -0.1"),
        ({"discard_ratio": float("nan")}, "discard_ratio is nan"),
        ({"method": "gradient", "class_index": 1000}, "class_index is 1000; the classes are 0 to"),
        ({"method": "gradient", "model": "vit_small_patch14_dinov2"}, "scores no classes"),
        ({"model": "vit_tiny_patch16_225"}, "Did you mean 'vit_tiny_patch16_224'"),
        ({"weights": None}, "vit_attention: set weights_path"),
        ({"discard_ratio": "much"}, "model x: "),
    ],
)
def test_settings_that_make_no_sense(given, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build_model("x", "vit_attention", {"weights": "none", **given}, "cpu")


def test_random_weights_are_announced() -> None:
    (notice,) = model_of().notices
    assert notice.startswith("vit_attention: test_vit has random weights")
