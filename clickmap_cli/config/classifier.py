"""The schema of the classifier of attention maps; `participant_quality` has the other one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clickmap_cli.config.fields import fail, key, max_lost_key, square, workers_key
from clickmap_cli.config.saliency import OPTIMIZERS, PRECISIONS, fold_numbers
from clickmap_cli.runtime.devices import DEVICES
from clickmap_cli.runtime.errors import ConfigError


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class ClassifierData:
    """The maps to classify."""

    root: str | None = key(None, "Folder of `<class>/<participant>/*.png`, or, with `labels`, a folder that `prepare` wrote.", "input")
    labels: str | None = key(None, "For a folder of `prepare`: a CSV with `user_id,label`, or `image_path,user_id,label` where the trials of one person belong to several classes.", "input")
    classes: list[str] | None = key(None, "Classes to distinguish; null = every folder of `root`, or every label.", "scores")
    positive: str | None = key(None, "Positive class of F1 and AUC; null = the last of `classes`, or the last by name if `classes` is null.", "scores")
    size: list[int] | None = key(None, "[height, width] that every map is resized to; null = no resizing, which needs maps of one size.", "scores", minimum=8, maximum=4096, length=2, parse=square)
    colour: bool = key(False, "Read three colour channels; false = greyscale.", "scores")


@dataclass
class ClassifierModel:
    """The network."""

    name: str = key("base", "base (two convolutions), or any network of timm by its name.", "scores")
    in_size: int = key(16, "base: channels of the first convolution; the second has twice as many.", "scores", minimum=1)
    dropout: float = key(0.4, "base: share of activations dropped during training.", "scores", minimum=0, maximum=0.95)
    weights: str = key("none", "For a network of timm: none draws random weights, timm downloads timm's.", "scores", choices=("none", "timm"))
    weights_path: str | None = key(None, "For a network of timm: a checkpoint to start from, in place of `weights`.", "input")


@dataclass
class ClassifierTraining:
    """Settings of the training."""

    num_epochs: int = key(15, "Epochs per inner fold.", "scores", minimum=1)
    batch_size: int = key(16, "Maps per batch.", "scores", minimum=1)
    accumulate: int = key(1, "Batches per optimiser step, so that a step uses batch_size x accumulate maps.", "scores", minimum=1)
    lr: float = key(3e-3, "Learning rate.", "scores", minimum=0)
    weight_decay: float = key(0.01, "Weight decay.", "scores", minimum=0)
    schedule: str = key("cosine", "Learning rate over an inner fold: constant, cosine (to 0) or linear (to 0).", "scores", choices=("constant", "cosine", "linear"))
    optimizer: str = key("adamw", "adamw, adam or sgd.", "scores", choices=OPTIMIZERS)
    precision: str = key("fp32", "fp32, bf16 or fp16 (mixed precision).", "scores", choices=PRECISIONS)
    class_weights: bool = key(True, "Weight each class by the inverse of its frequency.", "scores")
    patience: int | None = key(None, "Epochs without a better validation accuracy before a training stops; null = never.", "scores", minimum=1)
    autosave: bool = key(False, "Keep model_epoch_<n>.pt of an inner fold at each new best validation accuracy.", "output")


@dataclass
class NestedCv:
    """Nested cross-validation: outer folds of participants test, inner folds choose the model."""

    outer_kfolds: int = key(5, "Folds of participants; each participant is tested once.", "scores", minimum=2)
    inner_kfolds: int = key(4, "Folds of the participants outside the test fold; each fold validates once.", "scores", minimum=2)
    inner_mode: str = key("restart", "restart: train a new model on each inner fold and keep the one with the best validation score; sequential: train one model through all inner folds, as published (its validation score is optimistic).", "scores", choices=("restart", "sequential"))
    only_folds: list[int] | None = key(None, "Only these outer folds (1 is the first); null = all.", "scores")


@dataclass
class Interpretation:
    """Gradient maps of test maps, which show what the network looks at."""

    enabled: bool = key(True, "Write gradients, SmoothGrad and Grad-CAM of test maps, averaged by class.", "output")
    n_images: int = key(4, "Test maps of each class and fold that are also written one by one, as arrays and a picture.", "output", minimum=0)
    n_samples: int = key(16, "SmoothGrad: noisy copies of each map.", "output", minimum=1)
    sigma: float = key(0.1, "SmoothGrad: standard deviation of the noise, as a share of the map's range.", "output", minimum=0)


@dataclass
class ClassifierConfig:
    """One study of attention maps. Relative paths are taken from the folder the command is called in."""

    task: str = key("classifier", "Task: classifier (participant_quality has other keys).", "scores", choices=("classifier",))
    experiment: str = key("classifier", "Name of the run.", "run")
    output_dir: str = key("results/classifier", "Folder of the models, logs and tables.", "run")
    data: ClassifierData = key(ClassifierData, "Maps and classes (see below).", "scores")
    model: ClassifierModel = key(ClassifierModel, "The network (see below).", "scores")
    training: ClassifierTraining = key(ClassifierTraining, "Training settings (see below).", "scores")
    cv: NestedCv = key(NestedCv, "Folds of participants (see below).", "scores")
    baseline: bool = key(True, "Logistic regression on five statistics of each map, on the same folds.", "scores")
    permutations: int = key(1000, "Shuffles of the labels within participants, which give the chance level of the same predictions; 0 = none.", "scores", minimum=0)
    shuffle_labels: bool = key(False, "Shuffle labels within participants before training, so that the whole study shows chance.", "scores")
    interpretation: Interpretation = key(Interpretation, "Gradient maps (see below).", "scores")
    max_lost: float = max_lost_key()
    seed: int = key(0, "Seed of every random draw.", "scores", minimum=0)
    device: str = key("auto", "auto, cpu, cuda or mps.", "run", choices=DEVICES)
    n_jobs: int = workers_key("Threads that read maps; -1 = every core.")

# fmt: on


def check_classifier(config: ClassifierConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values fit together.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    data, model = config.data, config.model
    if data.root is None:
        fail(sources, "data", "has no root; say where the maps are, such as data.root=maps.")
    if data.labels is not None and data.colour:
        text = "has labels of clickmaps, which have no colours; leave data.colour out."
        fail(sources, "data", text)
    if data.classes is not None:
        if len(set(data.classes)) < max(2, len(data.classes)):
            text = f"has classes {data.classes!r}; it must be a list of two or more."
            fail(sources, "data", text)
        if data.positive is not None and data.positive not in data.classes:
            text = f"has positive {data.positive!r}, which is none of its classes."
            fail(sources, "data", text)
    chosen = model.weights != "none", model.weights_path is not None
    if model.name == "base" and any(chosen):
        text = "is base, which has no weights to begin with; leave weights out."
        fail(sources, "model", text)
    if all(chosen):
        fail(sources, "model", "has weights and weights_path; keep one.")
    fold_numbers(config.cv.only_folds, config.cv.outer_kfolds)


def classes_in_order(names: Sequence[str], positive: str | None) -> tuple[str, ...]:
    """Return the classes with the positive one last.

    Args:
        names: the classes.
        positive: one of the names; None = the last.

    Raises:
        ConfigError: `positive` is not one of the names.
    """
    if positive is None:
        return tuple(names)
    if positive not in names:
        raise ConfigError(f"data.positive is {positive!r}, and the classes are {', '.join(names)}.")
    return (*(name for name in names if name != positive), positive)
