"""All trials of an experiment as one ragged columnar table, and their click counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import image_key
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.long_arrays import LongArray, blocks_of_runs, take_runs
from clickmap_cli.storage.safe_arrays import NpzArrays

Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

TRIALS_FILE = "trials.npz"
"""Name of the file in which `prepare` keeps a table of trials."""

_ARRAYS = (
    "x", "y", "offsets", "image", "user", "images", "users", "category", "categories", "shape",
)  # fmt: skip


@dataclass(frozen=True)
class Trials:
    """A table of trials; each trial holds one participant's ordered clicks on one image.

    Trial t's clicks are `x[offsets[t]:offsets[t + 1]]`, in the order they were made.

    Attributes:
        x: columns of all clicks, trial after trial; int16, or int32 where needed.
        y: rows of all clicks, in the same order and type.
        offsets: (n + 1) int64 index of each trial's first click; the last is the number of clicks.
        image: (n) int32 codes into `images`.
        user: (n) int32 codes into `users`.
        images: image keys, each once.
        users: user names, each once.
        category: (len(images)) int32 codes into `categories`.
        categories: category names, each once.
        shape: (len(images), 2) int32, height and width in which the clicks are measured.
        time: (n) float64 seconds, or None if the data has no timestamps.
        catch: (n) float32 catch-trial scores (NaN if unknown), or None.
        mobile: (n) True for trials on a mobile device, or None.
    """

    x: Ints
    y: Ints
    offsets: NDArray[np.int64]
    image: NDArray[np.int32]
    user: NDArray[np.int32]
    images: NDArray[np.str_]
    users: NDArray[np.str_]
    category: NDArray[np.int32]
    categories: NDArray[np.str_]
    shape: NDArray[np.int32]
    time: NDArray[np.float64] | None = None
    catch: NDArray[np.float32] | None = None
    mobile: Bools | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def n_clicks(self) -> NDArray[np.int64]:
        """(n) int64 number of clicks of each trial."""
        return np.diff(self.offsets)

    def clicks(self, trial: int) -> tuple[Ints, Ints]:
        """Return the columns and rows of one trial's clicks."""
        part = slice(self.offsets[trial], self.offsets[trial + 1])
        return self.x[part], self.y[part]

    def in_time_order(self) -> NDArray[np.int64]:
        """Return trial numbers from first to last: by timestamp if there is one, else by row."""
        if self.time is None:
            return np.arange(len(self))
        return np.argsort(self.time, kind="stable")

    def select(self, index: NDArray[np.intp], limit: Ints | None = None) -> Trials:
        """Return the trials at `index`, in that order; vocabularies are not changed.

        Args:
            index: (m) trial numbers.
            limit: (m) number of first clicks to keep of each trial; None keeps all.
        """
        starts = self.offsets[:-1][index]
        lengths = self.n_clicks[index]
        if limit is not None:
            lengths = np.minimum(lengths, limit)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return replace(
            self,
            x=take_runs(self.x, starts, lengths),
            y=take_runs(self.y, starts, lengths),
            offsets=offsets,
            image=self.image[index],
            user=self.user[index],
            time=None if self.time is None else self.time[index],
            catch=None if self.catch is None else self.catch[index],
            mobile=None if self.mobile is None else self.mobile[index],
        )

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield slices of trials and their clicks: blocks of bounded size, or of a single trial."""
        for trials in blocks_of_runs(self.n_clicks):
            yield trials, slice(int(self.offsets[trials.start]), int(self.offsets[trials.stop]))

    def inside(self, trials: slice, clicks: slice) -> Bools:
        """Return (clicks) True for each click of a block that lies inside its image."""
        side = np.repeat(self.shape[self.image[trials]], self.n_clicks[trials], axis=0)
        x, y = self.x[clicks], self.y[clicks]
        return np.asarray((x >= 0) & (y >= 0) & (x < side[:, 1]) & (y < side[:, 0]))

    def where_clicks(self, keep: Callable[[slice, slice], Bools]) -> Trials:
        """Return the same trials with only some of their clicks; trials may become empty.

        Args:
            keep: function that is called with each item of `blocks` and returns (clicks) True for
                the clicks of the block to keep.
        """
        lengths = self.n_clicks
        kept = np.zeros(len(self), dtype=np.int64)
        xs, ys = LongArray(self.x.dtype), LongArray(self.y.dtype)
        for trials, clicks in self.blocks():
            stays = keep(trials, clicks)
            some = trials.start + np.flatnonzero(lengths[trials])
            if len(some):
                starts = self.offsets[some] - clicks.start
                kept[some] = np.add.reduceat(stays, starts, dtype=np.int64)
            xs.append(self.x[clicks][stays])
            ys.append(self.y[clicks][stays])
        offsets = np.concatenate(([0], np.cumsum(kept))).astype(np.int64)
        return replace(self, x=xs.finish(), y=ys.finish(), offsets=offsets)

    def compact(self) -> Trials:
        """Sort by image key, then by time; drop unused names from the vocabularies.

        The result does not depend on how rows of different images were interleaved.
        """
        used = np.unique(self.image)
        by_key = used[np.argsort(self.images[used])]
        new_image = np.full(len(self.images), -1, dtype=np.int32)
        new_image[by_key] = np.arange(len(by_key))
        by_name = np.unique(self.user)
        by_name = by_name[np.argsort(self.users[by_name])]
        new_user = np.full(len(self.users), -1, dtype=np.int32)
        new_user[by_name] = np.arange(len(by_name))
        categories, category = np.unique(
            self.categories[self.category[by_key]], return_inverse=True
        )
        first = self.in_time_order()
        ordered = self.select(first[np.argsort(new_image[self.image[first]], kind="stable")])
        return replace(
            ordered,
            image=new_image[ordered.image],
            user=new_user[ordered.user],
            images=_narrow(self.images[by_key]),
            users=_narrow(self.users[by_name]),
            category=category.astype(np.int32),
            categories=_narrow(categories),
            shape=self.shape[by_key],
        )

    def people_per_image(self) -> NDArray[np.int64]:
        """Count (len(images)) distinct users of each image."""
        n_users = max(len(self.users), 1)
        pairs = np.unique(self.image.astype(np.int64) * n_users + self.user)
        return np.bincount(pairs // n_users, minlength=len(self.images))

    def image_slices(self) -> NDArray[np.int64]:
        """Return (len(images) + 1) first trial of each image; the table must be compact."""
        return np.searchsorted(self.image, np.arange(len(self.images) + 1)).astype(np.int64)

    def part(self, first_image: int, last_image: int) -> Trials:
        """Return the images from `first_image` up to `last_image` alone, of a compact table.

        The clicks are copies in memory, so that the part can be sent to another process.
        """
        slices = self.image_slices()
        first, last = int(slices[first_image]), int(slices[last_image])
        span = slice(self.offsets[first], self.offsets[last])
        return replace(
            self,
            x=self.x[span].copy(),
            y=self.y[span].copy(),
            offsets=self.offsets[first : last + 1] - self.offsets[first],
            image=self.image[first:last] - np.int32(first_image),
            user=self.user[first:last],
            images=self.images[first_image:last_image],
            category=self.category[first_image:last_image],
            shape=self.shape[first_image:last_image],
            time=None if self.time is None else self.time[first:last],
            catch=None,
            mobile=None,
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the content of `trials.npz`: flat arrays, no objects."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        if self.time is not None:
            arrays["time"] = self.time
        return arrays


def load_trials(path: Path) -> Trials:
    """Read a `trials.npz`, which may come from anywhere.

    Raises:
        DataError: the file is missing or damaged; arrays are missing, have other types, or do not
            fit one another; or order, clicks or keys are not as `prepare` writes them.
    """
    arrays = NpzArrays(path)
    missing = [key for key in _ARRAYS if key not in arrays]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}; it is not a trials.npz of prepare.")
    loaded = {key: arrays[key] for key in _ARRAYS}
    texts = ("images", "users", "categories")
    if any(
        array.dtype.kind not in ("U" if key in texts else "iu") for key, array in loaded.items()
    ):
        raise DataError(f"{path}: its arrays have other types than prepare writes.")
    trials = Trials(**loaded, time=arrays.get("time"))
    n, images = len(trials.image), len(trials.images)
    fits = (
        len(trials.offsets) == n + 1
        and len(trials.user) == n
        and (n == 0 or trials.offsets[0] == 0)
        and bool(np.all(np.diff(trials.offsets) >= 0))
        and len(trials.x) == len(trials.y) == int(trials.offsets[-1])
        and trials.shape.shape == (images, 2)
        and len(trials.category) == images
        and _codes_within(trials.image, images)
        and _codes_within(trials.user, len(trials.users))
        and _codes_within(trials.category, len(trials.categories))
        and (trials.time is None or len(trials.time) == n)
    )
    if not fits:
        raise DataError(f"{path}: its arrays do not fit one another; run prepare again.")
    keys = trials.images.tolist()
    in_order = bool(np.all(np.diff(trials.image) >= 0)) and keys == sorted(set(keys))
    inside = all(trials.inside(*block).all() for block in trials.blocks())
    try:
        safe = all(image_key(key) == key for key in keys)
    except ValueError:
        safe = False
    if not (in_order and inside and safe):
        raise DataError(f"{path}: its content is not what prepare writes; run prepare again.")
    return trials


def _codes_within(codes: Ints, size: int) -> bool:
    return len(codes) == 0 or (int(codes.min()) >= 0 and int(codes.max()) < size)


def _narrow(words: NDArray[np.str_]) -> NDArray[np.str_]:
    """Store strings no wider than the longest of them."""
    return words.astype(np.str_) if len(words) == 0 else np.array(words.tolist(), dtype=np.str_)


def click_medians(trials: Trials, percentile: float) -> dict[str, Any]:
    """Summarise the clicks per trial for `medians.json`.

    Args:
        trials: a compact table with at least one trial.
        percentile: percentile (0 to 100) over all trials that is written as `threshold`.

    Returns:
        `counts`: a text that says what is counted; `image` and `category`: name -> median; `all`:
        `median`, `mean`, `threshold`.
    """
    lengths = trials.n_clicks
    category = trials.category[trials.image]
    return {
        # the field's scripts count trials where `prepare` counts clicks
        "counts": "Clicks in one trial, of the trials and clicks that passed every filter. "
        "click_counts.json holds the sum of these clicks over all trials of an image, not the "
        "number of its trials.",
        "image": _medians(lengths, trials.image, trials.images),
        "category": _medians(lengths, category, trials.categories),
        "all": {
            "median": float(np.median(lengths)),
            "mean": float(np.mean(lengths)),
            "threshold": float(np.percentile(lengths, percentile)),
        },
    }


def clicks_per_image(trials: Trials) -> NDArray[np.int64]:
    """Return (images) number of clicks of all trials of each image of a compact table."""
    return np.diff(trials.offsets[trials.image_slices()])


def _medians(
    lengths: NDArray[np.int64], group: NDArray[np.int32], names: NDArray[np.str_]
) -> dict[str, float]:
    order = np.lexsort((lengths, group))
    ordered, keys = lengths[order], group[order]
    bounds = np.searchsorted(keys, np.arange(len(names) + 1))
    return {
        str(name): float(np.median(ordered[first:last]))
        for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True)
        if last > first
    }
