"""Baselines: chance, centre bias and luminance as lower bounds, other people as an upper one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.fields import Count, OptionalPositive, OptionalSize
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import gaussian_at, kernel_density
from clickmap_cli.models.base import SaliencyModel, SubjectModel
from clickmap_cli.runtime.errors import ConfigError, DataError

_CENTER_SIGMA = 0.25
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


class _SizeOnly(SaliencyModel):
    """A model that uses only the image's size."""

    needs_image = False

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return the image's size."""
        return f"{stimulus.size}"


class Uniform(_SizeOnly):
    """A constant map: chance level for every score."""

    flat = True

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return an array of ones."""
        return np.ones(stimulus.size, dtype=np.float32)


class CenterBias(_SizeOnly):
    """A Gaussian at the centre whose width and height scale with those of the image.

    Args:
        requires_size: (height, width) at which the map is computed before it is resized; None = the
            image's own size.
        sigma: standard deviations as a share of the image's height and width; 0.25 if neither this
            nor `sigma_ratio` is set.
        sigma_ratio: the same as a share of half the height and width (`sigma_ratio: 0.5` is `sigma:
            0.25`).
    """

    version = 2

    def __init__(
        self,
        requires_size: OptionalSize = None,
        sigma: OptionalPositive = None,
        sigma_ratio: OptionalPositive = None,
    ) -> None:
        self._sigma, self.notices = read_center_sigma(sigma, sigma_ratio, "center_bias")
        self._size = read_size(requires_size, "center_bias: requires_size")

    def stretched_to(self, size: Size) -> Size | None:
        """Return the setting `requires_size`."""
        return self._size

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return the Gaussian, 1 at the centre."""
        height, width = self._size or stimulus.size
        rows = gaussian_at(np.arange(height) - (height - 1) / 2, self._sigma * height)
        columns = gaussian_at(np.arange(width) - (width - 1) / 2, self._sigma * width)
        return np.asarray(rows[:, None] * columns)


def read_center_sigma(
    sigma: float | None, sigma_ratio: float | None, what: str, key: str = "sigma"
) -> tuple[float, tuple[str, ...]]:
    """Read the width of a central Gaussian from either of two settings.

    Args:
        sigma: standard deviation as a share of the image's height and width.
        sigma_ratio: the same as a share of half the height and width, as configs of the field have
            it.
        what: owner of the settings, for messages.
        key: name of the first setting.

    Returns:
        The share of height and width (0.25 if neither is set), and a notice if `sigma_ratio` was
        given.

    Raises:
        ConfigError: both are set.
    """
    if sigma is not None and sigma_ratio is not None:
        raise ConfigError(
            f"{what}: {key} and sigma_ratio are both set; keep {key}, a share of the image's "
            "height and width (sigma_ratio: the same of half of them)."
        )
    value = sigma if sigma_ratio is None else sigma_ratio
    if value is None:
        return _CENTER_SIGMA, ()
    if sigma_ratio is None:
        return value, ()
    said = (
        f"{what}: sigma_ratio {value:g} is a share of half the image's height and width, which is "
        f"{key}: {value / 2:g} of the whole."
    )
    return value / 2, (said,)


class BlurBaseline(SaliencyModel):
    """The image's blurred luminance: the prediction from brightness alone.

    Args:
        ksize: size of the Gaussian kernel in pixels; its sigma is 0.3 ((ksize - 1) / 2 - 1) + 0.8,
            as in OpenCV.
    """

    def __init__(self, ksize: Count = 31) -> None:
        self._radius = ksize // 2
        self._sigma = 0.3 * ((ksize - 1) * 0.5 - 1) + 0.8

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return the blurred luminance, in 0..1; borders are mirrored."""
        from scipy.ndimage import gaussian_filter

        luminance = stimulus.image() @ _LUMINANCE
        if not self._radius:
            return np.asarray(luminance)
        return np.asarray(
            gaussian_filter(luminance, self._sigma, mode="mirror", radius=self._radius)
        )


class GoldStandard(SubjectModel):
    """Predicts each person from all other people, never from their own data.

    The prediction is the others' kernel density for fixations and their mean clickmap for
    clickmaps.

    Args:
        bandwidth_px: sigma of a kernel density in pixels; None = the data set's own blur.
    """

    is_people = True

    def __init__(self, bandwidth_px: OptionalPositive = None) -> None:
        self._bandwidth = bandwidth_px

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return a digest of all people's points."""
        return stimulus.truth_digest()

    def predict_people(self, stimulus: Stimulus) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield each person's name and the prediction from all others.

        Raises:
            DataError: the image has fewer than two people, or `bandwidth_px` is set and some people
                have maps but no fixations.
        """
        people = stimulus.people()
        if people is None:
            raise DataError(f"{stimulus.image_id}: gold_standard needs two people or more.")
        height, width = stimulus.size
        if self._bandwidth is not None:
            views = [people.target(person) for person in range(len(people.names))]
            if not all(view.has_clicks for view in views):
                raise DataError(
                    f"{stimulus.image_id}: gold_standard has bandwidth_px, which needs everybody's "
                    "fixations, and people's maps come without them; leave bandwidth_px out."
                )
            clicked = [view.clicked for view in views]
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


def read_size(value: Any, what: str) -> Size | None:
    """Read a (height, width) from a config; a number means a square, `false` the image's own size.

    Raises:
        ConfigError: the value has another form.
    """
    if value is None or value is False:
        return None
    pair = value if isinstance(value, list | tuple) else [value, value]
    if len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise ConfigError(f"{what} is {value!r}; it must be [height, width] in pixels.")
    return pair[0], pair[1]
