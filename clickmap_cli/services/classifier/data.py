"""Reads, checks and divides the attention maps of a study before training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.config.classifier import ClassifierConfig, classes_in_order
from clickmap_cli.config.saliency import fold_numbers
from clickmap_cli.datasets.classifier_images import (
    LabelledImage,
    LabelledImages,
    image_folder,
    labelled_clickmaps,
    one_class_notices,
    training_faults,
)
from clickmap_cli.datasets.gathering import as_folder
from clickmap_cli.metrics.classification import shuffle_within
from clickmap_cli.models.classifier import build_classifier
from clickmap_cli.models.weights import RANDOM
from clickmap_cli.runtime.errors import ClickmapError, ConfigError, DataError
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.training.folds import OuterFold, nested_folds

_LISTED = 10


@dataclass(frozen=True)
class ClassifierStudy:
    """The maps of a study and their folds.

    Attributes:
        images: maps with the labels to learn, which `shuffle_labels` shuffles.
        size: height and width of the maps.
        folds: test folds to run, each with its inner folds.
        n_folds: number of test folds, including those that are not run.
        mixed: True if a participant has maps of two classes, so that labels can be shuffled.
    """

    images: LabelledImages
    size: Size
    folds: tuple[OuterFold, ...]
    n_folds: int
    mixed: bool

    def select(self, participants: Sequence[str]) -> list[LabelledImage]:
        """Return the maps of some participants, in the order of `images`."""
        wanted = set(participants)
        return [item for item in self.images.items if item.participant in wanted]

    @cached_property
    def digest(self) -> str:
        """A hash of every file, and of the participant of every map."""
        words = [json.dumps([self.images.classes, self.size, self.images.channels])]
        words += [f"{item.image_id} {item.participant}" for item in self.images.items]
        words += [_hash_of(path) for path in self.images.files]
        return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def load_study(
    config: ClassifierConfig, progress: Progress, *, download: bool = True
) -> ClassifierStudy:
    """Read every map once, and report everything that prevents the study in one error.

    Args:
        config: the configuration.
        progress: receives the current stage and notices.
        download: whether the network may be tried with timm's weights; False = with random ones.

    Raises:
        ConfigError: the configuration names something that does not exist, or the network cannot
            take such maps.
        DataError: the maps, their sizes, classes or participants do not allow such a study.
    """
    progress.stage("Reading maps")
    images = _read(config, progress)
    unread = [f"{problem.image_id}: {problem.reason}" for problem in images.problems]
    first = f"The first: {unread[0]}" if unread else ""
    loss = Loss(len(unread), len(unread) + len(images.items), "maps cannot be read", first)
    check_losses([loss], config.max_lost, progress)
    for text in (*images.notices, *_shorten(unread)):
        progress.notice(text)
    cv = config.cv
    mixed = any(len(labels) > 1 for labels in images.participants.values())
    faults = training_faults(images, cv.outer_kfolds, cv.inner_kfolds)
    if config.shuffle_labels and not mixed:
        faults.append(
            "shuffle_labels: nobody has maps of two classes, so that nothing can be shuffled "
            "within participants; set it to false."
        )
    folds: tuple[OuterFold, ...] = ()
    try:
        if not faults:
            folds = nested_folds(images.participants, cv.outer_kfolds, cv.inner_kfolds, config.seed)
    except DataError as error:
        faults.append(str(error))
    try:
        if len(images.sizes) == 1:
            _try_network(config, images, folds, download)
    except ClickmapError as error:
        if not faults:
            raise
        faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    for text in _shorten(one_class_notices(images)):
        progress.notice(text)
    if config.shuffle_labels:
        images = _shuffled(images, config.seed)
    chosen = fold_numbers(cv.only_folds, len(folds))
    (size,) = images.sizes
    return ClassifierStudy(
        images, size, tuple(folds[number - 1] for number in chosen), len(folds), mixed
    )


def new_network(
    config: ClassifierConfig, images: LabelledImages, size: Size, seed: int, pretrained: bool = True
) -> nn.Module:
    """Return the network of a configuration with its initial weights, on the CPU.

    Args:
        config: configuration that names the network.
        images: the maps, which set its channels and classes.
        size: height and width of the maps.
        seed: seed of random weights.
        pretrained: load the weights that the configuration names; False = random weights.

    Raises:
        ConfigError: the network does not exist, or cannot take such maps.
        DataError: its weights cannot be loaded, or do not fit.
    """
    settings = config.model
    weights, path = settings.weights, settings.weights_path
    if not pretrained:
        weights, path = RANDOM, None
    return build_classifier(
        size,
        images.channels,
        len(images.classes),
        network=settings.name,
        in_size=settings.in_size,
        dropout=settings.dropout,
        weights=weights,
        weights_path=path,
        seed=seed,
    )


def _hash_of(path: Path) -> str:
    """Return the hash of a file's content, or an empty text for an unreadable file."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _read(config: ClassifierConfig, progress: Progress) -> LabelledImages:
    settings, checks = config.data, Checks(progress)
    with checks.part():
        root = as_folder(settings.root, "data.root")
    with checks.part():
        if settings.labels is not None and not Path(settings.labels).expanduser().is_file():
            raise DataError(
                f"data.labels: no file at {settings.labels} (looked from {Path.cwd()})."
            )
    checks.require_all()
    size = None if settings.size is None else (settings.size[0], settings.size[1])
    if settings.labels is not None:
        images = labelled_clickmaps(root, settings.labels, settings.classes, size, config.n_jobs)
    elif (root / TRIALS_FILE).is_file():
        raise ConfigError(
            f"data.root: {root} is a folder of `prepare`; name the table of its labels: "
            "data.labels=labels.csv."
        )
    else:
        images = image_folder(root, settings.classes, settings.colour, size, config.n_jobs)
    return replace(images, classes=classes_in_order(images.classes, settings.positive))


def _shorten(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _LISTED
    return [*texts[:_LISTED], *([f"... and {more} more of this kind."] if more > 0 else [])]


def _shuffled(images: LabelledImages, seed: int) -> LabelledImages:
    """Return the maps with their labels shuffled within each participant."""
    whose = [item.participant for item in images.items]
    codes = shuffle_within(images.codes(images.items), whose, generator(seed, "shuffled labels"))
    labels = [images.classes[code] for code in codes]
    items = [
        replace(item, label=label) for item, label in zip(images.items, labels, strict=True)
    ]  # fmt: skip
    return replace(images, items=tuple(items))


def _try_network(
    config: ClassifierConfig, images: LabelledImages, folds: Sequence[OuterFold], download: bool
) -> None:
    """Build the network, and try a batch of one map if any fold's training has such a batch."""
    (size,) = images.sizes
    pretrained = download or config.model.weights_path is not None
    network = new_network(config, images, size, config.seed, pretrained)
    counts = dict.fromkeys(images.participants, 0)
    for item in images.items:
        counts[item.participant] += 1
    batch = config.training.batch_size
    for fold in folds:
        for inner in fold.inner:
            n = sum(counts[name] for name in inner.train)
            if n % batch == 1 or batch == 1:
                _try_one(network, images, size, f"fold {fold.number}, inner fold {inner.number}", n)
                return


def _try_one(network: nn.Module, images: LabelledImages, size: Size, where: str, n: int) -> None:
    try:
        with torch.no_grad():
            network.train()(torch.zeros(1, images.channels, *size))
    except ValueError as error:
        raise ConfigError(
            f"training.batch_size leaves one of the {n} maps of {where} in a batch alone, which "
            "BatchNorm cannot learn from at this size; use another batch_size, or larger maps."
        ) from error
