"""Score the held-out images of a fine-tuning, as a benchmark scores images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.datasets.people import OnlySome
from clickmap_cli.models.building import BuiltModel, build_model
from clickmap_cli.scoring.data import LoadedSet
from clickmap_cli.scoring.predictions import Predictor
from clickmap_cli.scoring.scorer import Scorer
from clickmap_cli.services.finetune.tables import (
    CENTER,
    FINETUNED,
    HELD_OUT,
    HOLDOUT,
    PRETRAINED,
    FoldScores,
)
from clickmap_cli.training.checkpoints import BEST
from clickmap_cli.training.folds import Division, Fold


def score_folds(
    config: SaliencyConfig,
    loaded: LoadedSet,
    division: Division,
    folds: Sequence[Fold],
    folder: Path,
    scorer: Scorer,
) -> list[FoldScores]:
    """Score each fold's model, the pretrained model and the centre bias on the same images.

    Args:
        config: the checked configuration.
        loaded: the data set.
        division: its division into folds.
        folds: the folds to score.
        folder: the output folder, which holds the folds' checkpoints.
        scorer: scores images, and records those that could not be scored.
    """
    scores: list[FoldScores] = []
    spec = config.model

    @lru_cache(maxsize=2)  # without people, every fold and split sees the same
    def seen_by(people: tuple[str, ...]) -> tuple[Sequence[Stimulus], OtherFixations]:
        """Return images with only the fixations of `people`, or of everyone if it is empty."""
        stimuli = loaded.stimuli
        seen = [OnlySome(stimulus, people) for stimulus in stimuli] if people else stimuli
        return seen, OtherFixations(seen, config.centerbias_bandwidth)

    for fold in folds:
        parts = [(HELD_OUT, frozenset(fold.test), tuple(fold.test_people))]
        if division.holdout and len(division.folds) > 1:
            parts.append((HOLDOUT, frozenset(division.holdout), ()))
        views = [(split, chosen, *seen_by(people)) for split, chosen, people in parts]
        for built in (
            finetuned(config, str(folder / fold.name / BEST)),
            build_model(PRETRAINED, spec.name, spec.settings, config.device),
            build_model(CENTER, CENTER, {}, config.device),
        ):
            for split, chosen, seen, others in views:
                built.model.see(seen)
                test = [stimulus for stimulus in seen if stimulus.image_id in chosen]
                rows = scorer.score_model(
                    loaded.label, test, Predictor(built, None, postprocess=True), others,
                    stage=f"{fold.name}, {built.label} on {split}",
                )  # fmt: skip
                scores.append(FoldScores(split, fold.name, built.label, tuple(rows)))
    return scores


def finetuned(config: SaliencyConfig, weights_path: str) -> BuiltModel:
    """Build the model with the weights of a checkpoint, as a benchmark builds it."""
    spec = config.model
    settings = {key: value for key, value in spec.settings.items() if key != "weights"}
    return build_model(
        FINETUNED, spec.name, {**settings, "weights_path": weights_path}, config.device
    )
