"""The filters that decide which trials count, in their fixed order, and what each one left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
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
from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.runtime.progress import Progress

Quality = Callable[[Trials], Bools]
"""(users) True for participants who are careless or cheat, in the order of the table's vocabulary.
This is the `participant_filter`, which needs a network and so is passed in by callers that may load
one."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


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

    Attributes:
        trials: the trials that are left.
        rows: one row per filter, in order.
        notices: messages for the user (images without a mask, ...).

    Args:
        trials: the trials as read.
        n_rows: number of rows of the file.
    """

    def __init__(self, trials: Trials, n_rows: int) -> None:
        self.trials = trials
        self.rows: list[FunnelRow] = []
        self.notices: list[str] = []
        self.note("rows in the file", "", n_rows)
        self.note("unreadable rows", "dropped")

    def keep(self, step: str, setting: str, kept: Bools | None) -> None:
        """Keep the trials for which `kept` is True, or all if it is None, and note the filter."""
        if kept is not None and not kept.all():
            self.trials = self.trials.select(np.flatnonzero(kept))
        self.note(step, setting)

    def note(self, step: str, setting: str, n_trials: int | None = None) -> None:
        """Add a row for a filter that has run: with the trials that are left, unless given."""
        n = len(self.trials)
        images = int(np.count_nonzero(np.bincount(self.trials.image))) if n else 0
        clicks = len(self.trials.x)
        self.rows.append(
            FunnelRow(step, setting, n if n_trials is None else n_trials, images, clicks)
        )


def filter_trials(
    funnel: Funnel,
    config: ExperimentConfig,
    keep_categories: frozenset[str] | None,
    progress: Progress,
    quality: Quality | None = None,
) -> None:
    """Apply every filter of a configuration; afterwards the funnel's trials are compact.

    Args:
        funnel: the trials as read.
        config: the filters' settings.
        keep_categories: content of `class_filter_file`; None keeps all.
        progress: receives the progress of slow filters.
        quality: function for `participant_filter`; required if that is set.

    Raises:
        ValueError: `participant_filter` is set and `quality` is not given.
    """
    filter_before_quality(funnel, config, keep_categories)
    if config.participant_filter is None:
        funnel.note("participant_filter", "off")
    elif quality is None:
        raise ValueError("participant_filter is set, but nobody judges participants")
    else:
        flagged, people = quality(funnel.trials), np.unique(funnel.trials.user)
        removed = int(np.count_nonzero(flagged[people]))
        funnel.notices.append(
            f"participant_filter removed {removed} of {len(people)} participants."
        )
        funnel.keep("participant_filter", config.participant_filter, ~flagged[funnel.trials.user])
    if not all(funnel.trials.inside(*block).all() for block in funnel.trials.blocks()):
        funnel.trials = funnel.trials.where_clicks(funnel.trials.inside)
    funnel.note("clicks outside dropped", "on")
    enough = funnel.trials.n_clicks >= config.min_clicks
    funnel.keep("min_clicks", str(config.min_clicks), enough)
    _limit_clicks(funnel, config.max_clicks, config.process_max)
    funnel.trials = funnel.trials.compact()
    settings = MapSettings.from_config(config)
    if config.min_pixels:
        kept = _covered_pixels(funnel.trials, config, settings, progress) >= config.min_pixels
        funnel.keep("min_pixels", str(config.min_pixels), kept)
    else:
        funnel.note("min_pixels", "off")
    unlike = None
    if config.duplicate_maps != "keep_all":
        unlike = np.ones(len(funnel.trials), dtype=np.bool_)
        for group in group_same_pixels(funnel.trials):
            unlike[group[1:] if config.duplicate_maps == "keep_first" else group] = False
    funnel.keep("duplicate_maps", config.duplicate_maps, unlike)
    # counted before max_subjects applies: a limit below min_subjects must not drop everything
    enough_people = funnel.trials.people_per_image() >= config.min_subjects
    if config.max_subjects is None:
        funnel.note("max_subjects", "off")
    else:
        kept = _first_subjects(funnel.trials, config.max_subjects)
        funnel.keep("max_subjects", str(config.max_subjects), kept)
    funnel.keep("min_subjects", str(config.min_subjects), enough_people[funnel.trials.image])
    if config.mask_dir is None:
        funnel.note("mask_dir", "off")
    else:
        _filter_by_masks(funnel, Path(config.mask_dir), config, settings, progress)
    funnel.trials = funnel.trials.compact()


def filter_before_quality(
    funnel: Funnel, config: ExperimentConfig, keep_categories: frozenset[str] | None
) -> None:
    """Apply all filters before `participant_filter`, which judges the trials that are left.

    Args:
        funnel: the trials as read.
        config: the filters' settings.
        keep_categories: content of `class_filter_file`; None keeps all.
    """
    mobile = funnel.trials.mobile
    if mobile is None:
        funnel.note("filter_mobile", "no such column")
    elif config.filter_mobile:
        funnel.keep("filter_mobile", "on", ~mobile)
    else:
        funnel.note("filter_mobile", "off")
    catch = funnel.trials.catch
    if catch is None:
        funnel.note("catch_threshold", "no such column")
    else:
        # a NaN score compares false, so a trial whose score is unknown is dropped
        enough = catch >= np.float32(config.catch_threshold)
        funnel.keep("catch_threshold", f"{config.catch_threshold:g}", enough)
    if config.filter_duplicates:
        funnel.keep("filter_duplicates", "on", _first_submissions(funnel.trials))
    else:
        funnel.note("filter_duplicates", "off")
    for name, wanted in (("file_inclusion_filter", True), ("file_exclusion_filter", False)):
        words = getattr(config, name)
        kept = None
        if words:
            keys = funnel.trials.images.tolist()
            has = np.array([any(word in key for word in words) for key in keys], dtype=np.bool_)
            kept = has[funnel.trials.image] == wanted
        funnel.keep(name, ", ".join(words) or "off", kept)
    kept = None
    if keep_categories is not None:
        categories = funnel.trials.categories.tolist()
        known = np.array([name in keep_categories for name in categories], dtype=np.bool_)
        kept = known[funnel.trials.category][funnel.trials.image]
    funnel.keep("class_filter_file", config.class_filter_file or "off", kept)


def _first_submissions(trials: Trials) -> Bools:
    """Return (n) True for each trial that is its user's first for its image."""
    order = trials.in_time_order()
    pair = trials.image[order].astype(np.int64) * len(trials.users) + trials.user[order]
    _, first = np.unique(pair, return_index=True)
    keep = np.zeros(len(trials), dtype=np.bool_)
    keep[order[first]] = True
    return keep


def _limit_clicks(funnel: Funnel, most: int | None, process_max: str) -> None:
    if most is None:
        funnel.note("max_clicks", "off")
    elif process_max == "exclude":
        funnel.keep("max_clicks", f"{most}, exclude", funnel.trials.n_clicks <= most)
    else:
        n = len(funnel.trials)
        if (funnel.trials.n_clicks > most).any():
            funnel.trials = funnel.trials.select(np.arange(n), np.full(n, most))
        funnel.note("max_clicks", f"{most}, trim")


def _covered_pixels(
    trials: Trials, config: ExperimentConfig, settings: MapSettings, progress: Progress
) -> NDArray[np.int64]:
    """Count (n) pixels above zero in each trial's map."""
    slices = trials.image_slices()
    progress.stage("Counting map pixels", len(trials.images))

    def count(image: int) -> NDArray[np.int64]:
        return covered_pixels(image_clicks(trials, slices, image), settings)

    counted = [np.empty(0, np.int64)]
    for pixels in ordered_map(count, range(len(trials.images)), config.n_jobs, "threading"):
        counted.append(pixels)
        progress.advance()
    return np.concatenate(counted)


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


def _filter_by_masks(
    funnel: Funnel,
    folder: Path,
    config: ExperimentConfig,
    settings: MapSettings,
    progress: Progress,
) -> None:
    trials = funnel.trials = funnel.trials.compact()
    masks = find_masks(folder, trials.images.tolist())
    slices = trials.image_slices()
    progress.stage("Comparing with foreground masks", len(trials.images))

    def iou(image: int) -> float:
        key = str(trials.images[image])
        if key not in masks:
            return -1.0
        clicks = image_clicks(trials, slices, image)
        geometry = settings.geometry(clicks.native)
        size = None
        if config.image_dir is not None:
            size = size_of(image_file(Path(config.image_dir), key))
        try:
            return heat_on_mask(mean_map(clicks, settings), read_mask(masks[key]), geometry, size)
        except DataError as error:
            hint = "" if size else " Set image_dir, so that the image's own shape is known."
            raise DataError(f"{masks[key]}: {error}.{hint}") from error

    ious = []
    for value in ordered_map(iou, range(len(trials.images)), config.n_jobs, "threading"):
        ious.append(value)
        progress.advance()
    # without an IoU (nothing on both sides) an image stays
    kept = ~(np.array(ious, dtype=np.float64) >= config.mask_threshold)
    funnel.keep("mask_dir", f"IoU < {config.mask_threshold:g}", kept[trials.image])
    without = len(trials.images) - len(masks)
    if without:
        funnel.notices.append(f"{without} images have no mask in {config.mask_dir}; they stay.")


def group_same_pixels(trials: Trials) -> list[NDArray[np.intp]]:
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
