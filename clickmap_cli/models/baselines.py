"""What a model must beat: chance, the centre, brightness; and what it may reach: other people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.kernel_density import gaussian_at, kernel_density
from clickmap_cli.models.base import SaliencyModel, SubjectModel
from clickmap_cli.runtime.errors import ConfigError, DataError

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


class _SizeOnly(SaliencyModel):
    """A model that looks at nothing but the image's size."""

    def depends_on(self, stimulus: Stimulus) -> str:
        """The size."""
        return f"{stimulus.size}"


class Uniform(_SizeOnly):
    """The same everywhere: chance in every score."""

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Ones."""
        return np.ones(stimulus.size, dtype=np.float32)


class CenterBias(_SizeOnly):
    """A Gaussian at the centre, as wide as the image is wide and as high as it is high.

    Args:
        requires_size: (height, width) it is computed at before it is resized; None = the image's.
        sigma_ratio: its standard deviations, in image heights and widths.
    """

    def __init__(self, requires_size: list[int] | None = None, sigma_ratio: float = 0.25) -> None:
        if sigma_ratio <= 0:
            raise ConfigError(f"center_bias: sigma_ratio is {sigma_ratio}; it must be above 0.")
        self._size = size_setting(requires_size, "center_bias: requires_size")
        self._ratio = sigma_ratio

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """The Gaussian, 1 at the centre."""
        height, width = self._size or stimulus.size
        rows = gaussian_at(np.arange(height) - (height - 1) / 2, self._ratio * height)
        columns = gaussian_at(np.arange(width) - (width - 1) / 2, self._ratio * width)
        return np.asarray(rows[:, None] * columns)


class BlurBaseline(SaliencyModel):
    """The image's luminance, blurred: what brightness alone predicts.

    Args:
        ksize: size of the Gaussian in pixels; its sigma is 0.3 ((ksize - 1) / 2 - 1) + 0.8, as
            OpenCV chooses it.
    """

    def __init__(self, ksize: int = 31) -> None:
        if ksize < 1:
            raise ConfigError(f"blur_baseline: ksize is {ksize}; it must be at least 1.")
        self._radius = ksize // 2
        self._sigma = 0.3 * ((ksize - 1) * 0.5 - 1) + 0.8

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Blurred luminance, in 0..1; borders are mirrored."""
        from scipy.ndimage import gaussian_filter

        luminance = stimulus.image() @ _LUMINANCE
        if not self._radius:
            return np.asarray(luminance)
        return np.asarray(
            gaussian_filter(luminance, self._sigma, mode="mirror", radius=self._radius)
        )


class GoldStandard(SubjectModel):
    """Each person predicted by everybody else, so that nobody predicts themselves.

    Against fixations the others' kernel density, against clickmaps their mean clickmap.

    Args:
        bandwidth_px: sigma of a kernel density in pixels; None = the data set's own blur.
    """

    is_people = True

    def __init__(self, bandwidth_px: float | None = None) -> None:
        if bandwidth_px is not None and bandwidth_px <= 0:
            raise ConfigError(f"gold_standard: bandwidth_px is {bandwidth_px}; it must be above 0.")
        self._bandwidth = bandwidth_px

    def depends_on(self, stimulus: Stimulus) -> str:
        """Everybody's points."""
        return stimulus.truth_digest()

    def predict_people(self, stimulus: Stimulus) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every person's name and what the others predict.

        Raises:
            DataError: the image has fewer than two people.
        """
        people = stimulus.people()
        if people is None:
            raise DataError(f"{stimulus.image_id}: gold_standard needs two people or more.")
        height, width = stimulus.size
        if self._bandwidth is not None:
            clicked = [people.target(person).clicked for person in range(len(people.names))]
        for person, name in enumerate(people.names):
            if self._bandwidth is None:
                yield name, people.others(person)
                continue
            counts = np.zeros(height * width)
            for other_name, (places, times) in zip(people.names, clicked, strict=True):
                if other_name != name:
                    counts[places] += times
            where = np.repeat(np.flatnonzero(counts), counts[counts > 0].astype(np.int64))
            yield name, kernel_density(where % width, where // width, (height, width),
                                       self._bandwidth)  # fmt: skip


def size_setting(value: Any, what: str) -> Size | None:
    """A (height, width) from a config; one number means a square, `false` the image's own.

    Raises:
        ConfigError: it is neither.
    """
    if value is None or value is False:
        return None
    pair = value if isinstance(value, list | tuple) else [value, value]
    if len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise ConfigError(f"{what} is {value!r}; it must be [height, width] in pixels.")
    return pair[0], pair[1]
