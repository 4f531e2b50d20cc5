"""EigenCAM against a dense computation from its definition, in double precision."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from timm.data import resolve_model_data_config
from torchvision.models import get_model
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from clickmap_cli.config.loading import BENCHMARK, load_config
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models import eigencam as module
from clickmap_cli.models.building import build_model
from clickmap_cli.models.eigencam import DETECTOR_LEVELS, EigenCam, choose_sign, rectify
from clickmap_cli.models.torch_model import IMAGENET_MEAN, IMAGENET_STD
from clickmap_cli.reports.benchmark_figures import draw_heatmap
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.storage.folder import WhenPresent

SIZE = (96, 128)
ODD = (101, 75)
SEED = 3


def scene(path: Path, size: tuple[int, int], seed: int) -> FileStimulus:
    """A picture with structure at every scale."""
    rng = np.random.default_rng(seed)
    pixels = sum(
        gaussian_filter(rng.standard_normal((*size, 3)), (sigma, sigma, 0)) * sigma
        for sigma in (1, 4, 16)
    )
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * pixels).astype(np.uint8)).save(path)
    return FileStimulus(image_id=path.stem, size=size, image_path=path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("eigencam")


@pytest.fixture(scope="module")
def stimulus(folder) -> FileStimulus:
    return scene(folder / "even" / "a.png", SIZE, 0)


@pytest.fixture(scope="module")
def odd(folder) -> FileStimulus:
    return scene(folder / "odd" / "b.png", ODD, 1)


@pytest.fixture(scope="module")
def detector() -> EigenCam:
    model = EigenCam(weights="none", seed=SEED, device="cpu")
    model.prepare()
    return model


@pytest.fixture(scope="module")
def small() -> EigenCam:
    """A network that is built in a moment, with two named levels."""
    return EigenCam(**SMALL)


SMALL = {
    "backbone": "resnet18", "layers": ["layer2", "layer4"], "weights": "none", "seed": SEED,
    "device": "cpu",
}  # fmt: skip


def sharing(model: EigenCam, **settings) -> EigenCam:
    """A model with other settings and the same network, so that it need not be built again."""
    other = EigenCam(weights="none", seed=SEED, device="cpu", **settings)
    other._network, other._on = model.network(), model._on
    return other


def pixels_of(stimulus: FileStimulus, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> torch.Tensor:
    """(1, 3, h, w) as the network gets it, from the file itself."""
    rgb = np.asarray(Image.open(stimulus.image_path), dtype=np.float64) / 255
    normalised = (rgb - np.array(mean)) / np.array(std)
    return torch.from_numpy(normalised).permute(2, 0, 1)[None].float()


def pyramid(network: torch.nn.Module, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """The detector's five levels, from the network's own parts."""
    with torch.no_grad():
        return dict(network.fpn(network.body(pixels)))


def dense(
    levels: dict[str, torch.Tensor],
    level: str,
    size: tuple[int, int],
    component: int = 1,
    turn: int = 1,
) -> tuple[np.ndarray, float]:
    """The map and the share of variance, word by word from the definition."""

    def resized(values: torch.Tensor, to: tuple[int, int]) -> torch.Tensor:
        return torch.nn.functional.interpolate(values, to, mode="bilinear", align_corners=False)

    grid = tuple(levels[level].shape[-2:])
    absolute = [resized(values.double().abs(), grid) for values in levels.values()]
    joined = torch.cat(absolute, dim=1)[0].numpy()
    rows = joined.reshape(len(joined), -1).T
    centred = rows - rows.mean(axis=0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    projection = centred @ vt[component - 1]
    correlation = np.corrcoef(projection, rows.mean(axis=1))[0, 1]
    assert abs(correlation) > 1e-3  # else the sign would be one of rounding
    heat = np.maximum(turn * np.sign(correlation) * projection, 0)
    heat = (heat - heat.min()) / (heat.max() - heat.min())
    # antialiasing, which matters where the grid is finer than the image
    map_ = torch.nn.functional.interpolate(
        torch.from_numpy(heat.reshape(grid))[None, None],
        size,
        mode="bilinear",
        antialias=True,
    )
    return map_[0, 0].numpy(), float(s[component - 1] ** 2 / (s**2).sum())


def shares(model: EigenCam, stimulus: FileStimulus) -> float:
    return model.details[stimulus.image_id]["explained_variance"]


# --- the map ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["even", "odd"])
@pytest.mark.parametrize("level", DETECTOR_LEVELS)
def test_every_level_is_the_dense_computation(detector, stimulus, odd, level, shape) -> None:
    shown = {"even": stimulus, "odd": odd}[shape]
    levels = pyramid(detector.network().network, pixels_of(shown))
    wanted, share = dense(levels, level, shown.size)
    model = sharing(detector, level=level)
    found = model.predict(shown)
    assert found.shape == shown.size
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert shares(model, shown) == pytest.approx(share, abs=1e-5)
    assert wanted.max() > 0.5  # there is something to compare


def test_the_default_level_is_the_coarsest(detector, stimulus) -> None:
    np.testing.assert_array_equal(
        detector.predict(stimulus), sharing(detector, level="pool").predict(stimulus)
    )
    # a level may be a number, as a config has it
    np.testing.assert_array_equal(
        sharing(detector, level=2).predict(stimulus), sharing(detector, level="2").predict(stimulus)
    )


@pytest.mark.parametrize("component", [1, 2, 3])
@pytest.mark.parametrize("invert", [False, True])
def test_components_and_signs(detector, stimulus, component, invert) -> None:
    levels = pyramid(detector.network().network, pixels_of(stimulus))
    wanted, share = dense(levels, "2", SIZE, component, -1 if invert else 1)
    model = sharing(detector, level="2", component=component, invert=invert)
    np.testing.assert_allclose(model.predict(stimulus), wanted, atol=1e-4)
    assert shares(model, stimulus) == pytest.approx(share, abs=1e-5)


def test_a_component_that_does_not_exist_is_flat(detector, stimulus) -> None:
    """The coarsest level has a few positions only, less one after centring."""
    levels = pyramid(detector.network().network, pixels_of(stimulus))
    positions = levels["pool"][0, 0].numel()
    for component, there in ((positions - 1, True), (positions, False), (99, False)):
        model = sharing(detector, component=component)
        assert model.predict(stimulus).any() == there
        assert (shares(model, stimulus) > 0) == there


BORDERS = {  # what `smooth_mode` puts outside the map, as NumPy names it
    "constant": "constant", "reflect": "symmetric", "mirror": "reflect", "nearest": "edge",
}  # fmt: skip


@pytest.mark.parametrize("sigma", [0.7, 5.0, 19])
@pytest.mark.parametrize("mode", [None, *BORDERS])
def test_smoothing_is_a_gaussian_with_the_border_of_its_mode(
    detector, stimulus, sigma, mode
) -> None:
    """Each pixel is the weighted mean around it; beyond the border the mode says what there is."""
    settings = {"level": "2", "invert": True}  # which is hot at the border
    plain = sharing(detector, **settings).predict(stimulus).astype(np.float64)
    reach = int(4 * sigma + 0.5)  # where SciPy ends a Gaussian
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    wanted = np.pad(plain, reach, mode=BORDERS[mode or "constant"])
    for axis in (0, 1):
        wanted = np.apply_along_axis(np.convolve, axis, wanted, kernel, "valid")
    more = {} if mode is None else {"smooth_mode": mode}
    found = sharing(detector, **settings, smooth_sigma=sigma, **more).predict(stimulus)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    variant = sharing(detector, smooth_sigma=sigma, **more).predict_variants(stimulus)["2-"]
    np.testing.assert_allclose(variant, wanted, atol=1e-5)


def test_the_border_matters(detector, stimulus) -> None:
    maps = [
        sharing(detector, level="2", invert=True, smooth_sigma=19, smooth_mode=mode).predict(
            stimulus
        )
        for mode in BORDERS
    ]
    for at, one in enumerate(maps):
        for other in maps[:at]:
            assert abs(one - other).max() > 0.003
    assert abs(maps[0] - maps[1]).max() > 0.05


def test_an_image_of_one_colour_has_a_map(detector, folder) -> None:
    path = folder / "flat.png"
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(path)
    for level in ("pool", "0"):
        found = sharing(detector, level=level).predict(FileStimulus("flat", SIZE, path))
        assert np.isfinite(found).all()
        assert 0 <= found.min() <= found.max() <= 1


def test_several_at_once_are_as_one_by_one(small, folder) -> None:
    stimuli = [scene(folder / "batch" / f"{i}.png", (96, 128), 10 + i) for i in range(3)]
    together = small.predict_batch(stimuli)
    kept = [shares(small, stimulus) for stimulus in stimuli]
    for stimulus, found, share in zip(stimuli, together, kept, strict=True):
        np.testing.assert_allclose(found, small.predict(stimulus), atol=1e-4)
        assert shares(small, stimulus) == pytest.approx(share, abs=1e-5)
    assert len(set(kept)) == 3


# --- sign and scale --------------------------------------------------------------------------


def test_the_sign_follows_the_mean_activation() -> None:
    activation = torch.tensor([1.0, 2.0, 3.0, 10.0])
    rising = torch.tensor([-2.0, -1.0, 0.0, 3.0])
    assert choose_sign(rising, activation) == 1
    assert choose_sign(-rising, activation) == -1
    # where nothing correlates, the largest value is positive
    even = torch.tensor([1.0, -3.0, 1.0, 1.0])
    assert choose_sign(even, torch.full((4,), 7.0)) == -1
    assert choose_sign(-even, torch.full((4,), 7.0)) == 1


def test_rectified_maps_lie_between_0_and_1() -> None:
    heat = rectify(torch.tensor([[-5.0, 0.0], [1.0, 4.0]]))
    assert heat.tolist() == [[0, 0], [0.25, 1]]
    assert rectify(torch.tensor([[2.0, 3.0], [6.0, 4.0]])).tolist() == [[0, 0.25], [1, 0.5]]
    for flat in (-1.0, 0.0, 2.0):
        assert rectify(torch.full((2, 2), flat)).tolist() == [[0, 0], [0, 0]]


# --- other networks --------------------------------------------------------------------------


def layers_of(network: torch.nn.Module, names: list[str], pixels) -> dict[str, torch.Tensor]:
    """Outputs of a residual network's stages, called one after the other."""
    stem = network.act1 if hasattr(network, "act1") else network.relu
    with torch.no_grad():
        x = network.maxpool(stem(network.bn1(network.conv1(pixels))))
        found = {}
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(network, name)(x)
            found[name] = x
    return {name: found[name] for name in names}


@pytest.mark.parametrize("level", [None, "layer2", "layer4"])
def test_named_layers_of_a_timm_network(small, stimulus, level) -> None:
    names = ["layer2", "layer4"]
    levels = layers_of(small.network().network, names, pixels_of(stimulus))
    wanted, share = dense(levels, level or "layer4", SIZE)
    model = EigenCam(**SMALL, level=level)
    np.testing.assert_allclose(model.predict(stimulus), wanted, atol=1e-4)
    assert shares(model, stimulus) == pytest.approx(share, abs=1e-5)


def test_named_layers_of_a_torchvision_network(stimulus, folder) -> None:
    """timm does not have `squeezenet1_1`; its weights come from a file of torchvision's."""
    torch.manual_seed(0)
    source = get_model("squeezenet1_1", weights=None).eval()
    torch.save(source.state_dict(), folder / "squeezenet.pth")
    names = ["features.5", "features.12"]
    model = EigenCam(
        "squeezenet1_1", names, weights_path=str(folder / "squeezenet.pth"), device="cpu"
    )
    levels, x = {}, pixels_of(stimulus)
    with torch.no_grad():
        for at, layer in enumerate(source.features):
            x = layer(x)
            if f"features.{at}" in names:
                levels[f"features.{at}"] = x
    for level in (None, "features.5"):
        one = EigenCam(
            "squeezenet1_1", names, level=level,
            weights_path=str(folder / "squeezenet.pth"), device="cpu",
        )  # fmt: skip
        wanted, _ = dense(levels, level or "features.12", SIZE)
        np.testing.assert_allclose(one.predict(stimulus), wanted, atol=1e-4)
    assert model.notices == ()


def hooked(network: torch.nn.Module, names: list[str], pixels) -> dict[str, torch.Tensor]:
    """Outputs of named modules while a network runs."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _given, output, name=name: found.update({name: output.clone()})
        )
        for name in names
    ]
    with torch.no_grad():
        network.eval()(pixels)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("given", ["seed", "file"])
@pytest.mark.parametrize(
    ("name", "names", "mean"),
    [
        ("tf_efficientnet_lite0", ["blocks.2", "blocks.4"], 0.5),
        ("tf_efficientnet_lite0.in1k", ["blocks.2", "blocks.4"], 0.5),
        ("resnet18", ["layer2", "layer3"], IMAGENET_MEAN),
    ],
)
def test_timm_networks_see_images_as_they_did_in_training(
    stimulus, tmp_path, name, names, mean, given
) -> None:
    """Normalised with the mean and deviation of their own, as timm itself says them."""
    torch.manual_seed(SEED)
    network = timm.create_model(name, pretrained=False)
    own = resolve_model_data_config(network)
    assert own["mean"] == (mean if isinstance(mean, tuple) else (mean,) * 3)
    levels = hooked(network, names, pixels_of(stimulus, own["mean"], own["std"]))
    wanted, share = dense(levels, names[0], SIZE)
    weights = {"weights": "none", "seed": SEED}
    if given == "file":
        torch.save(network.state_dict(), tmp_path / "w.pth")
        weights = {"weights_path": str(tmp_path / "w.pth")}
    model = EigenCam(name, names, level=names[0], device="cpu", **weights)
    np.testing.assert_allclose(model.predict(stimulus), wanted, atol=1e-3)
    assert shares(model, stimulus) == pytest.approx(share, abs=1e-4)


def test_torchvisions_weights_are_those_of_imagenet(monkeypatch) -> None:
    """`inception_v3` is a name of both; torchvision's release takes ImageNet's normalisation."""
    for weights, wanted in (("torchvision", IMAGENET_MEAN), ("timm", (0.5, 0.5, 0.5))):
        model = EigenCam("inception_v3", ["Mixed_7c"], weights=weights, device="cpu")
        np.testing.assert_allclose(model._mean.ravel(), wanted, rtol=1e-6)


def test_torchvisions_detectors_normalise_by_themselves(stimulus) -> None:
    name, names = "fasterrcnn_mobilenet_v3_large_320_fpn", ["backbone.body.12"]
    torch.manual_seed(SEED)
    network = get_model(name, weights=None, weights_backbone=None)
    levels = hooked(network, names, pixels_of(stimulus, 0, 1))
    wanted, _ = dense(levels, names[0], SIZE)
    model = EigenCam(name, names, weights="none", seed=SEED, device="cpu")
    np.testing.assert_allclose(model.predict(stimulus), wanted, atol=1e-3)


def test_one_layer_may_be_a_word(small, stimulus) -> None:
    levels = layers_of(small.network().network, ["layer3"], pixels_of(stimulus))
    wanted, _ = dense(levels, "layer3", SIZE)
    found = EigenCam("resnet18", "layer3", weights="none", seed=SEED, device="cpu")
    np.testing.assert_allclose(found.predict(stimulus), wanted, atol=1e-4)


def test_a_layer_before_one_that_works_in_place(folder) -> None:
    """`bn1` of a torchvision network is overwritten by the ReLU after it."""
    shown = scene(folder / "inplace.png", (64, 72), 4)
    model = EigenCam("resnet18", ["bn1"], weights="none", seed=SEED, device="cpu")
    network = model.network().network
    with torch.no_grad():
        levels = {"bn1": network.bn1(network.conv1(pixels_of(shown)))}
    assert (levels["bn1"] < 0).any()
    wanted, _ = dense(levels, "bn1", (64, 72))
    np.testing.assert_allclose(model.predict(shown), wanted, atol=1e-4)


def test_nothing_is_downloaded_unasked(monkeypatch) -> None:
    """torchvision's detectors and segmenters bring a trained backbone along by default."""

    def refuse(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    for name in ("lraspp_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large"):
        model = EigenCam(name, ["backbone"], weights="none", device="cpu")
        model.prepare()
    with pytest.raises(AssertionError, match="a download"):
        EigenCam("squeezenet1_1", ["features"], weights="torchvision", device="cpu").prepare()


# --- sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 480), (64, 96), (97, 96), (50, 400), (601, 977), (900, 1200), (7, 9)]
)
def test_the_detectors_own_sizes(size) -> None:
    """Short side 800 unless the long one would exceed 1333, as torchvision itself does it."""
    image = torch.from_numpy(np.random.default_rng(0).random((3, *size))).float()
    transform = GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3)
    batch, _ = transform([image])
    ((height, width),) = batch.image_sizes
    found = module.resize_as_detector(image[None])[0]
    assert tuple(found.shape) == (3, height, width)
    assert min(height, width) in (799, 800) or max(height, width) in (1332, 1333)
    # it pads to multiples of 32, which a map would only have to be cut again
    torch.testing.assert_close(found, batch.tensors[0, :, :height, :width])


def test_detector_resize(small, folder) -> None:
    shown = scene(folder / "resized.png", (48, 96), 5)
    larger = torch.nn.functional.interpolate(
        pixels_of(shown), (666, 1333), mode="bilinear", align_corners=False
    )
    levels = layers_of(small.network().network, ["layer3", "layer4"], larger)
    settings = SMALL | {"layers": ["layer3", "layer4"]}
    for level in ("layer4", "layer3"):
        wanted, _ = dense(levels, level, (48, 96))
        model = EigenCam(**settings, level=level, detector_resize=True)
        np.testing.assert_allclose(model.predict(shown), wanted, atol=1e-4)


# --- variants --------------------------------------------------------------------------------


def test_variants_are_every_level_with_either_sign(detector, odd) -> None:
    model = sharing(detector, smooth_sigma=2.0)
    found = model.predict_variants(odd)
    assert list(found) == [f"{level}{sign}" for level in DETECTOR_LEVELS for sign in "+-"]
    for level in ("pool", "3", "0"):
        for sign, invert in (("+", False), ("-", True)):
            one = sharing(detector, smooth_sigma=2.0, level=level, invert=invert)
            np.testing.assert_allclose(found[f"{level}{sign}"], one.predict(odd), atol=1e-4)
    assert model.details == {}


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weights": None}, "to its checkpoint, weights: torchvision to .* or weights: none"),
        ({"weights": None, "backbone": "vgg11", "layers": ["features"]}, "weights: timm to"),
        ({"weights": "random"}, "weights is 'random'; it must be null, none or torchvision"),
        ({"weights_path": "nowhere.pth", "weights": "none"}, "weights_path is set and weights"),
        ({"level": "p6"}, "level is 'p6'; it must be one of pool, 3, 2, 1, 0"),
        ({"level": 4}, "level is 4"),
        ({"component": 0}, "component is 0"),
        ({"smooth_sigma": 0}, "smooth_sigma is 0.0; it must be above 0"),
        ({"smooth_sigma": -1.5}, "smooth_sigma is -1.5"),
        ({"smooth_sigma": 2, "smooth_mode": "zeros"}, "smooth_mode is 'zeros'; it must be one of"),
        ({"smooth_mode": "reflect"}, "smooth_mode is reflect and smooth_sigma is not set"),
        ({"layers": ["body.layer4"]}, "has levels of its own"),
        ({"backbone": "resnet18"}, "resnet18 needs layers"),
        ({"backbone": "resnet18", "layers": []}, "layers is empty"),
        ({"backbone": "resnet18", "layers": ["layer1"], "level": "pool"}, "one of layer1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_that_make_no_sense(settings, says) -> None:
    with pytest.raises(ConfigError, match=says):
        build_model("x", "eigencam", {"weights": "none", **settings}, "cpu")


def test_weights_that_are_not_there() -> None:
    with pytest.raises(DataError, match=r"no weights at nowhere\.pth"):
        EigenCam(weights_path="nowhere.pth", weights=None, device="cpu")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backbone": "resnet81", "layers": ["layer1"]}, "no network 'resnet81'.*resnet18"),
        ({"backbone": "resnet18", "layers": ["layer22"]}, "no layer 'layer22'.*layer2"),
        ({"backbone": "resnet18", "layers": [""]}, "no layer ''"),
    ],
)
def test_names_that_are_not_there_are_reported_with_the_nearest(settings, says) -> None:
    model = EigenCam(**settings, weights="none", device="cpu")
    with pytest.raises(ConfigError, match=says):
        model.prepare()


def test_a_layer_without_a_map_is_a_sentence(folder) -> None:
    shown = scene(folder / "vector.png", (64, 64), 6)
    model = EigenCam("resnet18", ["layer4", "fc"], weights="none", device="cpu")
    with pytest.raises(DataError, match="the layer fc gives no"):
        model.predict(shown)


def test_random_weights_are_announced(tmp_path) -> None:
    built = build_model("cam", "eigencam", {"weights": "none"}, "cpu")
    (said,) = built.model.notices
    assert "random weights" in said
    assert EigenCam(weights="none", seed=1).weights_digest() != built.model.weights_digest()
    with pytest.raises(ConfigError, match="weights"):
        build_model("cam", "eigencam", {}, "cpu")


def test_random_weights_are_those_of_the_seed(small) -> None:
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    again, other = EigenCam(**SMALL), EigenCam(**SMALL | {"seed": SEED + 1})
    weights = [model.network().network.conv1.weight for model in (small, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)


# --- checkpoints -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source() -> torch.nn.Module:
    """A whole detector with statistics that matter."""
    torch.manual_seed(11)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    rng = torch.Generator().manual_seed(12)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2, generator=rng)
            part.running_var.uniform_(0.5, 2, generator=rng)
            part.weight.data.uniform_(0.2, 0.6, generator=rng)
            part.bias.data.normal_(0, 0.2, generator=rng)
    return network.eval()


def older(key: str) -> str:
    """The name that releases before torchvision 0.13 gave a block of the pyramid."""
    if ".fpn." not in key:
        return key
    words = key.split(".")
    return ".".join([*words[:-2], words[-1]])


LAYOUTS = {
    "with counts": lambda state: state,
    "without counts": lambda state: {
        key: value for key, value in state.items() if not key.endswith("num_batches_tracked")
    },
    "older names": lambda state: {
        older(key): value for key, value in state.items() if "num_batches" not in key
    },
    "backbone only": lambda state: {
        key.removeprefix("backbone."): value
        for key, value in state.items() if key.startswith("backbone.")
    },
    "nested": lambda state: {"model": state, "epoch": 3},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_checkpoints_of_the_whole_detector(source, stimulus, tmp_path, layout) -> None:
    state = source.state_dict()
    assert {"rpn.head.cls_logits.weight", "roi_heads.box_predictor.cls_score.weight"} <= set(state)
    assert "backbone.fpn.inner_blocks.0.0.weight" in state
    assert "backbone.body.bn1.num_batches_tracked" in state
    written = LAYOUTS[layout](state)
    if layout == "older names":
        assert "backbone.fpn.inner_blocks.0.weight" in written
    torch.save(written, tmp_path / "detector.pth")
    model = EigenCam(weights_path=str(tmp_path / "detector.pth"), device="cpu")
    assert model.notices == ()
    with torch.inference_mode():
        wanted = source.backbone(pixels_of(stimulus))
        found = model.network()(pixels_of(stimulus))
    assert list(found) == list(wanted) == ["0", "1", "2", "3", "pool"]
    for level, values in wanted.items():
        torch.testing.assert_close(found[level], values, rtol=1e-4, atol=1e-4)
    if layout == "with counts":
        map_, _ = dense(pyramid(source.backbone, pixels_of(stimulus)), "2", SIZE)
        two = EigenCam(weights_path=str(tmp_path / "detector.pth"), level="2", device="cpu")
        np.testing.assert_allclose(two.predict(stimulus), map_, atol=1e-4)


@pytest.mark.parametrize("by", ["path", "release"])
def test_torchvisions_release_has_no_epsilon(source, stimulus, tmp_path, monkeypatch, by) -> None:
    """torchvision sets it to 0 for this file, which was trained without."""
    state = LAYOUTS["without counts"](source.state_dict())
    path = tmp_path / "hub" / "checkpoints" / "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    if by == "path":  # known by its content
        digest = module.sha256_of(path)
        monkeypatch.setattr(module, "_RELEASE", digest[:8])
        model = EigenCam(weights_path=str(path), device="cpu")
    else:  # downloaded before, so that nothing is downloaded here
        monkeypatch.setitem(os.environ, "TORCH_HOME", str(tmp_path))
        model = EigenCam(weights="torchvision", device="cpu")
    norms = [p for p in model.network().modules() if hasattr(p, "eps")]
    assert norms
    assert {norm.eps for norm in norms} == {0.0}
    body = model.network().network.body
    conv = torch.nn.functional.conv2d(pixels_of(stimulus), body.conv1.weight, stride=2, padding=3)
    kept = {key.removeprefix("backbone.body.bn1."): value for key, value in state.items()}
    mean, var, weight, bias = (
        kept[name][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    wanted = (conv - mean) / var.sqrt() * weight + bias
    torch.testing.assert_close(body.bn1(conv), wanted, rtol=1e-4, atol=1e-4)


def test_the_weights_count_by_their_content(tmp_path) -> None:
    torch.save({"backbone.body.conv1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    torch.save({"backbone.body.conv1.weight": torch.ones(1)}, tmp_path / "c.pth")
    digests = [EigenCam(weights_path=str(tmp_path / f"{n}.pth")).weights_digest() for n in "abc"]
    assert digests[0] == digests[1] != digests[2]
    one, two = (
        build_model("x", "eigencam", {"weights_path": str(tmp_path / f"{n}.pth")}, "cpu")
        for n in "ab"
    )
    assert one.identity == two.identity


def spoiled(state: dict, how: str) -> dict:
    state = dict(state)
    if how == "lacks":
        for name in ("weight", "bias"):
            del state[f"backbone.fpn.layer_blocks.0.0.{name}"]
        for number in range(3):
            del state[f"backbone.body.layer4.{number}.conv2.weight"]
    elif how == "unknown":
        state["backbone.body.layer5.0.conv1.weight"] = torch.zeros(2)
        state["backbone.fpn.extra_blocks.p6.weight"] = torch.zeros(2)
    elif how == "shape":
        state["backbone.body.conv1.weight"] = torch.zeros(64, 1, 7, 7)
    else:
        state = {"model.diffusion.weight": torch.zeros(3)}
    return state


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "lacks",
            (
                r"lacks body\.layer4\.0\.conv2\.weight, body\.layer4\.1\.conv2\.weight, "
                r"body\.layer4\.2\.conv2\.weight and 2 more"
            ),
        ),
        ("unknown", r"has unknown .*body\.layer5\.0\.conv1\.weight"),
        ("shape", r"has other shapes: body\.conv1\.weight \[64, 1, 7, 7\] for \[64, 3, 7, 7\]"),
        ("nothing of it", r"lacks body\.conv1\.weight, .* and \d+ more"),
    ],
)
def test_checkpoints_that_do_not_fit_name_what_differs(source, tmp_path, how, says) -> None:
    path = tmp_path / "wrong.pth"
    torch.save(spoiled(source.state_dict(), how), path)
    with pytest.raises(DataError, match=says) as caught:
        EigenCam(weights_path=str(path), device="cpu").prepare()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class Payload:
    """Unpickled by the plain loader, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickled_object_is_refused_and_does_not_run(tmp_path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"backbone.body.conv1.weight": Payload(tmp_path / "touched")}, path)
    with pytest.raises(DataError, match=r"evil\.pth: refused to load it .*not only tens") as caught:
        EigenCam(weights_path=str(path), device="cpu").prepare()
    assert not (tmp_path / "touched").exists()
    assert str(caught.value).isprintable()
    assert "weights_only" not in str(caught.value)  # torch says how to load it all the same


def test_timm_has_no_detector(tmp_path) -> None:
    with pytest.raises(ConfigError, match="the detector's are torchvision's"):
        EigenCam(weights="timm", device="cpu").prepare()


# --- in a benchmark --------------------------------------------------------------------------


def benched(folder: Path, out: str, *words: str, progress=None, **kwargs):
    figures = BenchmarkFigures(draw_heatmap, lambda result, pictures, path, n: path.write_text("x"))
    config = load_config(BENCHMARK, None, [
        f"datasets=[{{name: folder, label: few, root: {folder}}}]",
        (
            "models=[{name: cam, type: eigencam, backbone: resnet18, layers: [layer2, layer4],"
            f" weights: none, seed: {SEED}, device: cpu}}]"
        ),
        f"output_dir={folder / out}", f"prediction_cache_dir={folder / 'cache'}",
        "metrics=[CC,NSS]", "n_jobs=1", *words,
    ]).config  # fmt: skip
    return benchmark.run(config, progress or Silent(), figures, **kwargs)


@pytest.fixture
def few(tmp_path) -> Path:
    rng = np.random.default_rng(7)
    (tmp_path / "fixations").mkdir()
    for i in range(3):
        scene(tmp_path / "images" / f"{i}.png", (64, 96), 20 + i)
        fixated = np.zeros((64, 96))
        fixated[rng.integers(0, 64, 12), rng.integers(0, 96, 12)] = 1
        np.save(tmp_path / f"fixations/{i}.npy", fixated)
    return tmp_path


def test_explained_variance_is_recorded_whatever_a_run_went_through(few, small) -> None:
    wanted = {}
    for i in range(3):
        shown = FileStimulus(str(i), (64, 96), few / f"images/{i}.png")
        levels = layers_of(small.network().network, ["layer2", "layer4"], pixels_of(shown))
        wanted[str(i)] = dense(levels, "layer4", (64, 96))[1]

    def recorded(out: str) -> dict[str, float]:
        with (few / out / "few__cam_details.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["image_id", "explained_variance"]
        return {row["image_id"]: float(row["explained_variance"]) for row in rows}

    told = Silent()
    benched(few, "first", progress=told)
    assert sum("random weights" in text for text in told.notices) == 1
    first = recorded("first")
    assert first == pytest.approx(wanted, abs=1e-5)
    for i in range(3):  # the proof keeps it
        proof = json.loads((few / f"cache/few/cam/{i}.json").read_text())
        assert proof["details"] == {"explained_variance": first[str(i)]}
    benched(few, "cached")  # nothing is predicted here
    assert recorded("cached") == first
    # a run that is cut after two images, with nothing kept but the journal
    calls = 0
    real = EigenCam.predict

    def cut(self, stimulus):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(self, stimulus)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EigenCam, "predict", cut)
        with pytest.raises(KeyboardInterrupt):
            benched(few, "cut", "cache_predictions=false")
    benched(few, "cut", "cache_predictions=false", when=WhenPresent.RESUME)
    assert calls == 3
    assert recorded("cut") == first
    manifest = json.loads((few / "cut/manifest.json").read_text())
    assert "few__cam_details.csv" in manifest["outputs"]
