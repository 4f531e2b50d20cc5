"""Train the participant-quality model on known participants, and test it on held-out ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.participants import BAD, UNLISTED, label_users, read_users
from clickmap_cli.clickmaps.survivors import input_files, read_trials_to_judge
from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import load_experiment, numbers_hash
from clickmap_cli.config.participant_quality import ParticipantQualityConfig
from clickmap_cli.config.saliency import Stage
from clickmap_cli.metrics.classification import fit_platt
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.models.click_gru import (
    ClickGRU,
    FeatureSettings,
    compute_trial_logits,
    one_thread,
)
from clickmap_cli.models.participant_quality import (
    QUALITY_FILE,
    QualityModel,
    participant_scores,
    save_quality,
)
from clickmap_cli.models.weights import seeded
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, make_trackers
from clickmap_cli.storage.atomic import write_csv, write_json
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.training.checkpoints import BEST, FINAL, FOLD_FILES, LAST
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.folds import NO_FOLD, quality_folds
from clickmap_cli.training.tasks.participant_quality import (
    HeldOutQuality,
    QualityTask,
    score_held_out,
)

SUMMARY = "summary.json"


@dataclass(frozen=True)
class QualitySummary:
    """The content of `summary.json`: sizes of the study, and scores on held-out participants.

    Attributes:
        n_unlisted: participants with trials who are in neither list.
        n_judged: held-out participants with a score.
        auc: area under the ROC curve of the held-out probabilities; `auc_ci` is its 95% interval.
        accuracy: share of held-out participants on the correct side of the threshold.
        brier: mean squared difference between probability and label.
        calibration_error: mean difference between predicted and observed frequencies.
        threshold: lowest probability at which a participant is flagged.
    """

    experiment: str
    n_good: int
    n_bad: int
    n_unlisted: int
    n_judged: int
    n_trials: int
    folds: int
    auc: float
    auc_ci: tuple[float, float]
    resamples: int
    accuracy: float
    brier: float
    calibration_error: float
    threshold: float


def run(
    config: ParticipantQualityConfig,
    progress: Progress,
    views: TrainingViews,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[QualitySummary | None]:
    """Train a network per fold, judge the held-out participants, calibrate, and train on all.

    Args:
        config: the checked configuration.
        progress: receives the current stage and notices.
        views: show the training.
        when: what to do with existing outputs.
        dry_run: read the trials and the lists; train and write nothing, and return no summary.

    Raises:
        ConfigError: the lists contradict each other or the data, or there are too few people.
        DataError: the trials or the lists cannot be read.
        RunError: the loss became NaN or infinite, or the folder is busy.
    """
    return run_job(QualityJob(config, views), when, dry_run=dry_run, progress=progress)


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
    checks = Checks(progress)
    with checks.part("data.good_users"):
        good = read_users(config.data.good_users, "data.good_users")
    with checks.part("data.bad_users"):
        bad = read_users(config.data.bad_users, "data.bad_users")
    with checks.part("data.experiment"):
        experiment = load_experiment(Path(str(config.data.experiment))).config
        files = input_files(experiment, progress)
        trials = read_trials_to_judge(experiment, progress)
    checks.require_all()
    labels, idle = label_users(trials, good, bad)
    if idle:
        progress.notice(
            f"{len(idle)} listed participants have no trial left after the filters: "
            f"{', '.join(idle[:5])}."
        )
    folds = quality_folds(trials.users, labels, config.folds, config.seed)
    return KnownPeople(experiment, files, (good, bad), trials, labels, folds)


class QualityJob(Job[KnownPeople, QualitySummary | None]):
    """Training of a participant-quality model."""

    command = "train-classifier"
    owns = (QUALITY_FILE, "participants.csv", "calibration.csv", SUMMARY, *FOLD_FILES)

    def __init__(self, config: ParticipantQualityConfig, views: TrainingViews) -> None:
        self.config: ParticipantQualityConfig = config
        self.folder = Path(config.output_dir)
        self.views = views
        self.features = FeatureSettings(
            context=config.model.context, max_clicks=config.model.max_clicks
        )

    def load(self, progress: Progress, *, dry_run: bool) -> KnownPeople:
        """Read the trials and the lists."""
        return load_people(self.config, progress)

    def identity(self, inputs: KnownPeople) -> Identity:
        """Return what the scores depend on."""
        files = describe_files(None, inputs.files)
        words = [*(str(file["sha256"]) for file in files.values()), json.dumps(inputs.listed)]
        reading = numbers_hash(inputs.experiment, ["maps"])
        return Identity(numbers_hash(self.config, ["scores"], reading, *words), files)

    def preview(self, inputs: KnownPeople) -> None:
        """Return nothing, because nothing is trained."""

    def stored(self, inputs: KnownPeople, manifest: Manifest) -> QualitySummary:
        """Return the summary of a finished run."""
        return QualitySummary(**json.loads((self.folder / SUMMARY).read_text(encoding="utf-8")))

    def work(self, inputs: KnownPeople, run: Run) -> QualitySummary:
        """Train the networks, and write scores and tables."""
        config, folds, trials = self.config, inputs.folds, inputs.trials
        with one_thread():
            held_out = np.full(len(trials.users), math.nan)
            for fold in range(config.folds):
                chosen = (folds != fold) & (folds != NO_FOLD)
                scores, _ = self._train(inputs, chosen, f"fold_{fold + 1}", run)
                held_out[folds == fold] = scores[folds == fold]
            found = score_held_out(held_out, inputs.labels, folds, config.threshold, config.seed)
            scores, network = self._train(inputs, folds != NO_FOLD, "final", run)
        model = QualityModel(
            network.cpu().eval(), self.features, config.model.hidden, config.model.layers,
            fit_platt(held_out[found.user], found.bad), config.threshold,
            {"experiment": config.experiment, "auc": found.auc, "n_participants": len(found.user)},
        )  # fmt: skip
        save_quality(run.path / QUALITY_FILE, model)
        _write_participants(run.path / "participants.csv", inputs, found, model, scores)
        _write_calibration(run.path / "calibration.csv", found)
        summary = self._summarise(inputs, found)
        write_json(run.path / SUMMARY, asdict(summary))
        names = (QUALITY_FILE, "participants.csv", "calibration.csv", SUMMARY)
        run.add(run.path / name for name in names)
        for name in ("n_good", "n_bad", "n_trials", "resamples"):
            run.counts[name] = getattr(summary, name)
        return summary

    def _train(
        self, inputs: KnownPeople, chosen: Bools, name: str, run: Run
    ) -> tuple[NDArray[np.float64], ClickGRU]:
        """Train a network on the chosen users; return (users) mean logits and the network."""
        config, how, trials = self.config, self.config.training, inputs.trials
        seed = int.from_bytes(hashlib.sha256(f"{config.seed} {name}".encode()).digest()[:4], "big")
        with seeded(seed):
            network = ClickGRU(
                len(self.features.names), config.model.hidden, config.model.layers,
                config.model.dropout,
            )  # fmt: skip
        task = QualityTask(network, trials, inputs.labels, chosen, self.features, config.seed)
        stage = Stage(
            name="train",
            epochs=how.num_epochs,
            lr=how.lr,
            weight_decay=how.weight_decay,
            schedule="cosine",
        )
        settings = FitSettings(
            (stage,), how.batch_size, clip_norm=how.clip_norm, seed=seed % (1 << 31)
        )
        folder, title = run.path / name, name.replace("_", " ")
        if not run.resumed:
            (folder / LAST).unlink(missing_ok=True)
        watch = Shown(title, self.views, run.progress)
        job = FitJob(task, settings, folder, f"{run.identity} {name}", make_trackers(folder), watch)
        fit(job, run.resumed)
        run.add(folder / file for file in (BEST, FINAL, LAST, HISTORY))
        run.progress.stage(f"Judging participants, {title}", 0)
        with torch.inference_mode():
            logits = compute_trial_logits(network, trials, self.features, run.progress)
        return participant_scores(trials, logits)[0], network

    def _summarise(self, inputs: KnownPeople, found: HeldOutQuality) -> QualitySummary:
        n_good, n_bad = (int(np.sum(inputs.labels == kind)) for kind in (0, 1))
        return QualitySummary(
            experiment=self.config.experiment,
            n_good=n_good,
            n_bad=n_bad,
            n_unlisted=len(np.unique(inputs.trials.user)) - n_good - n_bad,
            n_judged=len(found.user),
            n_trials=len(inputs.trials),
            folds=self.config.folds,
            auc=found.auc,
            auc_ci=found.auc_ci,
            resamples=RESAMPLES,
            accuracy=found.accuracy,
            brier=found.brier,
            calibration_error=found.reliability.error,
            threshold=self.config.threshold,
        )


def _write_participants(
    path: Path,
    people: KnownPeople,
    found: HeldOutQuality,
    model: QualityModel,
    scores: NDArray[np.float64],
) -> None:
    """Write a row per participant: known label, held-out probability, final probability."""
    trials, labels, folds = people.trials, people.labels, people.folds
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


def _write_calibration(path: Path, found: HeldOutQuality) -> None:
    bins = found.reliability
    rows = zip(
        bins.edges[:-1], bins.edges[1:], bins.counts, bins.predicted, bins.observed, strict=True
    )
    write_csv(
        path, ("from", "to", "n", "mean_probability", "share_bad"),
        ((float(a), float(b), int(n), float(p), float(q)) for a, b, n, p, q in rows),
    )  # fmt: skip
