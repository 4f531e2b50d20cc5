"""What a saliency model is to whoever scores it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.runtime.registry import Registry

Output = Literal["map", "density", "log_density"]


class SaliencyModel(ABC):
    """Predicts where people look in an image.

    A subclass is made with its settings as keyword arguments; they become part of the key under
    which its predictions are cached, except those in `run_only`.

    Attributes:
        output: what a prediction is: a `map` (any scale), a `density` (sums to 1), or a
            `log_density` (natural logarithm of one).
        version: raised when the same settings and weights give other predictions than before.
        run_only: settings that do not change predictions.
        batch_size: images `predict_batch` takes at once.
        of_file: True if predictions are of the image's file, not of what `stimulus.image()` gives
            (maps that another program made); they differ where images are cropped.
        needs_image: False if predictions are made without looking at the image.
        notices: what a person should know of the model, said once (random weights, say).
        flat: whether its maps are meant to be the same everywhere, so that nothing is said of it.
        is_people: True if the predictions are what other people did: a reference that stands apart
            from models, never the best of them.
    """

    output: Output = "map"
    version: ClassVar[int] = 1
    run_only: ClassVar[frozenset[str]] = frozenset({"device", "batch_size"})
    batch_size: int = 1
    of_file: ClassVar[bool] = False
    needs_image: ClassVar[bool] = True
    notices: tuple[str, ...] = ()
    flat: ClassVar[bool] = False

    @property
    def stretched_to(self) -> Size | None:
        """(height, width) that images are stretched to before they are predicted.

        None if they keep their aspect ratio, and predictions with it.
        """
        return None

    is_people: ClassVar[bool] = False

    @cached_property
    def details(self) -> dict[str, dict[str, float]]:
        """image_id -> numbers worth keeping with its latest prediction; a subclass may fill it."""
        return {}

    def predict_variants(self, stimulus: Stimulus) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """What other settings would have predicted, by their name; empty where there are none.

        A deep dive asks for it, to say what would have matched the images that match worst.
        """
        return {}

    def see(self, stimuli: Sequence[Stimulus]) -> None:  # noqa: ARG002
        """Be told of a data set's images.

        Called once for each data set, before any of its images is predicted or its key asked for.
        """
        return

    def prepare(self) -> None:
        """Load what predicting needs; called once, before the first image that is not cached.

        Raises:
            ClickmapError: it cannot be loaded; the run ends.
        """
        return

    def release(self) -> None:
        """Let go of what `prepare` loaded; called after the last image."""
        return

    @abstractmethod
    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """(h, w) the prediction, in the image's aspect ratio (to within a pixel) or its size."""

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predictions of several images of one size."""
        return [self.predict(stimulus) for stimulus in stimuli]

    def depends_on(self, stimulus: Stimulus) -> str:
        """What the prediction depends on beside the settings: by default what the model is shown.

        Raises:
            DataError: it is missing.
        """
        return stimulus.image_digest()

    def origin(self, stimulus: Stimulus) -> str:  # noqa: ARG002
        """Return the file that the prediction comes from, for messages; empty where none does."""
        return ""

    def weights_digest(self) -> str:
        """A hash of the weights; empty for a model without any."""
        return ""


class SubjectModel(SaliencyModel):
    """A model with one prediction a person instead of one an image."""

    needs_image = False

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Not asked for: a person has a prediction, the image has none."""
        raise NotImplementedError("this model predicts people, one by one")

    @abstractmethod
    def predict_people(self, stimulus: Stimulus) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every person's name and the (h, w) prediction of them, in the order of `people()`."""


MODELS: Registry[Any] = Registry("model", "clickmap.models")
"""Classes of models, made with their settings as keyword arguments."""

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
        "deepgaze_models:DeepGazeIIEModel", "DeepGaze IIE: four backbones, 120 readouts",
        "Linardos et al. (2021)",
    ),
    "deepgaze_iii": (
        "deepgaze_models:DeepGazeIIIModel", "DeepGaze III, given a central fixation",
        "Kümmerer et al. (2022)",
    ),
    "deepgaze_v3": (
        "deepgaze_models:DeepGazeIIIModel", "another name of deepgaze_iii",
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
        "vit_attention:VitAttention", "attention rollout of a timm ViT",
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
"""Name -> where it is, what it is, and where its definition comes from."""

for _name, (_target, _summary, _reference) in _MODELS.items():
    MODELS.add(_name, f"clickmap_cli.models.{_target}", _summary, reference=_reference)
