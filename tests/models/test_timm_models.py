"""Networks of timm: names, sizes, weights from three places, scores of classes."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import resolve_model_data_config

from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models import timm_models
from clickmap_cli.models.building import build_model
from clickmap_cli.models.timm_models import (
    TimmNetwork,
    read_class,
    select_scores,
    state_digest,
)
from clickmap_cli.runtime.errors import ConfigError, DataError


def wanted(model="test_resnet", weights="none", weights_path=None, requires_size=None, seed=0):
    return TimmNetwork(
        model,
        "probe",
        weights=weights,
        weights_path=weights_path,
        requires_size=requires_size,
        seed=seed,
    )


@pytest.fixture
def released(monkeypatch):
    """Stands for timm's hub: its weights are those of seed 99; what was asked for."""
    create, asked = timm.create_model, []

    def pretend(name, pretrained=False, **more):
        asked.append((name, pretrained))
        if not pretrained:
            return create(name, pretrained=False, **more)
        with torch.random.fork_rng():
            torch.manual_seed(99)
            return create(name, pretrained=False, **more)

    monkeypatch.setattr(timm, "create_model", pretend)
    return asked


def states_equal(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_random_weights_are_seeded_and_announced() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (wanted(seed=seed).build() for seed in (1, 1, 2))
    assert states_equal(one, same)
    assert not states_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert wanted(seed=1).digest() == "random 1"
    assert wanted().notices == (
        "probe: test_resnet has random weights (weights: none); its scores mean nothing.",
    )


def test_what_is_known_of_a_network() -> None:
    network = wanted("vit_tiny_patch16_224.augreg_in21k")
    assert (network.size, network.n_classes) == ((224, 224), 21843)
    assert (network.mean, network.std) == ((0.5,) * 3, (0.5,) * 3)
    resnet = wanted("resnet18")
    assert (resnet.mean, resnet.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert wanted("resnet18", requires_size=[64, 96]).size == (64, 96)
    assert wanted("test_vit", requires_size=64).size == (64, 64)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_of_a_file(tmp_path, ending) -> None:
    source = wanted(seed=7).build()
    path = tmp_path / f"w{ending}"
    if ending == ".pth":
        torch.save({"state_dict": source.state_dict()}, path)
    else:
        save_file(source.state_dict(), path)
    network = wanted(weights=None, weights_path=str(path))
    assert states_equal(network.build(), source)
    assert network.notices == ()
    assert len(network.digest()) == 64
    with pytest.raises(DataError, match="not the weights of"):
        wanted("test_vit", weights=None, weights_path=str(path)).build()
    path.write_bytes(b"cut")
    with pytest.raises(DataError, match=path.name) as caught:
        wanted(weights=None, weights_path=str(path)).build()
    assert "\n" not in str(caught.value)


def test_timms_own_weights_only_when_asked_for(released) -> None:
    wanted().build()
    assert released == [("test_resnet", False)]
    network = wanted(weights="timm", seed=5)
    built = network.build()
    assert released[-1] == ("test_resnet", True)
    assert not states_equal(built, wanted(seed=5).build())
    assert network.notices == ()
    digest = network.digest()
    assert digest == f"timm r160_in1k {state_digest(built.state_dict())}"
    assert wanted(weights="timm", seed=6).digest() == digest


@pytest.mark.parametrize("error", [OSError("no\nroute"), RuntimeError("No pretrained weights")])
def test_a_download_that_fails_is_a_sentence(monkeypatch, error) -> None:
    def fail(name, pretrained=False):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    network = wanted(weights="timm")
    for ask in (network.digest, network.build):
        with pytest.raises(DataError) as caught:
            ask()
        said = " ".join(str(error).split())
        assert str(caught.value) == (
            f"probe: timm's weights of test_resnet could not be downloaded ({said}); "
            "give weights_path."
        )


def test_the_digest_of_weights_is_of_names_shapes_and_numbers() -> None:
    base = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    others = [
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
        {"a": torch.arange(6.0).double(), "b": torch.tensor(3)},
        {"c": torch.arange(6.0), "b": torch.tensor(3)},
        {"a": torch.arange(6.0), "b": torch.tensor(4)},
    ]
    assert state_digest(base) == state_digest(dict(reversed(base.items())))
    assert len({state_digest(state) for state in [base, *others]}) == 5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"model": "resnet5O"},
            r"probe: timm has no network 'resnet5O'\. Did you mean '.*resnet50",
        ),
        ({"model": "hf-hub:timm/resnet18"}, "timm has no network"),
        ({"model": "qqqqqqqqqqqqqqq"}, r"timm.list_models\(\) lists \d+"),
        ({"model": None}, "timm has no network 'None'"),
        ({"model": "resnet18.nosuch"}, r"unknown tag; known tags: .*tv_in1k"),
        ({"weights": None}, "set weights_path to .*, weights: timm to .*, or weights: none"),
        ({"weights": "imagenet"}, "weights is 'imagenet'; it must be null, none or timm"),
        ({"weights": "timm", "weights_path": "a.pth"}, "weights says timm; keep one"),
        ({"requires_size": [1]}, r"probe: requires_size is \[1\]"),
    ],
)
def test_settings_that_make_no_sense(given, says) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        wanted(**given)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there() -> None:
    with pytest.raises(DataError, match=r"probe: no weights at nowhere\.pth"):
        wanted(weights=None, weights_path="nowhere.pth")


@pytest.mark.parametrize(
    ("model", "size", "says"),
    [
        ("test_vit", [60, 64], r"must be multiples of the network's patches, \[16, 16\]"),
        ("levit_128s", [64, 64], r"takes images of \[224, 224\] only"),
    ],
)
def test_sizes_that_a_network_cannot_take(model, size, says) -> None:
    with pytest.raises(ConfigError, match=says):
        wanted(model, requires_size=size).build()


def test_weights_for_another_size_are_the_same_network_with_other_positions(tmp_path) -> None:
    source = wanted("test_vit", seed=3).build()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    network = wanted(
        "test_vit", weights=None, weights_path=str(tmp_path / "w.pth"), requires_size=[64, 96]
    ).build()
    assert network.pos_embed.shape[1] == 1 + 4 * 6
    same, other = source.state_dict(), network.state_dict()
    assert [key for key in same if not torch.equal(same[key], other[key])] == ["pos_embed"]
    assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 1000)


def test_classes() -> None:
    scores = torch.tensor([[1.0, 5.0, 2.0], [7.0, 0.0, 3.0]])
    np.testing.assert_array_equal(select_scores(scores, None), [5, 7])
    np.testing.assert_array_equal(select_scores(scores, 2), [2, 3])
    np.testing.assert_array_equal(select_scores(scores, torch.tensor([0, 1])), [1, 0])
    assert read_class(None, 3, "p") is None
    assert read_class(2, 3, "p") == 2
    for value in (3, -1, 1.0, "1", True):
        with pytest.raises(ConfigError, match="the classes are 0 to 2"):
            read_class(value, 3, "p")
    with pytest.raises(ConfigError, match="scores no classes"):
        read_class(None, 0, "p")


@pytest.mark.parametrize("name", ["gradient", "vit_attention"])
def test_keys_of_predictions_move_with_the_weights(tmp_path, released, name) -> None:
    for file, seed in (("a", 1), ("c", 2)):
        torch.save(wanted("test_vit", seed=seed).build().state_dict(), tmp_path / f"{file}.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())

    def identity(**given):
        return build_model("x", name, {"model": "test_vit", **given}, "cpu").identity

    a, b, c = (identity(weights_path=str(tmp_path / f"{file}.pth")) for file in "abc")
    assert a == b != c
    random = [identity(weights="none", seed=seed) for seed in (0, 0, 1)]
    assert random[0] == random[1] != random[2]
    assert identity(weights="timm") not in (a, c, *random)
    assert identity(weights="none", device="cuda", batch_size=4) == random[0]
    assert timm_models.RELEASE == "timm"


KINDS = {
    "gradient": lambda name: {"model": name},
    "vit_attention": lambda name: {"model": name},
    "readout": lambda name: {"backbone": name, "layers": ["stages"]},
}


@pytest.mark.parametrize("size", [(96, 72), (20, 33), (40, 40)])  # smaller, larger, the same
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", ["test_resnet", "test_vit"])
def test_images_are_resized_and_normalised_as_in_training(tmp_path, kind, network, size) -> None:
    """As Pillow resizes bytes with the interpolation that timm says, up to its rounding."""
    own = resolve_model_data_config(timm.create_model(network, pretrained=False))
    assert own["interpolation"] == {"test_resnet": "bilinear", "test_vit": "bicubic"}[network]
    side = [40, 40] if network == "test_resnet" else [32, 48]
    # away from black and white, where Pillow clips after either axis
    pixels = np.random.default_rng(0).integers(60, 196, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given = {**KINDS[kind](network), "weights": "none", "requires_size": side}
    model = build_model("x", kind, given, "cpu").model
    how = getattr(Image.Resampling, own["interpolation"].upper())
    fitted = np.asarray(Image.fromarray(pixels).resize(side[::-1], how)) / 255
    stimulus = FileStimulus("a", size, tmp_path / "a.png")
    np.testing.assert_allclose(model.planes(stimulus), np.moveaxis(fitted, -1, 0), atol=2.1 / 255)
    other = {"bilinear": "BICUBIC", "bicubic": "BILINEAR"}[own["interpolation"]]
    if list(size) != side:
        wrong = Image.fromarray(pixels).resize(side[::-1], getattr(Image.Resampling, other))
        off = np.abs(model.planes(stimulus) - np.moveaxis(np.asarray(wrong) / 255, -1, 0))
        assert off.max() > 6 / 255
    model._on = "cpu"
    shown = model.batch([stimulus])[0].numpy()
    if kind == "gradient":  # whose network normalises, so that it differentiates by pixels
        mean, std = model._timm.mean, model._timm.std
        np.testing.assert_array_equal(shown, model.planes(stimulus))
    else:
        mean, std = model._mean.ravel(), model._std.ravel()
        normalised = (np.moveaxis(fitted, -1, 0) - 0.5) / 0.5
        np.testing.assert_allclose(shown, normalised, atol=4.2 / 255)
    np.testing.assert_allclose(mean, own["mean"], rtol=1e-6)
    np.testing.assert_allclose(std, own["std"], rtol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "eigencam"])
def test_predictions_of_before_are_made_again(kind) -> None:
    """Networks see other pixels than in version 1, so its cached maps must not be used."""
    given = {"eigencam": {"backbone": "test_resnet", "layers": ["stages"]}}.get(kind)
    given = {**(given or KINDS[kind]("test_vit")), "weights": "none"}
    now = build_model("x", kind, given, "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(now.model), "version", 1)
        assert build_model("x", kind, given, "cpu").identity != now.identity


def test_an_interpolation_that_is_not_known_is_reported(monkeypatch) -> None:
    found = timm.get_pretrained_cfg("test_resnet")
    found.interpolation = "lanczos"
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: found)
    with pytest.raises(ConfigError, match="test_resnet's interpolation is 'lanczos'; it must be"):
        wanted()
