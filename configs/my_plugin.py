"""A model and a data set of one's own: copy this file, change it, name it under `plugins:`.

A model is a class whose settings are the keyword arguments it is made with; a data set is a
function of its settings. Both are registered by the name that a config uses.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

from clickmap_cli.datasets import DataSet, Points, Stimulus, register_dataset
from clickmap_cli.models import SaliencyModel, register_model


@register_model("edges")
class Edges(SaliencyModel):
    """Blurred map of changes in brightness."""

    output = "map"  # or "density", "log_density"

    def __init__(self, sigma: float = 3.0) -> None:
        self._sigma = sigma

    def predict(self, stimulus: Stimulus) -> np.ndarray:
        """(h, w) edges of the image, whose pixels are RGB in 0..1."""
        grey = stimulus.image().mean(axis=-1)
        return gaussian_filter(gaussian_gradient_magnitude(grey, 1.0), self._sigma)


@dataclass(frozen=True)
class Stripe(Stimulus):
    """A bright bar on a dark ground, with points along its edges."""

    number: int
    image_id: str
    size: tuple[int, int] = (64, 64)
    category: str = "bars"

    @property
    def points(self) -> Points:
        """Sixty points around the bar's two edges."""
        rng = np.random.default_rng(self.number)
        edges = rng.choice([self._left, self._left + 12], 60)
        x = np.clip(edges + rng.normal(0, 2, 60), 0, 63)
        return Points(x, rng.uniform(0, 64, 60))

    @property
    def _left(self) -> int:
        return 10 + 4 * (self.number % 8)

    def image(self) -> np.ndarray:
        """(64, 64, 3) RGB in 0..1."""
        pixels = np.full((64, 64, 3), 0.2, dtype=np.float32)
        pixels[:, self._left : self._left + 12] = 0.8
        return pixels

    def truth(self) -> np.ndarray:
        """(64, 64) the points, blurred."""
        return gaussian_filter(self.points.counts(self.size).astype(float), 3)

    def people(self) -> None:
        """Nobody is named, so there is no ceiling."""

    def image_digest(self) -> str:
        """Hash of what a model is shown; cached predictions are used while it stays the same."""
        return hashlib.sha256(self.image().tobytes()).hexdigest()

    def truth_digest(self) -> str:
        """Hash of what predictions are scored against."""
        return hashlib.sha256(self.points.x.tobytes()).hexdigest()


@register_dataset("stripes")
def stripes(n_images: int = 10) -> DataSet:
    """Bars at different places."""
    return DataSet([Stripe(n, f"bar{n:02d}") for n in range(n_images)])
