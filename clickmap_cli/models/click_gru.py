"""A bidirectional GRU that scores how careless the clicks of a trial look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.models.click_features import (
    ClickFeatures,
    FeatureSettings,
    blocks_of_images,
    click_features,
    part_of,
)
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


def padded(examples: list[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
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


def feature_logits(network: ClickGRU, features: ClickFeatures) -> NDArray[np.float64]:
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
                    "The participant-quality network gives values that are no numbers; train it "
                    "again."
                )
    return logits


def trial_logits(
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
        for index in blocks_of_images(trials):
            table, at = part_of(trials, index, times)
            features = click_features(table, settings, times=at)
            logits[index] = feature_logits(network, features)
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
