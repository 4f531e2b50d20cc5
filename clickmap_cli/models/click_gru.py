"""A bidirectional GRU that scores how careless the clicks of a trial look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.clickmaps.click_context import density_of_others
from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.long_arrays import ranges

_BATCH_CLICKS = 1 << 15
"""Number of clicks per batch: enough to keep a core busy."""

_LEAST_SPREAD = 1e-3
"""A feature with a smaller deviation counts as constant and is not scaled up."""


class ClickGRU(nn.Module):
    """A network that gives a logit per trial: positive = careless or cheating, negative = careful.

    Features are centred and scaled, then pass through a linear layer and a bidirectional GRU (Cho
    et al. 2014). A layer of rectified units and a linear layer read the mean of the GRU's outputs
    over the clicks and its last state in either direction.

    Args:
        features: number of features per click; see `FeatureSettings.names`.
        hidden: units of the GRU in each direction, and of the linear layers before and after it.
        layers: number of GRU layers.
        dropout: share of the readout's inputs dropped in training, and of activations between GRU
            layers.
    """

    def __init__(
        self, features: int, hidden: int = 32, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.bring_in = nn.Linear(features, hidden)
        self.gru = nn.GRU(
            hidden, hidden, layers, batch_first=True, bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )  # fmt: skip
        self.readout = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(4 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def standardise(self, values: NDArray[np.float32]) -> None:
        """Set the centre and scale of each feature from the training data.

        Args:
            values: (clicks, features) of the training trials alone.
        """
        exact = values.astype(np.float64)
        spread = exact.std(axis=0)
        spread[spread < _LEAST_SPREAD] = 1
        self.centre.copy_(torch.from_numpy(exact.mean(axis=0)))
        self.spread.copy_(torch.from_numpy(spread))

    def forward(self, clicks: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of trials.

        Args:
            clicks: (n, longest, features) float32; values after a trial's last click are ignored.
            lengths: (n) int64 on the CPU, number of clicks of each trial, at least 1.

        Returns:
            (n) logits.
        """
        scaled = self.bring_in((clicks - self.centre) / self.spread)
        packed = nn.utils.rnn.pack_padded_sequence(
            scaled, lengths, batch_first=True, enforce_sorted=False
        )
        outputs, last = self.gru(packed)
        spread_out, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        mean = spread_out.sum(dim=1) / lengths.to(spread_out.device)[:, None]
        ends = torch.cat((last[-2], last[-1]), dim=1)
        logits: torch.Tensor = self.readout(torch.cat((mean, ends), dim=1))[:, 0]
        return logits


def pad_trials(examples: list[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad trials of different lengths into one batch for `ClickGRU`.

    Args:
        examples: (clicks, features) of each trial, at least one click.

    Returns:
        (n, longest, features) clicks, 0 after the last one, and (n) lengths.
    """
    lengths = [len(example) for example in examples]
    batch = torch.zeros(len(examples), max(lengths), examples[0].shape[1])
    for row, example in zip(batch, examples, strict=True):
        row[: len(example)] = torch.from_numpy(example)
    return batch, torch.tensor(lengths)


def compute_logits(network: ClickGRU, features: ClickFeatures) -> NDArray[np.float64]:
    """Compute the network's logits, in batches of trials of similar length.

    Args:
        network: the network in evaluation mode.
        features: features of the trials.

    Returns:
        (trials) logits; NaN where a trial has no click in its image.

    Raises:
        DataError: a logit is NaN or infinite.
    """
    device = next(network.parameters()).device
    logits = np.full(len(features), np.nan)
    with torch.inference_mode():
        for trials in _batches(features.lengths):
            lengths = features.lengths[trials]
            there = np.arange(lengths.max()) < lengths[:, None]
            clicks = np.zeros((*there.shape, features.values.shape[1]), dtype=np.float32)
            clicks[there] = features.values[ranges(features.starts[trials], lengths)]
            found = network(torch.from_numpy(clicks).to(device), torch.from_numpy(lengths))
            logits[trials] = found.double().cpu().numpy()
            if not np.isfinite(logits[trials]).all():
                raise DataError(
                    "The participant-quality network gives NaN or infinite values; train it again."
                )
    return logits


def compute_trial_logits(
    network: ClickGRU,
    trials: Trials,
    settings: FeatureSettings,
    progress: Progress,
    times: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Compute the network's logits for a table of any size, some images at a time.

    Args:
        network: the network in evaluation mode, trained on features of these settings.
        trials: the table; all clicks in it are context for the other people.
        settings: choice of features.
        progress: receives progress and a notice about trials that were cut.
        times: (clicks) seconds at which each click was made, or None.

    Returns:
        (trials) logits; NaN where a trial has no click in its image.

    Raises:
        DataError: a logit is NaN or infinite.
    """
    logits = np.full(len(trials), np.nan)
    cut = 0
    progress.stage("Judging participants", len(trials))
    with one_thread():
        for index in split_by_image(trials):
            table, at = select_trials(trials, index, times)
            features = click_features(table, settings, times=at)
            logits[index] = compute_logits(network, features)
            cut += features.cut
            progress.advance(len(index))
    if cut:
        progress.notice(
            f"{cut} of {len(trials)} trials have more than {settings.max_clicks} clicks; their "
            "participants are judged by the first ones."
        )
    return logits


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one core per operation, so that results do not depend on the number of cores.

    A small network gains nothing from more cores, and loses much time if they are busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield trials that have clicks, longest first, in batches of bounded padded size."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    last = len(order)
    while last:
        longest = int(lengths[order[last - 1]])
        first = max(0, last - max(1, _BATCH_CLICKS // longest))
        yield order[first:last]
        last = first


_BLOCK_CLICKS = 1 << 19
"""Number of clicks processed at once, unless one image has more."""

_LEAST_INTERVAL = 1e-3

_POSITION = ("x", "y", "order", "dx", "dy")
_INTERVALS = ("log_interval", "interval_known")
_CONTEXT = ("log_density", "density_known")


@dataclass(frozen=True)
class FeatureSettings:
    """Choice of click features.

    Attributes:
        context: True to add how many other participants clicked nearby.
        intervals: True to add the time since the previous click.
        max_clicks: number of clicks used per trial, from the first; None = all.
    """

    context: bool = True
    intervals: bool = False
    max_clicks: int | None = 200

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of `ClickFeatures.values`."""
        intervals = _INTERVALS if self.intervals else ()
        return (*_POSITION, *intervals, *(_CONTEXT if self.context else ()))


@dataclass(frozen=True)
class ClickFeatures:
    """Features of the clicks of many trials.

    Attributes:
        values: (clicks, features) float32.
        starts: (trials) int64 row at which each trial's clicks begin.
        lengths: (trials) int64 number of clicks of each trial; 0 if none lies in the image.
        cut: number of trials that had more than `max_clicks`.
    """

    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    cut: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def trial(self, number: int) -> NDArray[np.float32]:
        """Return the (clicks, features) of one trial."""
        start = self.starts[number]
        return self.values[start : start + self.lengths[number]]


def compute_features(
    trials: Trials,
    index: NDArray[Any],
    settings: FeatureSettings,
    among: Bools | None = None,
    times: NDArray[np.float64] | None = None,
) -> ClickFeatures:
    """Compute the features of some trials of a table of any size; see `click_features`.

    Args:
        trials: the table; context comes from all of it.
        index: (n) trials to compute features for, without repeats.
        settings: choice of features.
        among: (users) people whose clicks are context for others; None = everybody.
        times: (clicks) seconds at which each click of `trials` was made, or None.

    Returns:
        Features in the order of `index`.
    """
    place = np.full(len(trials), -1)
    place[index] = np.arange(len(index))
    found = [np.empty((0, len(settings.names)), dtype=np.float32)]
    starts, lengths = (np.zeros(len(index), dtype=np.int64) for _ in range(2))
    done, cut = 0, 0
    for block in split_by_image(trials, np.unique(trials.image[index])):
        table, at = select_trials(trials, block, times)
        wanted = place[block] >= 0
        part = click_features(table, settings, among, at, wanted)
        starts[place[block[wanted]]] = part.starts + done
        lengths[place[block[wanted]]] = part.lengths
        found.append(part.values)
        done, cut = done + len(part.values), cut + part.cut
    return ClickFeatures(np.concatenate(found), starts, lengths, cut)


def click_features(
    trials: Trials,
    settings: FeatureSettings,
    among: Bools | None = None,
    times: NDArray[np.float64] | None = None,
    wanted: Bools | None = None,
) -> ClickFeatures:
    """Compute the features of every click that lies in its image.

    `x` and `y` are the middle of the clicked pixel in units of the image's width and height, in
    0..1. `order` is k / n for click k (from 0) of n. `dx` and `dy` are the differences from the
    previous click, 0 at the first. `log_interval` is the natural logarithm of the seconds since the
    previous click, at least 1 ms, and 0 where `interval_known` is 0 (the first click, unknown or
    decreasing times). `log_density` is the logarithm of `density_of_others`, 0 where
    `density_known` is 0.

    Args:
        trials: the table; context comes from all of it.
        settings: choice of features.
        among: (users) people whose clicks are context for others; None = everybody.
        times: (clicks) seconds at which each click of `trials` was made, or None.
        wanted: (trials) mask of trials to compute features for; None = all.

    Returns:
        Features of the wanted trials in their order.
    """
    inside = trials.inside(slice(None), slice(None))
    table = trials if inside.all() else trials.where_clicks(lambda _, clicks: inside[clicks])
    trial = np.arange(len(table)) if wanted is None else np.flatnonzero(wanted)
    all_clicks = table.n_clicks[trial]
    most = all_clicks.max(initial=0) if settings.max_clicks is None else settings.max_clicks
    lengths = np.minimum(all_clicks, most)
    at = ranges(table.offsets[:-1][trial], lengths)
    starts = np.cumsum(lengths) - lengths
    first = np.zeros(len(at), dtype=np.bool_)
    first[starts[lengths > 0]] = True
    sides = np.repeat(table.shape[table.image[trial]], lengths, axis=0)
    values = np.empty((len(at), len(settings.names)), dtype=np.float32)
    columns = dict(zip(settings.names, values.T, strict=True))
    for name, places, side in (("x", table.x, sides[:, 1]), ("y", table.y, sides[:, 0])):
        columns[name][:] = (places[at] + 0.5) / side
        columns[f"d{name}"][:] = _steps(columns[name], first)
    order = ranges(np.zeros_like(lengths), lengths)
    columns["order"][:] = order / np.repeat(all_clicks, lengths)
    if settings.intervals:
        seconds = np.full(len(at), np.nan) if times is None else times[inside][at]
        _set_known(columns, _INTERVALS, _log_intervals(seconds, first))
    if settings.context:
        _set_known(columns, _CONTEXT, np.log(density_of_others(table, among)[at]))
    return ClickFeatures(values, starts, lengths, int(np.count_nonzero(all_clicks > most)))


def split_by_image(trials: Trials, images: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """Yield the trials of a table, grouped by image, in blocks of bounded size or of one image.

    Args:
        trials: the table.
        images: codes of the images to include; None = all.
    """
    order = np.argsort(trials.image, kind="stable")
    if images is not None:
        order = order[np.isin(trials.image[order], images)]
    if not len(order):
        return
    ends = np.append(np.flatnonzero(np.diff(trials.image[order])) + 1, len(order))
    clicks = np.cumsum(trials.n_clicks[order])[ends - 1]
    first, done = 0, 0
    while first < len(order):
        # the first image is always taken, the others while there is room
        begun = int(np.searchsorted(ends, first, side="right"))
        fits = int(np.searchsorted(clicks, done + _BLOCK_CLICKS, side="right")) - 1
        last = max(begun, fits)
        yield order[first : ends[last]]
        first, done = int(ends[last]), int(clicks[last])


def select_trials(
    trials: Trials, index: NDArray[Any], times: NDArray[np.float64] | None
) -> tuple[Trials, NDArray[np.float64] | None]:
    """Return some trials as a separate table, with the times of their clicks."""
    if times is None:
        return trials.select(index), None
    return trials.select(index), times[ranges(trials.offsets[:-1][index], trials.n_clicks[index])]


def _steps(values: NDArray[np.float32], first: Bools) -> NDArray[np.float32]:
    """Return each click's difference from the previous one, 0 at the first of a trial."""
    steps = np.diff(values, prepend=values[:1])
    steps[first] = 0
    return steps


def _log_intervals(seconds: NDArray[np.float64], first: Bools) -> NDArray[np.float64]:
    """Return logarithms of the times between clicks; NaN where they are unknown."""
    steps = np.diff(seconds, prepend=seconds[:1])
    steps[first | ~(steps >= 0) | ~np.isfinite(steps)] = np.nan
    return np.asarray(np.log(np.maximum(steps, _LEAST_INTERVAL)))


def _set_known(
    columns: dict[str, NDArray[np.float32]], names: tuple[str, str], found: NDArray[np.float64]
) -> None:
    """Fill a column and its flag; both are 0 where the value is NaN."""
    known = ~np.isnan(found)
    columns[names[0]][:] = np.where(known, found, 0)
    columns[names[1]][:] = known
