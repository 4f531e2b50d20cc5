"""Predictions of one model for one data set: from the cache where they hold, else anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, same_aspect
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.plausible_maps import oddities
from clickmap_cli.models.base import Output, SubjectModel
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.models.finish import finished
from clickmap_cli.runtime.errors import ClickmapError, DataError
from clickmap_cli.storage.prediction_cache import KeptWith, PredictionCache

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Predicted:
    """What a model predicts of an image, or why it does not.

    Attributes:
        stimulus: the image.
        maps: one (h, w) map, or one a person; empty where the model failed.
        reason: why it failed, in one sentence; empty where it did not.
        details: numbers the model gave along with it.
        placement: what was done to bring it onto the pixels it is scored on (`Geometry.action`).
        oddities: what a person should know of the prediction; see `plausible_maps.oddities`.
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
        cache: where predictions are kept; None = nowhere.
        postprocess: whether maps are clipped and scaled.
    """

    def __init__(self, built: BuiltModel, cache: PredictionCache | None, postprocess: bool) -> None:
        self._built = built
        self._model = built.model
        self._cache = cache
        self._postprocess = postprocess
        self._ready = False

    @property
    def kind(self) -> Output:
        """What the predictions are."""
        return self._model.output

    def predict(self, stimuli: Sequence[Stimulus]) -> Iterator[Predicted]:
        """What the model predicts of each image, in order; a failure costs one image.

        Raises:
            ClickmapError: the model cannot be made ready, or the cache cannot be written.
        """
        step = self._model.batch_size
        for first in range(0, len(stimuli), step):
            yield from self._some(stimuli[first : first + step])
        if self._ready:
            self._model.release()

    def stored(self, stimulus: Stimulus) -> list[Map] | None:
        """The cached predictions of an image, where there are any that hold."""
        if self._cache is None:
            return None
        key = self._built.key(stimulus, self._postprocess)
        found = [self._cache.get(name, key) for name in self.names(stimulus)]
        whole = [array for array in found if array is not None]
        return whole if len(whole) == len(found) else None

    def keeps(self, stimulus: Stimulus) -> bool:
        """Whether the predictions of an image are in the cache, whole, or there is no cache."""
        return self._cache is None or self.stored(stimulus) is not None

    def names(self, stimulus: Stimulus) -> list[str]:
        """What the predictions of an image are called; a person's carries their name.

        Raises:
            DataError: the model predicts people, and there are none.
        """
        if not isinstance(self._model, SubjectModel):
            return [stimulus.image_id]
        people = stimulus.people()
        if people is None:
            raise DataError(
                f"{stimulus.image_id}: {self._built.label} needs two named people or more."
            )
        seen: dict[str, int] = {}
        names = []
        for person in people.names:
            seen[person] = seen.get(person, 0) + 1
            again = f"~{seen[person]}" if seen[person] > 1 else ""
            names.append(f"{stimulus.image_id}__{person}{again}")
        return names

    def _some(self, stimuli: Sequence[Stimulus]) -> Iterator[Predicted]:
        """Consecutive images: those that are not stored are predicted together, by size."""
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
        """What is kept with a stored prediction."""
        if self._cache is None:
            return KeptWith()
        return self._cache.kept_with(self.names(stimulus)[0])

    def variants(self, stimulus: Stimulus) -> dict[str, Map]:
        """What the model's other settings predict of an image, finished; empty for none.

        Raises:
            ClickmapError: the model cannot be made ready.
        """
        self._get_ready()
        found = self._model.predict_variants(stimulus)
        return {name: self._finished(stimulus, values)[0] for name, values in found.items()}

    def _finished(self, stimulus: Stimulus, values: NDArray[Any]) -> tuple[Map, str]:
        """A prediction on the pixels it is scored on, and what was done to bring it there.

        Raises:
            DataError: its aspect ratio is not the image's.
            ValueError: it is not a map of finite numbers.
        """
        if values.ndim != 2 or not values.size:
            raise ValueError(
                f"the prediction has the shape {values.shape}; it must be (height, width)"
            )
        height, width = values.shape
        stretched = self._model.stretched_to
        if stretched is not None and same_aspect((height, width), stretched):
            geometry = Geometry((height, width), stimulus.size, None)
        else:
            geometry = stimulus.placement((height, width), self._model.of_file)
        done = finished(values, self._model.output, geometry, self._postprocess)
        return done, geometry.action

    def _get_ready(self) -> None:
        if not self._ready:
            self._model.prepare()
            self._ready = True

    def _group(self, group: list[Stimulus]) -> list[Predicted]:
        """Images of one size; where they fail together, each is tried on its own."""
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
            reason = " ".join(str(error).split())[:300]
            return Predicted(
                stimulus, (), f"{self._built.label} raised {type(error).__name__}: {reason}"
            )
        return self._keep(stimulus, raw)

    def _keep(self, stimulus: Stimulus, raw: list[NDArray[Any]]) -> Predicted:
        """The finished predictions, stored."""
        try:
            placed = [self._finished(stimulus, np.asarray(values)) for values in raw]
        except (DataError, ValueError, TypeError) as error:
            source = self._model.origin(stimulus) or self._built.label
            return Predicted(stimulus, (), f"{source}: {error}.")
        maps = [values for values, _ in placed]
        placement = placed[0][1] if placed else ""
        odd = self._oddities(stimulus, raw)
        details = self._model.details.pop(stimulus.image_id, {})
        if self._cache is not None:
            key = self._built.key(stimulus, self._postprocess)
            for name, values in zip(self.names(stimulus), maps, strict=True):
                self._cache.put(name, key, values, KeptWith(details, placement, odd))
        return Predicted(stimulus, maps, "", details, placement, odd)

    def _oddities(self, stimulus: Stimulus, raw: list[NDArray[Any]]) -> Mapping[str, float]:
        """Return what a person should know of an image's prediction; nothing of people's maps."""
        if isinstance(self._model, SubjectModel) or self._model.flat:
            return {}
        values = np.asarray(raw[0])
        return oddities(values, self._model.output, self._postprocess, stimulus.size)
