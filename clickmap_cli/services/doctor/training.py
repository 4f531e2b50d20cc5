"""Find what in a training's config will not work, with the checks that a training starts with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.participant_quality import ParticipantQualityConfig
from clickmap_cli.config.saliency import SaliencyConfig, fold_numbers
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.runtime.errors import ClickmapError
from clickmap_cli.runtime.progress import Progress, Silent
from clickmap_cli.services.doctor.facts import Finding


def training_findings(config: Any, progress: Progress) -> Iterator[Finding]:
    """Yield the errors and notices with which a training would start.

    This covers trainings of key points, of maps and of participants. Networks are built without
    weights, so the contents of weight files are not checked.

    Args:
        config: a config of any kind; other kinds yield nothing.
        progress: receives the current stage.
    """
    checks: dict[type, Callable[[Any, Progress], None]] = {
        ClassifierConfig: _check_maps,
        ParticipantQualityConfig: _check_people,
    }
    if isinstance(config, KeypointConfig):
        yield from _key_points(config, progress)
    elif type(config) in checks:
        if isinstance(config, ClassifierConfig):
            yield from _classifier_weights(config)
        progress.stage("Reading what is learnt from")
        yield from _said(checks[type(config)], config)


def fine_tuning_findings(config: SaliencyConfig, stimuli: Sequence[Stimulus]) -> Iterator[Finding]:
    """Yield findings about impossible folds, and about blocks that the network does not have.

    Args:
        config: the fine-tuning.
        stimuli: images of its data set.
    """
    from clickmap_cli.models.building import try_network
    from clickmap_cli.services.finetune.run import fold_settings, require_blocks
    from clickmap_cli.training.folds import divide

    def folds(config: SaliencyConfig, _: Progress) -> None:
        division = divide(stimuli[: config.limit_images], fold_settings(config))
        fold_numbers(config.cv.only_folds, len(division.folds))

    def blocks(config: SaliencyConfig, _: Progress) -> None:
        spec = config.model
        network = try_network(spec.label, spec.name, spec.settings, config.device)
        if network is not None:
            require_blocks(network, config)

    yield from _said(folds, config)
    yield from _said(blocks, config)


def _key_points(config: KeypointConfig, progress: Progress) -> Iterator[Finding]:
    from clickmap_cli.models.building import TIMM, describe_release
    from clickmap_cli.models.keypoint_net import NAMES, check_keypoint_net
    from clickmap_cli.services.keypoints.data import load_keypoints

    progress.stage("Reading labels")
    n_points = config.n_KPs or 1
    try:
        n_points = len(load_keypoints(config).names)
    except ClickmapError as error:
        yield Finding("problem", str(error))
    if str(config.pretrained_dir).lower() == TIMM:
        note = describe_release(
            "pretrained_dir", TIMM, NAMES.get(config.model_type, config.model_type)
        )
        if note is not None:
            yield Finding("note", note)
    progress.stage(f"Looking at {config.model_type}")
    try:
        check_keypoint_net(config.model_type, config.img_size, n_points)
    except ClickmapError as error:
        yield Finding("problem", str(error))


def _classifier_weights(config: ClassifierConfig) -> Iterator[Finding]:
    from clickmap_cli.models.building import describe_release

    note = None
    if config.model.weights_path is None:
        note = describe_release("model", config.model.weights, config.model.name)
    if note is not None:
        yield Finding("note", note)


def _check_maps(config: ClassifierConfig, told: Progress) -> None:
    from clickmap_cli.services.classifier.data import load_study

    load_study(
        replace(config, model=replace(config.model, weights="none", weights_path=None)), told
    )


def _check_people(config: ParticipantQualityConfig, told: Progress) -> None:
    from clickmap_cli.services.participant_quality.run import load_people

    load_people(config, told)


def _said(check: Callable[[Any, Progress], None], config: Any) -> Iterator[Finding]:
    """Yield a problem for each line of a check's error, and a note for each of its notices."""
    told = Silent()
    problems: list[str] = []
    try:
        check(config, told)
    except ClickmapError as error:
        problems = str(error).splitlines()
    yield from (Finding("problem", text) for text in problems)
    yield from (Finding("note", text) for text in told.notices)
