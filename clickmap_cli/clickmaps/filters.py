"""The filters that decide which trials count, in their fixed order, and what each one left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.image_files import (
    find_masks,
    heat_on_mask,
    image_file,
    read_mask,
    size_of,
)
from clickmap_cli.clickmaps.maps import covered_pixels, image_clicks, mean_map
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.runtime.progress import Progress

Bools = NDArray[np.bool_]

Quality = Callable[[Trials], Bools]
"""(users) True for participants who are careless or cheat, in the order of the table's vocabulary.
This is the `participant_filter`, which needs a network and so is passed in by callers that may load
one."""


@dataclass(frozen=True)
class FunnelRow:
    """The trials, images and clicks that one filter left.

    Attributes:
        step: key of the filter in a config.
        setting: value of that key, as text; `off` if the filter does nothing.
        trials: number of trials kept.
        images: number of images that still have trials.
        clicks: number of clicks kept.
    """

    step: str
    setting: str
    trials: int
    images: int
    clicks: int


class Funnel:
    """The trials so far and a row for each filter that has run.

    The funnel owns the trials: the memory of dropped ones is freed unless a caller holds them.

    Args:
        trials: the trials as read.
        rows: number of rows of the file.
    """

    def __init__(self, trials: Trials, rows: int) -> None:
        self.trials = trials
        self.rows = [FunnelRow("rows in the file", "", rows, self._images(), len(trials.x))]
        self._note("unreadable rows", "dropped")

    def by_trial(self, step: str, setting: str, keep: Callable[[Trials], Bools | None]) -> None:
        """Keep the trials for which `keep` returns True; None keeps all."""
        kept = keep(self.trials)
        if kept is not None and not kept.all():
            self.trials = self.trials.select(np.flatnonzero(kept))
        self._note(step, setting)

    def by_image(self, step: str, setting: str, keep: Callable[[Trials], Bools | None]) -> None:
        """Keep the images for which `keep` returns True; None keeps all."""

        def of_trials(trials: Trials) -> Bools | None:
            kept = keep(trials)
            return None if kept is None else kept[trials.image]

        self.by_trial(step, setting, of_trials)

    def replace(self, step: str, setting: str, change: Callable[[Trials], Trials]) -> None:
        """Replace the trials by the result of `change`."""
        self.trials = change(self.trials)
        self._note(step, setting)

    def skip(self, step: str) -> None:
        """Record a filter that is off."""
        self._note(step, "off")

    def compact(self) -> None:
        """Sort the trials; see `Trials.compacted`."""
        self.trials = self.trials.compacted()

    def _note(self, step: str, setting: str) -> None:
        n = len(self.trials)
        self.rows.append(FunnelRow(step, setting, n, self._images(), len(self.trials.x)))

    def _images(self) -> int:
        return int(np.count_nonzero(np.bincount(self.trials.image))) if len(self.trials) else 0


@dataclass(frozen=True)
class Filtered:
    """Trials that passed every filter, `compacted`, and the funnel of all filters.

    Attributes:
        trials: trials sorted by image key, those of an image in time order.
        funnel: one row per filter, in order.
        notices: messages for the user (images without a mask, ...).
    """

    trials: Trials
    funnel: tuple[FunnelRow, ...]
    notices: tuple[str, ...] = field(default=())


def filter_trials(
    funnel: Funnel,
    config: ExperimentConfig,
    keep_categories: frozenset[str] | None,
    progress: Progress,
    quality: Quality | None = None,
) -> Filtered:
    """Apply every filter of a configuration.

    Args:
        funnel: the trials as read.
        config: the filters' settings.
        keep_categories: content of `class_filter_file`; None keeps all.
        progress: receives the progress of slow filters.
        quality: function for `participant_filter`; required if that is set.

    Returns:
        The remaining trials, possibly none.

    Raises:
        ValueError: `participant_filter` is set and `quality` is not given.
    """
    _before_quality(funnel, config, keep_categories)
    notices = _participant_filter(funnel, config.participant_filter, quality)
    funnel.replace("clicks outside dropped", "on", _inside)
    funnel.by_trial("min_clicks", str(config.min_clicks), lambda t: t.n_clicks >= config.min_clicks)
    _limit_clicks(funnel, config)
    funnel.compact()
    settings = MapSettings.of(config)
    funnel.by_trial(
        "min_pixels",
        str(config.min_pixels) if config.min_pixels else "off",
        lambda t: _enough_pixels(t, config, settings, progress) if config.min_pixels else None,
    )
    funnel.by_trial(
        "duplicate_maps",
        config.duplicate_maps,
        lambda t: (
            _unlike_maps(t, keep_first=config.duplicate_maps == "keep_first")
            if config.duplicate_maps != "keep_all"
            else None
        ),
    )
    # counted before max_subjects applies: a limit below min_subjects must not drop everything
    enough = funnel.trials.people_per_image() >= config.min_subjects
    funnel.by_trial(
        "max_subjects",
        "off" if config.max_subjects is None else str(config.max_subjects),
        lambda t: None if config.max_subjects is None else _first_subjects(t, config.max_subjects),
    )
    funnel.by_image("min_subjects", str(config.min_subjects), lambda _: enough)
    notices += _mask_filter(funnel, config, settings, progress)
    funnel.compact()
    return Filtered(funnel.trials, tuple(funnel.rows), tuple(notices))


def trials_to_judge(
    funnel: Funnel, config: ExperimentConfig, keep_categories: frozenset[str] | None
) -> Trials:
    """Apply all filters before `participant_filter`, and return the trials that it judges.

    Args:
        funnel: the trials as read.
        config: the filters' settings.
        keep_categories: content of `class_filter_file`; None keeps all.
    """
    _before_quality(funnel, config, keep_categories)
    return funnel.trials


def _before_quality(
    funnel: Funnel, config: ExperimentConfig, keep_categories: frozenset[str] | None
) -> None:
    """Apply the filters up to and including `class_filter_file`."""
    mobile = "no such column" if funnel.trials.mobile is None else _setting(config.filter_mobile)
    funnel.by_trial("filter_mobile", mobile, lambda t: _not_mobile(t, config))
    funnel.by_trial("catch_threshold", *_catch(funnel.trials, config))
    funnel.by_trial(
        "filter_duplicates",
        _setting(config.filter_duplicates),
        lambda t: _first_submissions(t) if config.filter_duplicates else None,
    )
    for name, wanted in (("file_inclusion_filter", True), ("file_exclusion_filter", False)):
        words = getattr(config, name)
        funnel.by_image(name, ", ".join(words) or "off", _containing(words, wanted))
    funnel.by_image(
        "class_filter_file", config.class_filter_file or "off", _within(keep_categories)
    )


def _setting(on: bool) -> str:
    return "on" if on else "off"


def _not_mobile(trials: Trials, config: ExperimentConfig) -> Bools | None:
    return ~trials.mobile if config.filter_mobile and trials.mobile is not None else None


def _catch(
    trials: Trials, config: ExperimentConfig
) -> tuple[str, Callable[[Trials], Bools | None]]:
    if trials.catch is None:
        return "no such column", lambda _: None
    # a NaN score compares false, so a trial whose score is unknown is dropped
    return (
        f"{config.catch_threshold:g}",
        lambda t: None if t.catch is None else t.catch >= np.float32(config.catch_threshold),
    )


def _first_submissions(trials: Trials) -> Bools:
    """Return (n) True for each trial that is its user's first for its image."""
    order = trials.in_time_order()
    pair = trials.image[order].astype(np.int64) * len(trials.users) + trials.user[order]
    _, first = np.unique(pair, return_index=True)
    keep = np.zeros(len(trials), dtype=np.bool_)
    keep[order[first]] = True
    return keep


def _containing(words: list[str], wanted: bool) -> Callable[[Trials], Bools | None]:
    def keep(trials: Trials) -> Bools | None:
        if not words:
            return None
        has = [any(word in key for word in words) for key in trials.images.tolist()]
        return np.asarray(np.array(has, dtype=np.bool_) == wanted)

    return keep


def _within(categories: frozenset[str] | None) -> Callable[[Trials], Bools | None]:
    def keep(trials: Trials) -> Bools | None:
        if categories is None:
            return None
        known = np.array([name in categories for name in trials.categories.tolist()], np.bool_)
        return np.asarray(known[trials.category])

    return keep


def _participant_filter(funnel: Funnel, path: str | None, quality: Quality | None) -> list[str]:
    """Drop all trials of the participants who are flagged."""
    if path is None:
        funnel.skip("participant_filter")
        return []
    if quality is None:
        raise ValueError("participant_filter is set, but nobody judges participants")
    present = np.unique(funnel.trials.user)
    flagged = quality(funnel.trials)
    funnel.by_trial("participant_filter", path, lambda t: ~flagged[t.user])
    removed = int(np.count_nonzero(flagged[present]))
    return [f"participant_filter removed {removed} of {len(present)} participants."]


def _inside(trials: Trials) -> Trials:
    if all(trials.inside(*block).all() for block in trials.blocks()):
        return trials
    return trials.where_clicks(trials.inside)


def _limit_clicks(funnel: Funnel, config: ExperimentConfig) -> None:
    most = config.max_clicks
    if most is None:
        funnel.skip("max_clicks")
    elif config.process_max == "exclude":
        funnel.by_trial("max_clicks", f"{most}, exclude", lambda t: t.n_clicks <= most)
    else:
        funnel.replace(
            "max_clicks",
            f"{most}, trim",
            lambda t: (
                t.select(np.arange(len(t)), np.full(len(t), most))
                if (t.n_clicks > most).any()
                else t
            ),
        )


def _enough_pixels(
    trials: Trials, config: ExperimentConfig, settings: MapSettings, progress: Progress
) -> Bools:
    slices = trials.image_slices()
    progress.stage("Counting map pixels", len(trials.images))

    def covered(image: int) -> NDArray[np.int64]:
        return covered_pixels(image_clicks(trials, slices, image), settings)

    counted = []
    for pixels in ordered_map(covered, range(len(trials.images)), config.n_jobs, "threading"):
        counted.append(pixels)
        progress.advance()
    if not counted:
        return np.empty(0, np.bool_)
    return np.asarray(np.concatenate(counted) >= config.min_pixels)


def _unlike_maps(trials: Trials, keep_first: bool) -> Bools:
    """Return (n) True for each trial that no other (earlier) trial duplicates pixel for pixel."""
    groups = same_pixels(trials)
    keep = np.ones(len(trials), dtype=np.bool_)
    for group in groups:
        keep[group[1:] if keep_first else group] = False
    return keep


def _first_subjects(trials: Trials, most: int) -> Bools:
    """Return (n) True for trials by the first `most` users of their image in a compacted table."""
    pair = trials.image.astype(np.int64) * len(trials.users) + trials.user
    _, first, which = np.unique(pair, return_index=True, return_inverse=True)
    slices = trials.image_slices()
    is_first = np.zeros(len(trials), dtype=np.int64)
    is_first[first] = 1
    # number of users so far, this one included
    come = np.cumsum(is_first)
    rank = come - np.concatenate(([0], come))[slices[trials.image]]
    return np.asarray(rank[first][which] <= most)


def _mask_filter(
    funnel: Funnel, config: ExperimentConfig, settings: MapSettings, progress: Progress
) -> list[str]:
    if config.mask_dir is None:
        funnel.skip("mask_dir")
        return []
    trials = funnel.trials.compacted()
    funnel.trials = trials
    masks = find_masks(Path(config.mask_dir), trials.images.tolist())
    slices = trials.image_slices()
    progress.stage("Comparing with foreground masks", len(trials.images))

    def iou(image: int) -> float:
        path = masks.get(str(trials.images[image]))
        if path is None:
            return -1.0
        clicks = image_clicks(trials, slices, image)
        geometry = settings.geometry(clicks.native)
        folder, key = config.image_dir, str(trials.images[image])
        size = None if folder is None else size_of(image_file(Path(folder), key))
        try:
            return heat_on_mask(mean_map(clicks, settings), read_mask(path), geometry, size)
        except DataError as error:
            hint = "" if size else " Set image_dir, so that the image's own shape is known."
            raise DataError(f"{path}: {error}.{hint}") from error

    ious = []
    for value in ordered_map(iou, range(len(trials.images)), config.n_jobs, "threading"):
        ious.append(value)
        progress.advance()
    keep = ~(np.array(ious, dtype=np.float64) >= config.mask_threshold)
    funnel.by_image("mask_dir", f"IoU < {config.mask_threshold:g}", lambda _: keep)
    without = len(trials.images) - len(masks)
    return [f"{without} images have no mask in {config.mask_dir}; they stay."] if without else []


_MIX = np.uint64(0x9E3779B97F4A7C15)


def same_pixels(trials: Trials) -> list[NDArray[np.intp]]:
    """Group the trials of each image whose clicks cover the same set of pixels.

    Trials are first compared by a fingerprint that does not depend on order or repetition; only
    trials with equal fingerprints are compared pixel by pixel.

    Returns:
        Trial numbers of each group of two or more trials, in the order of the table.
    """
    prints = _fingerprints(trials)
    order = np.lexsort((prints, trials.image))
    keyed, images = prints[order], trials.image[order]
    new = np.ones(len(trials), dtype=np.bool_)
    new[1:] = (keyed[1:] != keyed[:-1]) | (images[1:] != images[:-1])
    bounds = np.append(np.flatnonzero(new), len(trials))
    groups = []
    for first, last in pairwise(bounds):
        if last - first > 1:
            groups.extend(_equal_sets(trials, np.sort(order[first:last])))
    return groups


def _fingerprints(trials: Trials) -> NDArray[np.uint64]:
    """Compute (n) numbers that are equal for equal sets of pixels."""
    prints = np.zeros(len(trials), dtype=np.uint64)
    for block, clicks in trials.blocks():
        pixel = trials.y[clicks].astype(np.uint64) << np.uint64(32)
        pixel |= trials.x[clicks].astype(np.uint64)
        mixed = pixel * _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        some = np.flatnonzero(trials.n_clicks[block]) + block.start
        if not len(some):
            continue
        starts = trials.offsets[some] - clicks.start
        bits = np.left_shift(np.uint64(1), mixed >> np.uint64(58))
        for summary, values in (
            (np.minimum, mixed), (np.maximum, mixed), (np.bitwise_or, mixed), (np.bitwise_or, bits),
        ):  # fmt: skip
            one = summary.reduceat(values, starts)
            prints[some] = (prints[some] ^ one ^ (one >> np.uint64(31))) * _MIX
    return prints


def _equal_sets(trials: Trials, numbers: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    exact: defaultdict[bytes, list[int]] = defaultdict(list)
    for number in numbers.tolist():
        x, y = trials.clicks(number)
        pixels = np.unique(y.astype(np.int64) << 32 | x.astype(np.int64))
        exact[pixels.tobytes()].append(number)
    return [np.array(group) for group in exact.values() if len(group) > 1]
