"""EigenCAM: the main direction of variation of a network's features, without class or training."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.config.fields import Count, Key, OptionalPositive
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.timm_models import create_network, load_pretrained_config
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.models.weights import (
    find_module,
    load_state,
    random_weights_notice,
    read_state,
    read_weights_setting,
    seeded,
    suggest_nearest,
)
from clickmap_cli.runtime.errors import ConfigError, DataError, short_reason
from clickmap_cli.storage.atomic import sha256_of

DETECTOR = "fasterrcnn_resnet50_fpn"
DETECTOR_LEVELS = ("pool", "3", "2", "1", "0")
"""Levels of the feature pyramid, from the coarsest to the finest."""

_SMOOTH_MODES = ("constant", "reflect", "mirror", "nearest")
_RELEASE = "258fb6c6"
"""First digits of the SHA-256 of torchvision's COCO_V1 file, which are in its name."""


class EigenCam(TorchSaliencyModel):
    """The first principal component of a network's features (Muhammad and Yeasin 2020).

    By default the features are those of Faster R-CNN's feature pyramid: the absolute values of all
    five levels are resized bilinearly to one of them, concatenated, centred over positions, and
    projected on their first principal component. A component's sign is arbitrary: here it is the
    one that correlates positively with the mean absolute activation. Negative values become 0; the
    rest is scaled to 0..1 and resized to the image. Images are normalised as the network requires
    (for a timm network, by its pretrained configuration).

    Args:
        backbone: `fasterrcnn_resnet50_fpn`, or any timm or torchvision network with `layers`.
        layers: names of the modules whose outputs are the levels, or one name; None for the
            detector's.
        level: the level that all are resized to: pool, 3, 2, 1 or 0 of the detector, or one of
            `layers`; None = the coarsest (the detector's pool, the last of `layers`).
        component: number of the principal component, from 1.
        invert: use the opposite sign.
        smooth_sigma: sigma of a Gaussian blur of the map in pixels of the image; None = no blur.
        smooth_mode: values the Gaussian assumes outside the map, in SciPy's words: constant
            (zeros), reflect, mirror or nearest.
        detector_resize: resize images to a short side of 800 first, as the detector does.
        weights_path: a checkpoint of the network (the whole detector's, or the whole classifier's).
        weights: `torchvision` or `timm` to download theirs, `none` for random ones.
        seed: seed of random weights.
        device: auto, cpu, cuda or mps.
        batch_size: number of images of one size that go through the network together.
    """

    version = 2
    run_only = TorchSaliencyModel.run_only | {"weights_path"}

    def __init__(
        self,
        backbone: str = DETECTOR,
        layers: Sequence[str] | None = None,
        level: str | int | None = None,
        component: Count = 1,
        invert: bool = False,
        smooth_sigma: OptionalPositive = None,
        smooth_mode: Annotated[str, Key(choices=_SMOOTH_MODES)] = "constant",
        detector_resize: bool = False,
        weights_path: str | None = None,
        weights: str | None = None,
        seed: int = 0,
        device: str = "auto",
        batch_size: Count = 1,
    ) -> None:
        mean, std = choose_normalisation(backbone, None if weights_path else weights)
        super().__init__(device, None, batch_size, mean=mean, std=std)
        self._explained: list[float] = []
        if (backbone == DETECTOR) != (layers is None):
            wanted = "needs layers" if layers is None else "has levels of its own; leave layers out"
            raise ConfigError(f"eigencam: backbone {backbone} {wanted}.")
        if layers is not None and not layers:
            raise ConfigError("eigencam: layers is empty; name at least one.")
        self._mode = smooth_mode
        if smooth_sigma is None and self._mode != "constant":
            raise ConfigError(
                f"eigencam: smooth_mode is {self._mode} and smooth_sigma is not set; set it, or "
                "leave smooth_mode out."
            )
        self._backbone = backbone
        names = [layers] if isinstance(layers, str) else layers
        self._layers = None if names is None else [str(name) for name in names]
        levels = DETECTOR_LEVELS if self._layers is None else self._layers[::-1]
        self._level = str(levels[0] if level is None else level)
        if self._level not in levels:
            known = ", ".join(levels)
            raise ConfigError(f"eigencam: level is {level!r}; it must be one of {known}.")
        self._component, self._invert = component, invert
        self._smooth = smooth_sigma
        self._detector_resize = detector_resize
        self._seed = seed
        self._path: Path | None = None
        self._release = weights if weights in ("torchvision", "timm") and not weights_path else None
        if self._release is None:
            release = "torchvision" if backbone == DETECTOR else "timm"
            self._path = read_weights_setting(weights_path, weights, "eigencam", release)
            if self._path is None:
                self.notices = (random_weights_notice("eigencam"),)

    def weights_digest(self) -> str:
        """Return the checkpoint's SHA-256, or the name of the release, or the seed."""
        if self._path is not None:
            return sha256_of(self._path)
        return f"{self._release} {self._backbone}" if self._release else f"random {self._seed}"

    def build(self) -> FeatureNetwork:
        """Build the part of the network that gives the features."""
        return build_features(
            self._backbone, self._layers, path=self._path, release=self._release, seed=self._seed
        )

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) components on the level's grid, rectified, in 0..1."""
        features = self._features(network, images)
        maps = []
        for one in join_features(features, self._level):
            signed, explained = compute_signed_component(one, self._component)
            maps.append(rectify(-signed if self._invert else signed))
            self._explained.append(explained)
        return torch.stack(maps)

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predict maps of several images of one size, at the image's size."""
        self._explained = []
        maps = super().predict_batch(stimuli)
        for stimulus, explained in zip(stimuli, self._explained, strict=True):
            self.details[stimulus.image_id] = {"explained_variance": explained}
        return [
            self._smooth_map(resize(values, stimulus.size))
            for stimulus, values in zip(stimuli, maps, strict=True)
        ]

    def predict_variants(self, stimulus: Stimulus) -> dict[str, NDArray[Any]]:
        """Predict with every level, finest last, and either sign: `pool+`, `pool-`, `3+`, ..."""
        network = self.network()
        images = self.batch([stimulus])
        found: dict[str, NDArray[Any]] = {}
        with torch.inference_mode():
            features = self._features(network, images)
            for level in reversed(features):
                signed, _ = compute_signed_component(
                    join_features(features, level)[0], self._component
                )
                for sign, values in (("+", signed), ("-", -signed)):
                    heat = rectify(values).float().cpu().numpy()
                    found[f"{level}{sign}"] = self._smooth_map(resize(heat, stimulus.size))
        return found

    def _features(self, network: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
        if self._detector_resize:
            images = resize_as_detector(images)
        found: dict[str, torch.Tensor] = network(images)
        return found

    def _smooth_map(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._smooth is None:
            return values
        from scipy.ndimage import gaussian_filter

        return np.asarray(gaussian_filter(values, self._smooth, mode=self._mode))


def join_features(features: dict[str, torch.Tensor], level: str) -> torch.Tensor:
    """Concatenate the absolute values of all levels, resized to the grid of one level.

    Args:
        features: level -> (n, channels, its h, its w).
        level: the level whose grid is used.

    Returns:
        (n, channels of all levels, h, w).
    """
    size = features[level].shape[-2:]
    parts = []
    for values in features.values():
        positive = values.abs()
        if positive.shape[-2:] != size:
            positive = functional.interpolate(
                positive, size=size, mode="bilinear", align_corners=False
            )
        parts.append(positive)
    return torch.cat(parts, dim=1)


def compute_signed_component(features: torch.Tensor, number: int) -> tuple[torch.Tensor, float]:
    """Return (h, w) a component of (channels, h, w) features, and its share of the variance.

    The component's sign follows `choose_sign`. The features are overwritten: at the finest level a
    copy would take longer than the rest.
    """
    positions = features.flatten(1).T
    activation = positions.mean(dim=1)
    projection, explained = compute_component(positions, number, overwrite=True)
    signed = projection * choose_sign(projection, activation)
    return signed.reshape(features.shape[1:]), explained


def rectify(values: torch.Tensor) -> torch.Tensor:
    """Set negative values to 0 and min-max scale the rest to 0..1; zeros if all are equal."""
    heat = torch.relu(values)
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low) if high > low else torch.zeros_like(heat)


def choose_sign(projection: torch.Tensor, activation: torch.Tensor) -> float:
    """Return the sign, 1 or -1, that makes a projection correlate positively with the activation.

    If they do not correlate at all, return the sign that makes the projection's largest absolute
    value positive.
    """
    together = float(torch.dot(projection, activation - activation.mean()))
    if together == 0:
        together = float(projection[projection.abs().argmax()])
    return 1.0 if together >= 0 else -1.0


def resize_as_detector(images: torch.Tensor) -> torch.Tensor:
    """Resize images to a short side of 800 pixels, or less if the long side would exceed 1333."""
    height, width = images.shape[-2:]
    return functional.interpolate(
        images,
        scale_factor=min(800 / min(height, width), 1333 / max(height, width)),
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=True,
    )


class FeatureNetwork(torch.nn.Module):
    """A network that returns (n, channels, h, w) features by the name of their level.

    Args:
        network: the whole network.
        layers: names of modules whose outputs are the levels; None if the network returns the
            levels itself.
    """

    def __init__(self, network: torch.nn.Module, layers: Sequence[str] | None) -> None:
        super().__init__()
        self.network = network
        self._layers = layers
        self._found: dict[str, torch.Tensor] = {}
        for name in layers or ():
            module = find_module(network, name, "eigencam")
            module.register_forward_hook(self._keeper(name))

    def forward(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the features of (n, 3, h, w) images, in the order of the levels.

        Raises:
            DataError: a layer's output is not an (n, channels, h, w) tensor.
        """
        self._found = {}
        given = self.network(images)
        if self._layers is None:
            return dict(given)
        found = {name: self._found[name] for name in self._layers if name in self._found}
        for name in self._layers:
            if name not in found or found[name].ndim != 4:
                raise DataError(f"eigencam: the layer {name} gives no (channels, h, w) features.")
        return found

    def _keeper(self, name: str) -> Any:
        def keep(_module: torch.nn.Module, _given: Any, output: Any) -> None:
            # a later in-place layer must not change what was kept
            self._found[name] = output.clone() if isinstance(output, torch.Tensor) else output

        return keep


def choose_normalisation(
    backbone: str, weights: str | None
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Return mean and standard deviation (3 each) for a network's images; None = ImageNet's.

    A timm network has its own. torchvision's detectors normalise images themselves, so they receive
    RGB in 0..1. torchvision's other networks were trained with ImageNet's values, and so was the
    backbone of `fasterrcnn_resnet50_fpn`, which is used without the rest of the detector.

    Args:
        backbone: as for `build_features`; an unknown name raises nothing here.
        weights: as for `build_features`.

    Raises:
        ConfigError: timm has the network but not the tag in its name.
    """
    if backbone == DETECTOR:
        return None, None
    if _is_timm(backbone, weights):
        known = load_pretrained_config(backbone, "eigencam")
        return known.mean, known.std
    from torchvision.models import detection, list_models

    inside = backbone in list_models(module=detection)
    return ((0.0,) * 3, (1.0,) * 3) if inside else (None, None)


def _is_timm(backbone: str, weights: str | None) -> bool:
    """Return True if timm builds the network; torchvision's weights need torchvision's network."""
    import timm

    return weights != "torchvision" and timm.is_model(backbone)


def build_features(
    backbone: str,
    layers: Sequence[str] | None,
    *,
    path: Path | None,
    release: str | None,
    seed: int,
) -> FeatureNetwork:
    """Build a network and load its weights.

    Args:
        backbone: `fasterrcnn_resnet50_fpn`, or the name of a timm or torchvision network.
        layers: names of modules; None for the detector's pyramid.
        path: a checkpoint, or None.
        release: `torchvision` or `timm` to download weights, or None.
        seed: seed of random weights.

    Raises:
        ConfigError: the network or a layer does not exist.
        DataError: the weights are missing, damaged or do not fit.
    """
    with seeded(seed):
        if backbone == DETECTOR:
            return FeatureNetwork(_build_detector(path, release), None)
        network = _build_network(backbone, release, seed)
    if path is not None:
        load_state(network, read_state(path), path)
    return FeatureNetwork(network, layers)


def _build_detector(path: Path | None, release: str | None) -> torch.nn.Module:
    """Build the backbone and feature pyramid of Faster R-CNN, without its heads."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    released = bool(release) or (path is not None and sha256_of(path).startswith(_RELEASE))
    # torchvision does the same: this release was trained with eps 0
    norm = partial(FrozenBatchNorm2d, eps=0.0) if released else FrozenBatchNorm2d
    network: torch.nn.Module = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=norm
    )
    if path is not None:
        state = read_state(path)
    elif release == "torchvision":
        with _explained_downloads("torchvision's weights"):
            state = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(progress=False)
    elif release is not None:
        raise ConfigError(f"eigencam: weights is {release}; the detector's are torchvision's.")
    else:
        return network
    kept = {}
    for key, value in state.items():
        words = key.removeprefix("backbone.").split(".")
        if words[0] not in ("body", "fpn") or words[-1] == "num_batches_tracked":
            continue
        if words[0] == "fpn" and len(words) == 4:  # fpn.inner_blocks.0.weight of older releases
            words.insert(3, "0")
        kept[".".join(words)] = value
    source = path or Path("the torchvision release")
    return load_state(network, kept, source, "torchvision's Faster R-CNN")


def _build_network(name: str, release: str | None, seed: int) -> torch.nn.Module:
    """Build a timm network, or torchvision's if timm does not build it."""
    import timm
    from torchvision import models

    if _is_timm(name, release):
        return create_network(name, "eigencam", download=release == "timm", seed=seed)
    if name not in models.list_models():
        known = [DETECTOR, *timm.list_models(), *models.list_models()]
        raise ConfigError(f"eigencam: there is no network '{name}'. {suggest_nearest(name, known)}")
    settings = {"weights": "DEFAULT" if release == "torchvision" else None}
    builder = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        settings["weights_backbone"] = None  # otherwise detectors download them
    with _explained_downloads(f"the weights of {name}"):
        network: torch.nn.Module = builder(**settings)
    return network


@contextmanager
def _explained_downloads(what: str) -> Iterator[None]:
    """Raise DataError in place of the OSError of a failed download."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"eigencam: {what} could not be downloaded ({short_reason(error)}); give weights_path."
        ) from error


_EXACT_SIDE = 320
"""Gram matrices up to this size are decomposed completely, which takes milliseconds."""

_MORE = 8  # extra vectors to iterate; more of them converge faster
_TOLERANCE = 2e-5  # largest angle to the true direction
_ROUNDS = 40
_SETTLED = 5  # rounds after which the residual must fall from one to the next
_NOTHING = 1e-12  # a smaller share of squares is rounding error, not variance


def compute_component(
    rows: torch.Tensor, number: int, overwrite: bool = False
) -> tuple[torch.Tensor, float]:
    """Compute a principal component of rows, after centring over rows.

    The components are eigenvectors of the smaller of the two Gram matrices. A small matrix is
    decomposed completely. For a large one only the leading vectors are computed, by subspace
    iteration with Rayleigh-Ritz (Halko et al. 2011); if that does not converge, the matrix is
    decomposed after all.

    Args:
        rows: (n, d) float32.
        number: number of the component, from 1; one that does not exist has a projection of zeros.
        overwrite: True if `rows` may be centred in place.

    Returns:
        (n) the rows' coordinates along it, whose sign is arbitrary, and its share of the variance.
    """
    on = rows.device
    if on.type == "mps":  # it has neither double precision nor decompositions
        rows = rows.cpu()
    mean = rows.mean(dim=0, keepdim=True)
    centred = rows.sub_(mean) if overwrite else rows - mean
    total = _squares(centred)
    nothing = torch.zeros_like(rows[:, 0]).to(on), 0.0
    if total <= _NOTHING * len(rows) * _squares(mean) or number > min(rows.shape):
        return nothing
    found = _iterated(centred, number) if min(rows.shape) > _EXACT_SIDE else None
    projection, value = _decomposed(centred, number) if found is None else found
    if value <= _NOTHING * total:
        return nothing
    return projection.to(on), value / total


def _squares(values: torch.Tensor) -> float:
    """Return the sum of squares; norms of columns are summed in double precision."""
    return float(torch.linalg.vector_norm(values, dim=0).double().square().sum())


def _decomposed(centred: torch.Tensor, number: int) -> tuple[torch.Tensor, float]:
    """Compute the projection and eigenvalue from the smaller Gram matrix, in double precision."""
    exact = centred.double()
    wide = exact.shape[0] <= exact.shape[1]
    values, vectors = torch.linalg.eigh(exact @ exact.T if wide else exact.T @ exact)
    value = max(float(values[-number]), 0.0)
    along = vectors[:, -number]
    return (along * value**0.5 if wide else exact @ along).to(centred.dtype), value


def _iterated(centred: torch.Tensor, number: int) -> tuple[torch.Tensor, float] | None:
    """Compute the projection on a leading direction and its eigenvalue; None if not converged.

    A direction's error is its residual over the distance to the nearest other eigenvalue, so close
    eigenvalues need more than single precision.
    """
    columns = centred.T  # contiguous if an image's features were, which the products below assume
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(centred.shape[1], number + _MORE, generator=generator)
    basis = torch.linalg.qr(start.to(centred))[0]
    before = float("inf")
    for done in range(_ROUNDS):
        projected = basis.T @ columns
        image = columns @ projected.T
        values, turn = torch.linalg.eigh((basis.T @ image).double())
        wanted = turn[:, -number].to(centred)
        value = float(values[-number])
        residual = float((image @ wanted - value * (basis @ wanted)).norm())
        apart = (values - value).abs()
        apart[-number] = float("inf")
        if value > 0 and residual <= _TOLERANCE * float(apart.min()):
            return wanted @ projected, value
        if done >= _SETTLED and residual > before:
            return None
        before = residual
        basis = torch.linalg.qr(image)[0]
    return None
