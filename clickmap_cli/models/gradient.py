"""Saliency of a classifier's decision at each pixel, from its derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional

from clickmap_cli.config.fields import Count, Key, OptionalPositive, OptionalSize, Positive
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.timm_models import (
    TimmNetwork,
    read_class,
    require_one_of,
    select_scores,
)
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.models.weights import evaluating
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.seeding import generator

Score = Callable[[torch.Tensor], torch.Tensor]
"""Function from (n, 3, h, w) images to (n) scores; a score depends only on its own image."""

_METHODS = ("gradient", "smoothgrad", "integrated")
_REDUCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "max": lambda slopes: slopes.abs().amax(dim=1),
    "mean": lambda slopes: slopes.abs().mean(dim=1),
    "l2": lambda slopes: slopes.square().sum(dim=1).sqrt(),
}


class Normalised(torch.nn.Module):
    """A network that takes RGB in 0..1, so that derivatives are with respect to pixels.

    Args:
        network: a network for normalised images.
        mean: (3) values subtracted from the images.
        std: (3) values the result is divided by.
    """

    def __init__(
        self, network: torch.nn.Module, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's output for (n, 3, h, w) RGB in 0..1."""
        scores: torch.Tensor = self.network((images - self.mean) / self.std)
        return scores


class Gradient(TorchSaliencyModel):
    """Derivatives of a timm classifier's score of a class (before softmax) with respect to pixels.

    Derivatives are with respect to RGB in 0..1. `gradient`: the derivative at the image.
    `smoothgrad`: its mean over noisy copies. `integrated`: its mean on the path from black to the
    image, times the image. The map is the magnitude over the three channels.

    Reference: Simonyan, Vedaldi and Zisserman (2014), Deep inside convolutional networks; Smilkov
    et al. (2017), SmoothGrad; Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep
    networks.

    Args:
        model: the classifier's name in timm.
        weights: `timm` downloads timm's weights, `none` draws random ones; null uses
            `weights_path`.
        weights_path: a checkpoint of the classifier.
        requires_size: (height, width) of its input; None = its own.
        method: gradient, smoothgrad or integrated.
        n_samples: number of noisy copies for smoothgrad.
        noise: standard deviation of the noise; 1 is the range from black to white.
        steps: number of points on the path of integrated, each in the middle of its interval.
        reduce: max, mean or l2 over the channels.
        class_index: the class whose score is differentiated; None = the predicted one.
        smooth_sigma: sigma of a Gaussian blur of the map, in pixels of the network's input; None =
            no blur.
        device: auto, cpu, cuda or mps.
        batch_size: number of images that are predicted together.
        seed: seed of random weights and of the noise, which differs between images.
    """

    needs_gradients = True
    version = 2
    run_only = TorchSaliencyModel.run_only | {"weights_path"}  # the digest has its content

    def __init__(
        self,
        model: str = "resnet50",
        weights: str | None = None,
        weights_path: str | None = None,
        requires_size: OptionalSize = None,
        method: Annotated[str, Key(choices=_METHODS)] = "gradient",
        n_samples: Count = 25,
        noise: Positive = 0.15,
        steps: Count = 32,
        reduce: Annotated[str, Key(choices=tuple(_REDUCTIONS))] = "max",
        class_index: int | None = None,
        smooth_sigma: OptionalPositive = None,
        device: str = "auto",
        batch_size: Count = 1,
        seed: int = 0,
    ) -> None:
        self._timm = TimmNetwork(
            model,
            "gradient",
            weights=weights,
            weights_path=weights_path,
            requires_size=requires_size,
            seed=seed,
        )
        super().__init__(device, list(self._timm.size), batch_size, mean=[0, 0, 0], std=[1, 1, 1])
        self.interpolation = self._timm.interpolation
        self._method = method
        self._reduce = _REDUCTIONS[reduce]
        self._class = read_class(class_index, self._timm.n_classes, "gradient")
        self._noise = Noise(n_samples, noise, seed, relative=False)
        self._steps = steps
        self._sigma = smooth_sigma
        self._keys: list[str] = []
        self.notices = self._timm.notices

    def weights_digest(self) -> str:
        """Return the file's SHA-256, timm's tag and a hash of the weights, or the seed."""
        return self._timm.digest()

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return the image's digest and, with noise, the key that seeds it."""
        shown = super().depends_on(stimulus)
        return f"{shown} {stimulus.key}" if self._method == "smoothgrad" else shown

    def build(self) -> torch.nn.Module:
        """Build the classifier for RGB in 0..1."""
        return Normalised(self._timm.build(), self._timm.mean, self._timm.std)

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predict maps of several images, at the network's input size."""
        self._keys = [stimulus.key for stimulus in stimuli]
        maps = super().predict_batch(stimuli)
        if self._sigma is None:
            return maps
        return [gaussian_filter(values, self._sigma, mode="mirror") for values in maps]

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) magnitudes over the channels."""
        classes: torch.Tensor | int
        if self._class is None:
            with torch.no_grad():
                classes = network(images).argmax(dim=1)
        else:
            classes = self._class

        def score(shown: torch.Tensor) -> torch.Tensor:
            return select_scores(network(shown), classes)

        if self._method == "gradient":
            slopes = compute_input_gradient(score, images)
        elif self._method == "smoothgrad":
            slopes = compute_smoothgrad(score, images, self._noise.copies(images, self._keys))
        else:
            slopes = compute_integrated_gradients(score, images, self._steps)
        return self._reduce(slopes)


def compute_input_gradient(score: Score, images: torch.Tensor) -> torch.Tensor:
    """Return (n, 3, h, w) derivatives of each image's score with respect to its pixels."""
    shown = images.detach().requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(score(shown).sum(), shown)
    return slopes


def compute_smoothgrad(
    score: Score, images: torch.Tensor, noises: Iterator[torch.Tensor]
) -> torch.Tensor:
    """Compute the mean derivative over noisy copies.

    Args:
        score: function to differentiate.
        images: (n, 3, h, w).
        noises: (n, 3, h, w) noise to add, one copy after the other.

    Returns:
        (n, 3, h, w), signed.
    """
    total = torch.zeros_like(images)
    count = 0
    for noise in noises:
        total += compute_input_gradient(score, images + noise)
        count += 1
    return total / count


def compute_integrated_gradients(score: Score, images: torch.Tensor, steps: int) -> torch.Tensor:
    """Compute each pixel's contribution to the score on the straight path from black.

    Over the pixels of an image the contributions sum to score(image) - score(black); more steps
    make this more exact.

    Args:
        score: function to differentiate.
        images: (n, 3, h, w) RGB, black is 0.
        steps: number of points of the midpoint rule.

    Returns:
        (n, 3, h, w), signed.
    """
    total = torch.zeros_like(images)
    for step in range(steps):
        total += compute_input_gradient(score, images * ((step + 0.5) / steps))
    return images * total / steps


METHODS = ("gradient", "smoothgrad", "gradcam")


def compute_class_saliency(
    network: nn.Module,
    images: torch.Tensor,
    keys: Sequence[str],
    classes: torch.Tensor | int | None = None,
    method: str = "gradient",
    noise: Noise | None = None,
) -> NDArray[np.float32]:
    """Compute the saliency of a class's score (before softmax) for each image.

    `gradient`: the magnitude of the score's derivative with respect to the pixels, the largest over
    channels. `smoothgrad`: the same for the mean derivative over noisy copies; an image's noise
    depends only on the seed and the image's key. `gradcam`: see `compute_gradcam`.

    Args:
        network: classifier of (n, channels, h, w) images; it runs in evaluation mode, and its modes
            are restored afterwards.
        images: (n, channels, h, w) on the network's device.
        keys: (n) keys that seed each image's noise.
        classes: (n) the class of each image, or one for all; None = the predicted one.
        method: gradient, smoothgrad or gradcam.
        noise: noise of smoothgrad; None = its defaults.

    Returns:
        (n, h, w) non-negative.

    Raises:
        ConfigError: the method is unknown, or the network has no convolution for `gradcam`.

    Reference: Simonyan, Vedaldi and Zisserman (2014), Deep inside convolutional networks; Smilkov
    et al. (2017), SmoothGrad; Selvaraju et al. (2017), Grad-CAM.
    """
    require_one_of(method, METHODS, "interpretation: method")
    with evaluating(network):
        with torch.no_grad():
            chosen = network(images).argmax(dim=1) if classes is None else classes
        if method == "gradcam":
            maps = compute_gradcam(network, images, chosen)
        else:

            def score(shown: torch.Tensor) -> torch.Tensor:
                return select_scores(network(shown), chosen)

            if method == "gradient":
                slopes = compute_input_gradient(score, images)
            else:
                drawn = (noise or Noise()).copies(images, keys)
                slopes = compute_smoothgrad(score, images, drawn)
            maps = slopes.abs().amax(dim=1)
    return np.asarray(maps.detach().float().cpu().numpy())


@dataclass(frozen=True)
class Noise:
    """Noise of SmoothGrad, which depends on the seed and the image's key.

    Attributes:
        n_samples: number of noisy copies per image.
        sigma: standard deviation.
        seed: seed of the noise.
        relative: True if `sigma` is a share of the image's largest minus its smallest value.
    """

    n_samples: int = 25
    sigma: float = 0.15
    seed: int = 0
    relative: bool = True

    def copies(self, images: torch.Tensor, keys: Sequence[str]) -> Iterator[torch.Tensor]:
        """Yield (n, channels, h, w) noise to add to the images, one copy after the other."""
        generators = [generator(self.seed, key, "smoothgrad") for key in keys]
        flat = images.detach().flatten(1)
        size = torch.full_like(flat[:, 0], self.sigma)
        if self.relative:
            size *= flat.amax(dim=1) - flat.amin(dim=1)
        for _ in range(self.n_samples):
            drawn = [rng.standard_normal(images.shape[1:], np.float32) for rng in generators]
            yield torch.from_numpy(np.stack(drawn)).to(images) * size[:, None, None, None]


def compute_gradcam(
    network: nn.Module, images: torch.Tensor, classes: torch.Tensor | int | None
) -> torch.Tensor:
    """Compute Grad-CAM of the convolution that runs last.

    With A its activations, before what follows it, and y the class's score: w_k is the mean over
    positions of dy / dA_k, and the map is max(0, sum over k of w_k A_k), resized bilinearly. A
    convolution whose output is a single position (of squeeze-and-excitation, say) does not count.

    Args:
        network: classifier in evaluation mode.
        images: (n, channels, h, w).
        classes: as in `compute_class_saliency`.

    Returns:
        (n, h, w) non-negative.

    Raises:
        ConfigError: the network has no convolution with more than one output position.

    Reference: Selvaraju et al. (2017), Grad-CAM.
    """
    last: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, activations: torch.Tensor) -> torch.Tensor:
        if activations.shape[-2:].numel() > 1:
            last[:] = [activations]
        return activations.clone()  # a following layer may write in place

    hooks = [
        module.register_forward_hook(keep)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    shown = images.detach().requires_grad_()
    try:
        with torch.enable_grad():
            scores = select_scores(network(shown), classes)
            if not last:
                raise ConfigError(
                    "gradcam: the network has no convolution; choose gradient or smoothgrad."
                )
            (slopes,) = torch.autograd.grad(scores.sum(), last[0])
    finally:
        for hook in hooks:
            hook.remove()
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    maps = (weights * last[0].detach()).sum(dim=1, keepdim=True).clamp_min(0)
    return functional.interpolate(
        maps, size=images.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
