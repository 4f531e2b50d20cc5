"""The interface that every saliency model offers to the code that scores it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import AS_IT_IS, Geometry, Size
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.maps import log_density_words, nothing_left_words
from clickmap_cli.runtime.registry import Registry

Output = Literal["map", "density", "log_density"]


class SaliencyModel(ABC):
    """Base class of models that predict where people look in an image.

    A subclass is constructed with its settings as keyword arguments. They become part of the key
    under which its predictions are cached, except those in `run_only`.

    Attributes:
        output: kind of a prediction: a `map` (any scale), a `density` (sums to 1), or a
            `log_density` (natural logarithm of a density).
        version: number that is raised when the same settings and weights give different predictions
            than before.
        run_only: settings that do not change predictions.
        batch_size: number of images `predict_batch` takes at once.
        of_file: True if predictions are for the image's file, not for the pixels of
            `stimulus.image()` (maps that another program made); the two differ where images are
            cropped.
        needs_image: False if predictions are made without reading the image.
        notices: messages about the model that are shown once (random weights, say).
        flat: True if maps are constant on purpose, so that no notice about flat maps is shown.
        is_people: True if the predictions come from other people. Such a model is a reference: it
            is listed apart from models and never chosen as the best of them.
    """

    output: Output = "map"
    version: ClassVar[int] = 1
    run_only: ClassVar[frozenset[str]] = frozenset({"device", "batch_size"})
    batch_size: int = 1
    of_file: ClassVar[bool] = False
    needs_image: ClassVar[bool] = True
    notices: tuple[str, ...] = ()
    flat: ClassVar[bool] = False

    is_people: ClassVar[bool] = False

    def stretched_to(self, size: Size) -> Size | None:
        """Return the (height, width) that an image of `size` is stretched to before prediction.

        None if images, and therefore predictions, keep their aspect ratio.
        """
        return None

    @cached_property
    def details(self) -> dict[str, dict[str, float]]:
        """image_id -> numbers to keep with the latest prediction; a subclass may fill it."""
        return {}

    def predict_variants(self, stimulus: Stimulus) -> dict[str, NDArray[Any]]:
        """Return the predictions of other settings by name, or an empty dict if there are none.

        A deep dive calls this to report which settings would have matched the worst-matching
        images.
        """
        return {}

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Receive the images of a data set.

        This method is called once for each data set, before any of its images is predicted and
        before any of their cache keys is computed.
        """
        return

    def prepare(self) -> None:
        """Load what prediction needs; called once, before the first image that is not cached.

        Raises:
            ClickmapError: something cannot be loaded, which ends the run.
        """
        return

    def release(self) -> None:
        """Free what `prepare` loaded; called after the last image."""
        return

    @abstractmethod
    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Predict an image; (h, w) of the image's size or its aspect ratio (to within a pixel)."""

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predict several images of the same size."""
        return [self.predict(stimulus) for stimulus in stimuli]

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return a digest of the prediction's inputs other than settings; by default the image's.

        Raises:
            DataError: an input is missing.
        """
        return stimulus.image_digest()

    def origin(self, stimulus: Stimulus) -> str:
        """Return the file that the prediction comes from, for messages; empty if there is none."""
        return ""

    def weights_digest(self) -> str:
        """Return a hash of the weights; empty for a model without weights."""
        return ""


class SubjectModel(SaliencyModel):
    """A model with one prediction per person instead of one per image."""

    needs_image = False

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Raise NotImplementedError: predictions belong to persons, not to the image."""
        raise NotImplementedError("this model predicts people, one by one")

    @abstractmethod
    def predict_people(self, stimulus: Stimulus) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield each person's name and (h, w) prediction, in the order of `people()`."""


MODELS: Registry[Any] = Registry("model", "clickmap.models")
"""Registered model classes; each is constructed with its settings as keyword arguments."""

_MODELS = {
    "uniform": (
        "baselines:Uniform", "the same everywhere: chance",
        "chance of the MIT/Tuebingen benchmark",
    ),
    "center_bias": ("baselines:CenterBias", "a Gaussian at the centre", "Tatler (2007)"),
    "blur_baseline": (
        "baselines:BlurBaseline", "the image's luminance, blurred",
        "luminance of ITU-R BT.601, Gaussian as OpenCV chooses it",
    ),
    "gold_standard": (
        "baselines:GoldStandard", "each person predicted by all others",
        "Kümmerer et al. (2018), leave one subject out",
    ),
    "precomputed": (
        "precomputed:Precomputed", "maps from a folder: .npy, PNG, JPG or .mat",
        "whatever made the maps",
    ),
    "torchscript": (
        "torchscript:TorchScript", "a scripted or exported PyTorch model file",
        "torch.jit.save and torch.export.save",
    ),
    "eigencam": (
        "eigencam:EigenCam", "first component of a network's features (no training)",
        "Muhammad and Yeasin (2020)",
    ),
    "deepgaze_iie": (
        "deepgaze.model:DeepGazeIIEModel", "DeepGaze IIE: four backbones, 120 readouts",
        "Linardos et al. (2021)",
    ),
    "deepgaze_iii": (
        "deepgaze.model:DeepGazeIIIModel", "DeepGaze III, given a central fixation",
        "Kümmerer et al. (2022)",
    ),
    "deepgaze_v3": (
        "deepgaze.model:DeepGazeIIIModel", "another name of deepgaze_iii",
        "Kümmerer et al. (2022)",
    ),
    "msi_net": (
        "msi_net:MsiNetModel", "MSI-Net: VGG16 with multi-scale context", "Kroner et al. (2020)",
    ),
    "msi_net_tf": (
        "msi_net_tf:MsiNetTensorFlow", "MSI-Net's TensorFlow release (extra tensorflow)",
        "Kroner et al. (2020)",
    ),
    "vit_attention": (
        "attention:VitAttention", "attention rollout of a timm ViT",
        "Abnar and Zuidema (2020)",
    ),
    "gradient": (
        "gradient:Gradient", "input gradients of a timm classifier",
        "Simonyan et al. (2014), Smilkov et al. (2017), Sundararajan et al. (2017)",
    ),
    "readout": (
        "readout:ReadoutModel", "a timm backbone and a readout to fine-tune",
        "after DeepGaze II, Kümmerer et al. (2016)",
    ),
}  # fmt: skip
"""Name -> (module and class, summary, reference)."""

for _name, (_target, _summary, _reference) in _MODELS.items():
    MODELS.add(_name, f"clickmap_cli.models.{_target}", _summary, reference=_reference)


Finished = NDArray[np.float32]

_LARGEST = float(np.finfo(np.float32).max)


def finish_prediction(
    values: NDArray[Any], output: Output, geometry: Geometry, postprocess: bool
) -> Finished:
    """Bring a prediction onto the pixels that it is scored on.

    With `postprocess`, a map is clipped at 0, passed through the geometry and scaled to sum 1;
    without, it is only passed through the geometry. A density is scaled to sum 1 again if the
    geometry changes it, and so is a log density, in the logarithm.

    Args:
        values: (h, w) of the geometry's native size.
        output: kind of the prediction.
        geometry: the geometry to apply; see `Stimulus.placement`.
        postprocess: True if maps are clipped and scaled.

    Returns:
        (h, w) float32 of the geometry's final size.

    Raises:
        ValueError: the prediction holds NaN or infinite values (a log density may hold -inf in some
            pixels), looks like a log density without being declared one, is declared a density and
            holds negative values, is a map with negative and no positive values (with
            `postprocess`), is a log density of -inf wherever it is not cropped, or exceeds the
            range of float32 (without `postprocess`).
    """
    logarithm = log_density_words(values) if output != "log_density" else None
    if logarithm:
        raise ValueError(logarithm)
    bad = np.isnan(values) | (values == np.inf) if output == "log_density" else ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"the prediction holds {np.count_nonzero(bad)} NaN or infinite values")
    if output == "log_density":
        return _finish_log(values, geometry)
    if output == "density":
        if float(values.min()) < 0:
            raise ValueError("the prediction is declared a density and holds negative values")
        if geometry.action == AS_IT_IS:
            return values.astype(np.float32)
        return _scale_to_sum_1(values, geometry)
    if postprocess:
        nothing = nothing_left_words(values)
        if nothing:
            raise ValueError(nothing)
        return _scale_to_sum_1(np.maximum(values, 0), geometry)
    if float(np.abs(values).max()) > _LARGEST:
        raise ValueError(f"the prediction holds values beyond {_LARGEST:g}")
    return geometry.finish(values)


def _scale_to_sum_1(values: NDArray[Any], geometry: Geometry) -> Finished:
    """Apply the geometry and divide by the sum; zeros stay zeros."""
    top = float(values.max())
    if top == 0:
        return np.zeros(geometry.final, dtype=np.float32)
    # divide by the maximum first: the values may exceed the range of float32
    exact = geometry.finish(values.astype(np.float64) / top).astype(np.float64)
    total = exact.sum()
    # a crop may remove every value above 0
    return np.asarray(exact / total if total > 0 else exact, dtype=np.float32)


def _finish_log(values: NDArray[Any], geometry: Geometry) -> Finished:
    top = float(values.max())
    if top == -np.inf:
        raise ValueError("the prediction is a log density of -inf everywhere")
    if geometry.action == AS_IT_IS:
        return values.astype(np.float32)
    density = geometry.finish(np.exp(values.astype(np.float64) - top)).astype(np.float64)
    total = density.sum()
    if not total > 0:
        raise ValueError("the prediction is a log density of -inf everywhere that is not cropped")
    with np.errstate(divide="ignore"):
        return (np.log(density) - math.log(total)).astype(np.float32)
