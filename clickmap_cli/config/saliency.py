"""The schema of a fine-tuning of saliency: one model, one data set, stages, folds and trackers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickmap_cli.config.benchmark import (
    SALIENCY_METRICS,
    DataSetSpec,
    ModelSpec,
    parse_datasets,
    parse_models,
    require_data_and_metrics,
)
from clickmap_cli.config.fields import fail, key, max_lost_key, workers_key
from clickmap_cli.runtime.devices import DEVICES
from clickmap_cli.runtime.errors import ConfigError

LOSSES = ("kl", "nll_fixations")
SCHEDULES = ("constant", "cosine", "linear", "step", "plateau")
OPTIMIZERS = ("adamw", "adam", "sgd")
PRECISIONS = ("fp32", "bf16", "fp16")
BLOCKS = ("backbone", "saliency", "fixation_selection", "finalizer", "head", "all")


def _parse_model(value: Any) -> dict[str, Any]:
    """Return `model`, a name or {name: ..., ...}, as fields of `ModelSpec`."""
    named = isinstance(value, str) or (isinstance(value, dict) and value.get("name"))
    if not named:
        raise ConfigError(
            "model names no model; say {name: readout, ...}, or another of "
            "`clickmap benchmark --list`."
        )
    return parse_models(value)[0]


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class Freeze:
    """The blocks that are trained; a stage may have its own."""

    mode: str = key("train_blocks", "train_blocks trains the named blocks and freezes the rest; freeze_blocks does the reverse.", "scores", choices=("train_blocks", "freeze_blocks"))
    blocks: list[str] = key(["all"], "Names of blocks: backbone, saliency, fixation_selection, finalizer, head (the middle three), all.", "scores", choices=BLOCKS)
    backbone_last_n_modules: int | None = key(None, "Train exactly the last N backbone modules that have weights, regardless of `mode`; null or 0 = follow `mode`.", "scores", minimum=0)


@dataclass
class Rates:
    """Settings of `training` that a stage may override."""

    epochs: int = key(10, "Epochs per stage.", "scores", minimum=1)
    lr: float = key(1e-4, "Learning rate.", "scores", minimum=0)
    block_lr: dict[str, float] = key({}, "Block -> learning rate, for blocks that do not use `lr`.", "scores", minimum=0, choices=BLOCKS)
    weight_decay: float = key(0.0, "Weight decay.", "scores", minimum=0)
    schedule: str = key("cosine", "Learning rate over a stage: constant, cosine (to 0), linear (to 0), step or plateau.", "scores", choices=SCHEDULES)
    warmup_steps: int = key(0, "First steps of a stage, in which the rate rises linearly to its full value.", "scores", minimum=0)
    step_epochs: int = key(10, "schedule step: epochs until the rate is multiplied by gamma.", "scores", minimum=1)
    gamma: float = key(0.1, "schedules step and plateau: factor that the rate is multiplied by.", "scores", minimum=0, maximum=1)
    plateau_patience: int = key(2, "schedule plateau: epochs without a better validation loss before the rate is reduced.", "scores", minimum=1)
    patience: int | None = key(None, "Epochs without a better validation loss before a stage ends; null = never.", "scores", minimum=1)


@dataclass
class Stage(Rates):
    """One stage of a training; what it does not set is as in `training` and `freeze`."""

    name: str = key("train", "Its name; null = stage_1, stage_2, ...", "scores")
    freeze: Freeze = key(Freeze, "The blocks that it trains, as in `freeze`.", "scores")


@dataclass
class TrainingSettings(Rates):
    """The training of a fold."""

    batch_size: int = key(4, "Images per batch.", "scores", minimum=1)
    accumulate: int = key(1, "Batches per optimiser step, so that a step uses batch_size x accumulate images, shared between processes.", "scores", minimum=1)
    precision: str = key("fp32", "fp32, bf16 or fp16 (mixed precision).", "scores", choices=PRECISIONS)
    clip_norm: float | None = key(None, "Maximum norm of all gradients together; null = no clipping.", "scores", minimum=1e-12)
    optimizer: str = key("adamw", "adamw, adam or sgd.", "scores", choices=OPTIMIZERS)
    momentum: float = key(0.9, "Momentum of sgd.", "scores", minimum=0, maximum=1)
    stages: list[Stage] = key([], "List of {name, freeze, epochs, lr, block_lr, weight_decay, schedule, warmup_steps, step_epochs, gamma, plateau_patience, patience}, run in order; null = one stage.", "scores")


@dataclass
class CvSettings:
    """Cross-validation: the images that train and those that are held out."""

    folds: int = key(4, "Number of folds; 1 = train on all images except those that `holdout` lists.", "scores", minimum=1)
    group_by: str = key("image", "image, category (stays in one fold) or participant (folds split people, not images).", "scores", choices=("image", "category", "participant"))
    fold_files: list[str] = key([], "One list of held-out image ids per fold, in place of seeded folds.", "scores")
    holdout: str | None = key(None, "List of image ids that no fold trains on or tests; the model of every fold is also scored on them.", "scores")
    only_folds: list[int] | None = key(None, "Train only these folds (1 is the first); null = all. --resume may add folds, --gather joins those of several folders.", "run")
    val_share: float = key(0.1, "Share of a fold's training images whose loss chooses best.pth and ends stages; 0 = the training loss does.", "scores", minimum=0, maximum=0.9)


@dataclass
class WandbSettings:
    """Weights & Biases (extra wandb), with one run per fold."""

    enabled: bool = key(False, "Log to Weights & Biases.", "run")
    project: str | None = key("clickmap", "Project to log to.", "run")
    entity: str | None = key(None, "Team or user.", "run")
    name: str | None = key(None, "Name of the runs, before _fold_01; null = the experiment's name.", "run")
    group: str | None = key(None, "Group of the runs; null = the experiment's name.", "run")
    tags: list[str] = key([], "Tags of the runs: a word or a list.", "run")
    notes: str | None = key(None, "Notes on the runs.", "run")
    dir: str | None = key(None, "Folder of its files; null = `<output_dir>/fold_XX`.", "run")
    mode: str = key("online", "online, offline (nothing is sent) or disabled.", "run", choices=("online", "offline", "disabled"))


@dataclass
class SaliencyConfig:
    """One fine-tuning. Relative paths are taken from the folder the command is called in."""

    task: str = key("saliency", "Task: saliency.", "scores", choices=("saliency",))
    experiment: str = key("finetune", "Name of the run.", "run")
    output_dir: str = key("results/finetune", "Folder of the checkpoints, histories and tables.", "run")
    model: ModelSpec = key(ModelSpec, "{name, ...}: a registered PyTorch model and its settings.", "input", parse=_parse_model)
    datasets: list[DataSetSpec] = key([], "One {name, ...}, as in a benchmark.", "input", parse=parse_datasets)
    plugins: list[str] = key([], "Your own Python files that register models or data sets.", "input")
    limit_images: int | None = key(None, "Use only this many images, the first ones; null = all.", "scores", minimum=1)
    loss: str = key("kl", "kl (to the ground-truth density) or nll_fixations (nats per fixation).", "scores", choices=LOSSES)
    gt_aggregate: str = key("mean", "Ground truth from people's maps, each scaled to sum 1: mean, median, or random (one participant per image and epoch).", "scores", choices=("mean", "median", "random"))
    gt_resize_interp: str = key("bilinear", "Interpolation that resizes maps to the image's size: bilinear or bicubic.", "scores", choices=("bilinear", "bicubic"))
    gt_cache_dir: str | None = key(None, "Folder of `clickmap data gt-mean`, read in place of people's maps.", "scores")
    freeze: Freeze = key(Freeze, "Which blocks are trained (see below).", "scores")
    training: TrainingSettings = key(TrainingSettings, "Training settings (see below).", "scores")
    cv: CvSettings = key(CvSettings, "Cross-validation (see below).", "scores")
    metrics: list[str] = key(["all"], "Scores of held-out images: a metric or a list, as in a benchmark.", "scores", choices=("all", *SALIENCY_METRICS))
    centerbias_bandwidth: float = key(0.04, "Kernel of the centre bias in IG, in image widths.", "scores", minimum=1e-6)
    wandb: WandbSettings = key(WandbSettings, "Weights & Biases (see below).", "run")
    tensorboard: bool = key(False, "Also write TensorBoard's files into each fold (extra tensorboard).", "run")
    seed: int = key(0, "Seed of every random draw.", "scores", minimum=0)
    max_lost: float = max_lost_key()
    device: str = key("auto", "auto, cpu, cuda or mps.", "run", choices=DEVICES)
    n_jobs: int = workers_key("Threads that read images, and workers that score; -1 = every core.")

# fmt: on

SALIENCY_ALIASES = {"experiment_name": "experiment", "metric": "metrics"}
"""Old name -> current name."""


def fill_stages(values: dict[str, Any]) -> None:
    """Set what stages do not set to the values of `training` and `freeze`, in place.

    Args:
        values: values by key, before they are checked; those of another form are left to the check.
    """
    training = values.get("training")
    stages = training.get("stages") if isinstance(training, dict) else None
    if not isinstance(training, dict) or not isinstance(stages, list):
        return
    shared = {each.name for each in dataclasses.fields(Rates)} & set(training)
    common = {name: training[name] for name in shared}
    common["freeze"] = values.get("freeze")
    for at, stage in enumerate(stages, 1):
        if isinstance(stage, dict):
            own = {k: v for k, v in stage.items() if v is not None or k not in ("name", "freeze")}
            stages[at - 1] = {"name": f"stage_{at}", **common, **own}


def stages_of(config: SaliencyConfig) -> tuple[Stage, ...]:
    """Return the stages of a configuration, in order; there is one if it sets none."""
    training = config.training
    shared = {each.name: getattr(training, each.name) for each in dataclasses.fields(Rates)}
    return tuple(training.stages) or (Stage(**shared, name="train", freeze=config.freeze),)


def fold_numbers(value: list[int] | None, folds: int) -> list[int]:
    """Return the numbers of the folds to train, counted from 1.

    Raises:
        ConfigError: a number is not one of the folds, or the list is empty.
    """
    if value is None:
        return list(range(1, folds + 1))
    for number in value:
        if not 1 <= number <= folds:
            raise ConfigError(f"cv.only_folds has {number!r}; the folds are 1 to {folds}.")
    if not value:
        raise ConfigError("cv.only_folds is empty; null trains all folds.")
    return sorted(set(value))


def check_saliency(config: SaliencyConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values fit together; files of folds set the number of folds.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    if not config.model.name:
        _parse_model(None)
    require_data_and_metrics(config, sources)
    if len(config.datasets) != 1:
        fail(sources, "datasets", "names several data sets; a fine-tuning learns from one.")
    if config.cv.fold_files:
        config.cv.folds = len(config.cv.fold_files)
    names = [stage.name for stage in config.training.stages]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"training.stages: two stages are called '{twice}'; rename one.")
    fold_numbers(config.cv.only_folds, config.cv.folds)
    if config.gt_cache_dir is not None and config.gt_aggregate == "random":
        fail(sources, "gt_aggregate", "is random and gt_cache_dir holds means; keep one.")
    if config.gt_cache_dir is not None and config.loss != "kl":
        fail(sources, "gt_cache_dir", f"holds maps, and loss {config.loss} learns from points.")
    if config.gt_cache_dir is not None and config.cv.group_by == "participant":
        text = "holds maps of everybody, and cv.group_by holds participants out."
        fail(sources, "gt_cache_dir", text)
