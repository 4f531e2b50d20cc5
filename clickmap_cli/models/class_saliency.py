"""Saliency of a classifier's decision at each pixel, for any network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from clickmap_cli.models.gradient import input_gradient, smoothgrad
from clickmap_cli.models.timm_models import class_scores, one_of
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.seeding import generator

METHODS = ("gradient", "smoothgrad", "gradcam")


def saliency_of_class(
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
    depends only on the seed and the image's key. `gradcam`: see `gradcam`.

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
    one_of(method, METHODS, "interpretation: method")
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            chosen = network(images).argmax(dim=1) if classes is None else classes
        if method == "gradcam":
            maps = gradcam(network, images, chosen)
        else:

            def score(shown: torch.Tensor) -> torch.Tensor:
                return class_scores(network(shown), chosen)

            if method == "gradient":
                slopes = input_gradient(score, images)
            else:
                drawn = (noise or Noise()).copies(images, keys)
                slopes = smoothgrad(score, images, drawn)
            maps = slopes.abs().amax(dim=1)
    finally:
        for module, training in modes.items():
            module.training = training
    return np.asarray(maps.detach().float().cpu().numpy())


class Noise:
    """Noise of SmoothGrad.

    Args:
        n_samples: number of noisy copies per image.
        sigma: standard deviation, as a share of the image's largest minus its smallest value.
        seed: seed of the noise.

    Raises:
        ConfigError: `n_samples` is below 1, or sigma is negative or infinite.
    """

    def __init__(self, n_samples: int = 25, sigma: float = 0.15, seed: int = 0) -> None:
        if n_samples < 1:
            raise ConfigError(f"smoothgrad: n_samples is {n_samples}; it must be 1 or more.")
        if not 0 <= sigma < np.inf:
            raise ConfigError(f"smoothgrad: sigma is {sigma}; it must be 0 or more.")
        self.n_samples = n_samples
        self.sigma = sigma
        self.seed = seed

    def copies(self, images: torch.Tensor, keys: Sequence[str]) -> Iterator[torch.Tensor]:
        """Yield (n, channels, h, w) noise to add to the images, one copy after the other."""
        generators = [generator(self.seed, key, "smoothgrad") for key in keys]
        flat = images.detach().flatten(1)
        size = self.sigma * (flat.amax(dim=1) - flat.amin(dim=1))
        for _ in range(self.n_samples):
            drawn = [rng.standard_normal(images.shape[1:], np.float32) for rng in generators]
            noise = torch.from_numpy(np.stack(drawn)).to(images)
            yield noise * size[:, None, None, None]


def gradcam(
    network: nn.Module, images: torch.Tensor, classes: torch.Tensor | int | None
) -> torch.Tensor:
    """Compute Grad-CAM of the convolution that runs last.

    With A its activations, before what follows it, and y the class's score: w_k is the mean over
    positions of dy / dA_k, and the map is max(0, sum over k of w_k A_k), resized bilinearly. A
    convolution whose output is a single position (of squeeze-and-excitation, say) does not count.

    Args:
        network: classifier in evaluation mode.
        images: (n, channels, h, w).
        classes: as in `saliency_of_class`.

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
            scores = class_scores(network(shown), classes)
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
