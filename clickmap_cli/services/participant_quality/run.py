"""Trains the participant-quality model on known participants, and tests it on held-out ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.participants import BAD, UNLISTED, label_users, read_users
from clickmap_cli.clickmaps.survivors import input_files, trials_of_known_people
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict, load_experiment, numbers_hash
from clickmap_cli.config.participant_quality import ParticipantQualityConfig
from clickmap_cli.config.saliency import Stage
from clickmap_cli.metrics.classification import fit_platt
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.models.click_gru import ClickGRU, FeatureSettings, one_thread, trial_logits
from clickmap_cli.models.participant_quality import (
    QUALITY_FILE,
    QualityModel,
    participant_scores,
    save_quality,
)
from clickmap_cli.models.weights import seeded
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, trackers
from clickmap_cli.storage.atomic import write_csv, write_json
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.training.checkpoints import BEST, FINAL, FOLD_FILES, LAST
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.folds import NO_FOLD, quality_folds
from clickmap_cli.training.quality_scores import HeldOutQuality, held_out_quality
from clickmap_cli.training.tasks.participant_quality import QualityTask

SUMMARY = "summary.json"
_COUNTS = ("n_good", "n_bad", "n_trials", "resamples")
"""Keys of the summary that the manifest records as counts."""

_OWN = (QUALITY_FILE, "participants.csv", "calibration.csv", SUMMARY, *FOLD_FILES)
_ALL = "final"


@dataclass(frozen=True)
class QualityRun:
    """Results of a run.

    Attributes:
        folder: folder of all outputs.
        summary: content of `summary.json`; empty for a dry run.
        seconds: duration in seconds.
        written: False for a dry run, which writes nothing.
    """

    folder: Path
    summary: Mapping[str, Any]
    seconds: float
    written: bool = True


def run(
    config: ParticipantQualityConfig,
    progress: Progress,
    views: TrainingViews,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> QualityRun:
    """Train a network per fold, judge the held-out participants, calibrate, and train on all.

    Args:
        config: the checked configuration.
        progress: receives the current stage and notices.
        views: show the training.
        when: what to do with existing outputs.
        dry_run: read the trials and the lists; train and write nothing.

    Raises:
        ConfigError: the lists contradict each other or the data, or there are too few people.
        DataError: the trials or the lists cannot be read.
        RunError: the loss became NaN or infinite, or the folder is busy.
    """
    return _Run(config, progress, views).go(when, dry_run)


@dataclass(frozen=True, eq=False)
class KnownPeople:
    """The participants to learn from, and their folds.

    Attributes:
        experiment: the experiment that the trials come from.
        files: input files of the experiment.
        listed: listed ids of careful participants, and of careless or cheating ones.
        trials: trials of all participants.
        labels: (users) known quality of each participant.
        folds: (users) fold that holds each participant out.
    """

    experiment: ExperimentConfig
    files: Sequence[Path]
    listed: tuple[list[str], list[str]]
    trials: Trials
    labels: NDArray[np.int8]
    folds: NDArray[np.int64]


def load_people(config: ParticipantQualityConfig, progress: Progress) -> KnownPeople:
    """Read lists and trials and divide the participants, before anything is trained.

    Raises:
        ConfigError: the lists contradict each other or the data, or there are too few people.
        DataError: the trials or the lists cannot be read.
    """
    good = read_users(config.data.good_users, "data.good_users")
    bad = read_users(config.data.bad_users, "data.bad_users")
    experiment = load_experiment(Path(str(config.data.experiment))).config
    files = input_files(experiment)
    trials = trials_of_known_people(experiment, progress)
    labels, idle = label_users(trials, good, bad)
    if idle:
        progress.notice(
            f"{len(idle)} listed participants have no trial left after the filters: "
            f"{', '.join(idle[:5])}."
        )
    folds = quality_folds(trials.users, labels, config.folds, config.seed)
    return KnownPeople(experiment, files, (good, bad), trials, labels, folds)


class _Run:
    def __init__(
        self, config: ParticipantQualityConfig, progress: Progress, views: TrainingViews
    ) -> None:
        self.config = config
        self.progress = progress
        self.views = views
        self.started = Stopwatch()
        self.folder = RunFolder(Path(config.output_dir), "train-classifier", _OWN)
        network = config.model
        self.features = FeatureSettings(context=network.context, max_clicks=network.max_clicks)

    def go(self, when: WhenPresent, dry_run: bool) -> QualityRun:
        config, path = self.config, self.folder.path
        if not dry_run:
            when = self.folder.require_startable(when)
        data = load_people(config, self.progress)
        if dry_run:
            return self._result({}, written=False)
        inputs = describe_files(None, data.files)
        words = [*(str(v["sha256"]) for v in inputs.values()), json.dumps(data.listed)]
        reading = numbers_hash(data.experiment, ["maps"])
        identity = numbers_hash(config, ["scores"], reading, *words)
        with self.folder.held():
            if self.folder.reuse_or_begin(identity, when) is not None:
                self.progress.notice(already_done(path), keep=False)
                return self._result(json.loads((path / SUMMARY).read_text(encoding="utf-8")))
            resume = when is WhenPresent.RESUME
            with one_thread():
                summary, outputs = self._train(
                    data.trials, data.labels, data.folds, identity, resume
                )
            self._finish(summary, outputs, inputs, identity)
        return self._result(summary)

    def _train(
        self,
        trials: Trials,
        labels: NDArray[np.int8],
        folds: NDArray[np.int64],
        identity: str,
        resume: bool,
    ) -> tuple[dict[str, Any], list[Path]]:
        """Train the networks, write scores and tables, and return the summary and the files."""
        config, path = self.config, self.folder.path
        held_out = np.full(len(trials.users), math.nan)
        files: list[Path] = []
        for fold in range(config.folds):
            name = f"fold_{fold + 1}"
            chosen = (folds != fold) & (folds != NO_FOLD)
            scores, _ = self._scores(trials, labels, chosen, name, identity, resume)
            held_out[folds == fold] = scores[folds == fold]
            files += _files_of(path / name)
        found = held_out_quality(held_out, labels, folds, config.threshold, config.seed)
        calibration = fit_platt(held_out[found.user], found.bad)
        scores, network = self._scores(trials, labels, folds != NO_FOLD, _ALL, identity, resume)
        files += _files_of(path / _ALL)
        model = QualityModel(
            network.cpu().eval(), self.features, config.model.hidden, config.model.layers,
            calibration, config.threshold,
            {"experiment": config.experiment, "auc": found.auc, "n_participants": len(found.user)},
        )  # fmt: skip
        save_quality(path / QUALITY_FILE, model)
        summary = self._summary(trials, labels, found)
        files += [
            path / QUALITY_FILE,
            self._write_participants(trials, labels, folds, found, model, scores),
            self._write_calibration(found),
        ]
        write_json(path / SUMMARY, summary)
        return summary, [*files, path / SUMMARY]

    def _scores(
        self,
        trials: Trials,
        labels: NDArray[np.int8],
        chosen: NDArray[np.bool_],
        name: str,
        identity: str,
        resume: bool,
    ) -> tuple[NDArray[np.float64], ClickGRU]:
        """Train a network on the chosen users; return (users) mean logits and the network."""
        config, how = self.config, self.config.training
        place = int.from_bytes(hashlib.sha256(f"{config.seed} {name}".encode()).digest()[:4], "big")
        with seeded(place):
            network = ClickGRU(
                len(self.features.names), config.model.hidden, config.model.layers,
                config.model.dropout,
            )  # fmt: skip
        task = QualityTask(network, trials, labels, chosen, None, self.features, config.seed)
        stage = Stage(
            name="train",
            epochs=how.num_epochs,
            lr=how.lr,
            weight_decay=how.weight_decay,
            schedule="cosine",
        )
        settings = FitSettings(
            (stage,), how.batch_size, clip_norm=how.clip_norm, seed=place % (1 << 31),
        )  # fmt: skip
        folder = self.folder.path / name
        if not resume:
            (folder / LAST).unlink(missing_ok=True)
        watch = Shown(name.replace("_", " "), self.views, self.progress)
        job = FitJob(
            task, settings, folder, f"{identity} {name}", trackers(folder, False, None), watch
        )
        fit(job, resume)
        self.progress.stage(f"Judging participants, {name.replace('_', ' ')}", 0)
        with torch.inference_mode():
            logits = trial_logits(network, trials, self.features, self.progress)
        return participant_scores(trials, logits)[0], network

    def _summary(
        self, trials: Trials, labels: NDArray[np.int8], found: HeldOutQuality
    ) -> dict[str, Any]:
        kinds = [int(np.sum(labels == kind)) for kind in (0, 1)]
        return {
            "experiment": self.config.experiment,
            "n_good": kinds[0],
            "n_bad": kinds[1],
            "n_unlisted": len(np.unique(trials.user)) - sum(kinds),
            "n_judged": len(found.user),
            "n_trials": len(trials),
            "folds": self.config.folds,
            "auc": found.auc,
            "auc_ci": list(found.auc_ci),
            "resamples": RESAMPLES,
            "accuracy": found.accuracy,
            "brier": found.brier,
            "calibration_error": found.reliability.error,
            "threshold": self.config.threshold,
        }

    def _write_participants(
        self,
        trials: Trials,
        labels: NDArray[np.int8],
        folds: NDArray[np.int64],
        found: HeldOutQuality,
        model: QualityModel,
        scores: NDArray[np.float64],
    ) -> Path:
        """Write a row per participant: known label, held-out probability, final probability."""
        path = self.folder.path / "participants.csv"
        held = dict(zip(found.user.tolist(), found.probability.tolist(), strict=True))
        final = model.calibration.probabilities(scores)
        n = np.bincount(trials.user, minlength=len(trials.users))
        rows = []
        for code in np.unique(trials.user).tolist():
            known = {UNLISTED: "", BAD: "bad"}.get(int(labels[code]), "good")
            fold = "" if folds[code] == NO_FOLD else int(folds[code]) + 1
            cells = [held.get(code, math.nan), float(final[code])]
            flagged = bool(final[code] >= model.threshold)
            rows.append((str(trials.users[code]), int(n[code]), known, fold, *cells, flagged))
        header = ("user_id", "n_trials", "known", "fold", "held_out_probability", "probability",
                  "flagged")  # fmt: skip
        write_csv(path, header, sorted(rows))
        return path

    def _write_calibration(self, found: HeldOutQuality) -> Path:
        path = self.folder.path / "calibration.csv"
        bins = found.reliability
        rows = zip(
            bins.edges[:-1], bins.edges[1:], bins.counts, bins.predicted, bins.observed, strict=True
        )
        write_csv(
            path, ("from", "to", "n", "mean_probability", "share_bad"),
            ((float(a), float(b), int(n), float(p), float(q)) for a, b, n, p, q in rows),
        )  # fmt: skip
        return path

    def _finish(
        self,
        summary: Mapping[str, Any],
        files: list[Path],
        inputs: Mapping[str, Any],
        identity: str,
    ) -> None:
        described = describe_files(self.folder.path, files)
        self.folder.finish(
            Manifest.made(
                command="train-classifier", config=as_dict(self.config), config_hash=identity,
                inputs=inputs, outputs=described,
                counts={name: summary[name] for name in _COUNTS},
                started=self.started,
                seed=self.config.seed, notices=self.progress.kept,
            )
        )  # fmt: skip

    def _result(self, summary: Mapping[str, Any], written: bool = True) -> QualityRun:
        seconds = self.started.seconds
        return QualityRun(self.folder.path, summary, seconds, written)


def _files_of(folder: Path) -> list[Path]:
    return [folder / name for name in (BEST, FINAL, LAST, HISTORY)]
