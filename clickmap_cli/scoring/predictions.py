"""Predictions of one model for one data set: from the cache if still valid, else computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, same_aspect
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.maps import FEW_LEVELS, oddities
from clickmap_cli.models.base import Output, SubjectModel, finish_prediction
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.errors import ClickmapError, DataError, typed_reason
from clickmap_cli.storage.prediction_cache import KeptWith, PredictionCache

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Predicted:
    """A model's prediction for an image, or the reason why it failed.

    Attributes:
        stimulus: the image.
        maps: one (h, w) map, or one per person; empty if the model failed.
        reason: why it failed, in one sentence; empty if it did not.
        details: numbers the model returned with the prediction.
        placement: how the prediction was brought onto the scored pixels (`Geometry.action`).
        oddities: unusual properties of the prediction; see `datasets.maps.oddities`.
    """

    stimulus: Stimulus
    maps: Sequence[Map]
    reason: str = ""
    details: Mapping[str, float] = field(default_factory=dict)
    placement: str = ""
    oddities: Mapping[str, float] = field(default_factory=dict)


class Predictor:
    """Predicts images in order, as many at once as the model takes.

    Args:
        built: the model.
        cache: where predictions are stored; None = nowhere.
        postprocess: whether maps are clipped and scaled.

    Attributes:
        built: the model.
    """

    def __init__(self, built: BuiltModel, cache: PredictionCache | None, postprocess: bool) -> None:
        self.built = built
        self._model = built.model
        self._cache = cache
        self._postprocess = postprocess
        self._ready = False

    @property
    def kind(self) -> Output:
        """The kind of the model's predictions."""
        return self._model.output

    def predict(self, stimuli: Sequence[Stimulus]) -> Iterator[Predicted]:
        """Yield the prediction of each image, in order; a failure loses only its own image.

        Raises:
            ClickmapError: the model cannot be prepared, or the cache cannot be written.
        """
        step = self._model.batch_size
        for first in range(0, len(stimuli), step):
            yield from self._some(stimuli[first : first + step])
        if self._ready:
            self._model.release()

    def stored(self, stimulus: Stimulus) -> list[Map] | None:
        """Return the cached predictions of an image if all of them are still valid, else None."""
        if self._cache is None:
            return None
        key = self.built.key(stimulus, self._postprocess)
        found = [self._cache.get(name, key) for name in self.names(stimulus)]
        whole = [array for array in found if array is not None]
        return whole if len(whole) == len(found) else None

    def keeps(self, stimulus: Stimulus) -> bool:
        """Return True if the cache holds all predictions of an image, or caching is off."""
        return self._cache is None or self.stored(stimulus) is not None

    def names(self, stimulus: Stimulus) -> list[str]:
        """Return the cache names of an image's predictions; a person's includes their name.

        Raises:
            DataError: the model predicts people, and the image has fewer than two named people.
        """
        if not isinstance(self._model, SubjectModel):
            return [stimulus.image_id]
        people = stimulus.people()
        if people is None:
            raise DataError(
                f"{stimulus.image_id}: {self.built.label} needs two named people or more."
            )
        seen: dict[str, int] = {}
        names = []
        for person in people.names:
            seen[person] = seen.get(person, 0) + 1
            again = f"~{seen[person]}" if seen[person] > 1 else ""
            names.append(f"{stimulus.image_id}__{person}{again}")
        return names

    def _some(self, stimuli: Sequence[Stimulus]) -> Iterator[Predicted]:
        """Yield consecutive images' predictions; images not in the cache are grouped by size."""
        found: dict[str, Predicted] = {}
        todo: dict[tuple[int, int], list[Stimulus]] = {}
        for stimulus in stimuli:
            try:
                maps = self.stored(stimulus)
            except DataError as error:
                found[stimulus.image_id] = Predicted(stimulus, (), str(error))
                continue
            if maps is not None:
                kept = self._kept(stimulus)
                found[stimulus.image_id] = Predicted(
                    stimulus, maps, "", kept.details, kept.placement, kept.oddities
                )
            else:
                todo.setdefault(stimulus.size, []).append(stimulus)
        for group in todo.values():
            self._get_ready()
            for predicted in self._group(group):
                found[predicted.stimulus.image_id] = predicted
        for stimulus in stimuli:
            yield found[stimulus.image_id]

    def _kept(self, stimulus: Stimulus) -> KeptWith:
        """Return the details, placement and oddities stored with a cached prediction."""
        if self._cache is None:
            return KeptWith()
        return self._cache.kept_with(self.names(stimulus)[0])

    def variants(self, stimulus: Stimulus) -> dict[str, Map]:
        """Return the finished predictions of the model's other settings; empty if it has none.

        Raises:
            ClickmapError: the model cannot be prepared.
        """
        self._get_ready()
        found = self._model.predict_variants(stimulus)
        return {name: self._finished(stimulus, values)[0] for name, values in found.items()}

    def _finished(self, stimulus: Stimulus, values: NDArray[Any]) -> tuple[Map, str]:
        """Return a prediction on the scored pixels, and how it was brought there.

        Raises:
            DataError: its aspect ratio is not the image's.
            ValueError: it is not a map of finite numbers.
        """
        if values.ndim != 2 or not values.size:
            raise ValueError(
                f"the prediction has the shape {values.shape}; it must be (height, width)"
            )
        height, width = values.shape
        stretched = self._model.stretched_to(stimulus.size)
        if stretched is not None and same_aspect((height, width), stretched):
            geometry = Geometry((height, width), stimulus.size, None)
        else:
            geometry = stimulus.placement((height, width), self._model.of_file)
        done = finish_prediction(values, self._model.output, geometry, self._postprocess)
        return done, geometry.action

    def _get_ready(self) -> None:
        if not self._ready:
            self._model.prepare()
            self._ready = True

    def _group(self, group: list[Stimulus]) -> list[Predicted]:
        """Predict images of one size together; if that fails, predict each one separately."""
        if len(group) > 1:
            try:
                batch = list(zip(group, self._model.predict_batch(group), strict=True))
            except Exception:
                return [self._one(stimulus) for stimulus in group]
            return [self._keep(stimulus, [values]) for stimulus, values in batch]
        return [self._one(group[0])]

    def _one(self, stimulus: Stimulus) -> Predicted:
        try:
            if isinstance(self._model, SubjectModel):
                raw = [values for _, values in self._model.predict_people(stimulus)]
            else:
                raw = [self._model.predict(stimulus)]
        except ClickmapError as error:
            return Predicted(stimulus, (), str(error))
        except Exception as error:
            return Predicted(stimulus, (), f"{self.built.label} raised {typed_reason(error)}")
        return self._keep(stimulus, raw)

    def _keep(self, stimulus: Stimulus, raw: list[NDArray[Any]]) -> Predicted:
        """Finish the raw predictions of an image and store them in the cache."""
        try:
            placed = [self._finished(stimulus, np.asarray(values)) for values in raw]
        except (DataError, ValueError, TypeError) as error:
            source = self._model.origin(stimulus) or self.built.label
            return Predicted(stimulus, (), f"{source}: {error}.")
        maps = [values for values, _ in placed]
        placement = placed[0][1] if placed else ""
        odd = self._oddities(stimulus, raw)
        details = self._model.details.pop(stimulus.image_id, {})
        if self._cache is not None:
            key = self.built.key(stimulus, self._postprocess)
            for name, values in zip(self.names(stimulus), maps, strict=True):
                self._cache.put(name, key, values, KeptWith(details, placement, odd))
        return Predicted(stimulus, maps, "", details, placement, odd)

    def _oddities(self, stimulus: Stimulus, raw: list[NDArray[Any]]) -> Mapping[str, float]:
        """Return the oddities of an image's prediction; empty for people and flat models."""
        if isinstance(self._model, SubjectModel) or self._model.flat:
            return {}
        values = np.asarray(raw[0])
        return oddities(values, self._model.output, self._postprocess, stimulus.size)


def oddity_notices(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield a sentence for each kind of oddity that a model's predictions have.

    Args:
        found: image id -> its prediction's oddities (see `datasets.maps.oddities`), empty for a
            normal prediction; it holds every image that was predicted.
    """
    n = len(found)

    def those(kind: str) -> dict[str, float]:
        return {image: found[image][kind] for image in sorted(found) if kind in found[image]}

    constant = those("constant")
    if constant:
        first, value = next(iter(constant.items()))
        how_many = f"all {n}" if len(constant) == n else f"{len(constant)} of {n}"
        yield (
            f"{how_many} predictions are constant, {first} for one ({value:.4g} everywhere); they "
            "have the scores of chance."
        )
    levels = those("levels")
    if levels:
        first, count = next(iter(levels.items()))
        yield (
            f"{len(levels)} of {n} predictions have fewer than {FEW_LEVELS} different values, "
            f"{first} for one ({int(count)}); ties decide their AUC."
        )
    below = those("below_zero")
    if below:
        first, share = next(iter(below.items()))
        yield (
            f"{len(below)} of {n} predictions have values below 0, which are clipped to 0: "
            f"{np.mean(list(below.values())):.1%} of the pixels of these images ({first} for one: "
            f"{share:.1%}); if the sign matters, shift the maps, or set output: log_density if "
            "they hold logarithms."
        )
    sums = those("sum")
    if sums:
        first, total = next(iter(sums.items()))
        yield (
            f"{len(sums)} of {n} predictions are declared densities and do not sum to 1, {first} "
            f"for one ({total:.4g}); IG takes them as they are. Set output to what they hold: "
            "map (which is scaled), density or log_density."
        )


def shown_map(maps: Sequence[NDArray[np.float32]], output: str) -> NDArray[np.float64]:
    """Return the map to draw for a prediction: the mean over people, never a logarithm."""
    mean = np.mean(np.stack(maps).astype(np.float64), axis=0)
    return np.asarray(np.exp(mean - mean.max()) if output == "log_density" else mean)
