"""The participant-quality model in one file: network, settings, calibration, threshold."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.metrics.classification import Platt
from clickmap_cli.models.click_gru import ClickGRU, FeatureSettings, compute_trial_logits
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.atomic import write_bytes
from clickmap_cli.storage.safe_arrays import load_tensors

QUALITY_FILE = "participant_quality.pt"
THRESHOLD = 0.5

_FORMAT = "clickmap participant quality 1"
_MOST_HIDDEN, _MOST_LAYERS = 1024, 8
"""Limits of a network's size; a file that exceeds them is refused before it fills the memory."""


@dataclass(frozen=True)
class ParticipantRow:
    """The model's result for a participant.

    Attributes:
        user_id: the participant.
        n_trials: number of trials with a click in their image; other trials carry no information.
        probability: probability of being careless or cheating; NaN without such a trial.
        flagged: True if the probability reaches the threshold.
    """

    user_id: str
    n_trials: int
    probability: float
    flagged: bool


@dataclass(frozen=True)
class QualityModel:
    """A trained participant-quality model.

    A participant's score is the mean of the logits of their trials. Their probability is that score
    after Platt's calibration, which was fitted on scores of participants held out from the networks
    of a cross-validation. The mean is calibrated instead of the trials: each trial of a participant
    is weak evidence and the trials agree, so the mean of their probabilities would stay undecided
    where all of them together are clear. The probability is valid for the share of bad participants
    and the numbers of trials in the lists the model was trained on.

    Attributes:
        network: the network in evaluation mode, on the CPU.
        features: the click features it takes.
        hidden: units of the network.
        layers: layers of its GRU.
        calibration: calibration from a participant's score to the probability of being bad.
        threshold: participants whose probability reaches it are flagged.
        about: plain values that describe the training.
    """

    network: ClickGRU
    features: FeatureSettings
    hidden: int
    layers: int
    calibration: Platt
    threshold: float = THRESHOLD
    about: Mapping[str, Any] = field(default_factory=dict)

    def participants(self, trials: Trials, progress: Progress) -> tuple[ParticipantRow, ...]:
        """Judge everybody who has a trial in the table, sorted by name.

        All people in the table are context for each other.
        """
        probabilities, counts = self._judge(trials, progress)
        present = np.unique(trials.user)
        by_name = present[np.argsort(trials.users[present])].tolist()
        return tuple(
            ParticipantRow(
                str(trials.users[code]),
                int(counts[code]),
                float(probabilities[code]),
                bool(probabilities[code] >= self.threshold),
            )
            for code in by_name
        )

    def flags(self, trials: Trials, progress: Progress) -> Bools:
        """Return (users) True for flagged people, in the order of the table's vocabulary."""
        probabilities, _ = self._judge(trials, progress)
        return probabilities >= self.threshold

    def _judge(
        self, trials: Trials, progress: Progress
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (users) probabilities, NaN if unknown, and the number of trials behind each."""
        logits = compute_trial_logits(self.network, trials, self.features, progress)
        scores, counts = participant_scores(trials, logits)
        return self.calibration.probabilities(scores), counts


def participant_scores(
    trials: Trials, logits: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the mean logit of each participant's trials.

    Args:
        trials: the table.
        logits: (trials), NaN where a trial carries no information.

    Returns:
        (users) means, NaN for people without an informative trial, and (users) numbers of
        informative trials.
    """
    known = ~np.isnan(logits)
    n = len(trials.users)
    counts = np.bincount(trials.user[known], minlength=n)
    sums = np.bincount(trials.user[known], logits[known], minlength=n)
    means = np.full(n, math.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means, counts


def save_quality(path: Path, model: QualityModel) -> None:
    """Write a model as tensors and plain values; equal models give equal bytes.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    state = {
        "format": _FORMAT,
        "columns": list(model.features.names),
        "features": asdict(model.features),
        "network": {"hidden": model.hidden, "layers": model.layers},
        "calibration": asdict(model.calibration),
        "threshold": model.threshold,
        "about": dict(model.about),
        "state_dict": {k: v.detach().cpu() for k, v in model.network.state_dict().items()},
    }
    # torch stores a file's name in it, and the temporary name differs between runs
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_quality(path: Path) -> QualityModel:
    """Read a model; no code in the file is run.

    Raises:
        DataError: the file is missing, damaged, or not a participant-quality model.
    """
    state = load_tensors(path)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise _refuse(path, "it is not a participant-quality model")
    try:
        features = FeatureSettings(**_copy_mapping(state["features"]))
        calibration = Platt(**_copy_mapping(state["calibration"]))
        threshold = float(state["threshold"])
        sizes = _copy_mapping(state["network"])
        hidden, layers = int(sizes["hidden"]), int(sizes["layers"])
        columns, about = list(state["columns"]), _copy_mapping(state["about"])
        weights = _copy_tensors(state["state_dict"])
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise _refuse(path, "its settings are damaged") from error
    _require_settings(path, features, calibration, threshold)
    if columns != list(features.names):
        raise _refuse(path, "it was trained on other features of clicks than this version has")
    if not (1 <= hidden <= _MOST_HIDDEN and 1 <= layers <= _MOST_LAYERS):
        raise _refuse(path, f"its network has {hidden} units in {layers} layers")
    with torch.device("meta"):  # shapes only: the sizes in a file could fill the memory
        wanted = ClickGRU(len(columns), hidden, layers).state_dict()
    if not _fits(weights, wanted):
        raise _refuse(path, "its weights do not fit its network")
    network = ClickGRU(len(columns), hidden, layers)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise _refuse(path, "its weights do not fit its network") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise _refuse(path, "a weight is NaN or infinite")
    network.eval()
    return QualityModel(network, features, hidden, layers, calibration, threshold, about)


def _require_settings(
    path: Path, features: FeatureSettings, calibration: Platt, threshold: float
) -> None:
    most = features.max_clicks
    right = (
        isinstance(features.context, bool)
        and isinstance(features.intervals, bool)
        and (most is None or (isinstance(most, int) and most >= 1))
        and all(
            isinstance(value, float) and math.isfinite(value)
            for value in (calibration.slope, calibration.offset)
        )
        and 0 <= threshold <= 1
    )
    if not right:
        raise _refuse(path, "its settings are damaged")


def _copy_mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("not a mapping")
    return dict(value)


def _copy_tensors(value: Any) -> dict[str, torch.Tensor]:
    found = _copy_mapping(value)
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError("not tensors by name")
        if tensor.is_complex() or tensor.layout is not torch.strided:
            raise TypeError("complex or sparse weights")
    return found


def _fits(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    """Return True if the names and shapes match a network and every value is in the file."""
    return weights.keys() == wanted.keys() and all(
        weights[name].shape == tensor.shape
        and weights[name].untyped_storage().nbytes() >= weights[name].nbytes
        for name, tensor in wanted.items()
    )


def _refuse(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: {why}; name a {QUALITY_FILE} that `clickmap train-classifier` wrote."
    )
