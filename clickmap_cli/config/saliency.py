"""The schema of a fine-tuning: one model, one data set, stages, folds and trackers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clickmap_cli.config.benchmark import Spec
from clickmap_cli.config.fields import key, max_lost_key
from clickmap_cli.runtime.devices import DEVICES
from clickmap_cli.runtime.errors import ConfigError, did_you_mean

LOSSES = ("kl", "nll_fixations")
SCHEDULES = ("constant", "cosine", "linear", "step", "plateau")
OPTIMIZERS = ("adamw", "adam", "sgd")
PRECISIONS = ("fp32", "bf16", "fp16")
AGGREGATES = ("mean", "median", "random")
FREEZE_MODES = ("train_blocks", "freeze_blocks")
GROUPS = ("image", "category", "participant")
BLOCKS = ("backbone", "saliency", "fixation_selection", "finalizer", "head", "all")


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class FreezeSettings:
    """The blocks that are trained, unless a stage has its own `freeze`."""

    mode: str = key("train_blocks", "train_blocks trains the named blocks and freezes the rest; freeze_blocks does the reverse.", "scores", choices=FREEZE_MODES)
    blocks: Any = key(["all"], "Names of blocks: backbone, saliency, fixation_selection, finalizer, head (the middle three), all.", "scores")
    backbone_last_n_modules: int | None = key(None, "Train exactly the last N backbone modules that have weights, regardless of `mode`; null or 0 = follow `mode`.", "scores", minimum=0, false_is_null=True)


@dataclass
class TrainingSettings:
    """The training of a fold; a stage may set its own epochs, rates, schedule and freeze."""

    epochs: int = key(10, "Epochs per stage.", "scores", minimum=1)
    batch_size: int = key(4, "Images per batch.", "scores", minimum=1)
    accumulate: int = key(1, "Batches per optimiser step, so that a step uses batch_size x accumulate images, shared between processes.", "scores", minimum=1)
    precision: str = key("fp32", "fp32, bf16 or fp16 (mixed precision).", "scores", choices=PRECISIONS)
    clip_norm: float | None = key(None, "Maximum norm of all gradients together; null = no clipping.", "scores", minimum=1e-12, false_is_null=True)
    optimizer: str = key("adamw", "adamw, adam or sgd.", "scores", choices=OPTIMIZERS)
    momentum: float = key(0.9, "Momentum of sgd.", "scores", minimum=0, maximum=1)
    lr: float = key(1e-4, "Learning rate.", "scores", minimum=0)
    block_lr: Any = key(None, "Block -> learning rate, for blocks that do not use `lr`.", "scores", false_is_null=True)
    weight_decay: float = key(0.0, "Weight decay.", "scores", minimum=0)
    schedule: str = key("cosine", "Learning rate over a stage: constant, cosine (to 0), linear (to 0), step or plateau.", "scores", choices=SCHEDULES)
    warmup_steps: int = key(0, "First steps of a stage, in which the rate rises linearly to its full value.", "scores", minimum=0)
    step_epochs: int = key(10, "schedule step: epochs until the rate is multiplied by gamma.", "scores", minimum=1)
    gamma: float = key(0.1, "schedules step and plateau: factor that the rate is multiplied by.", "scores", minimum=0, maximum=1)
    plateau_patience: int = key(2, "schedule plateau: epochs without a better validation loss before the rate is reduced.", "scores", minimum=1)
    patience: int | None = key(None, "Epochs without a better validation loss before a stage ends; null = never.", "scores", minimum=1, false_is_null=True)
    stages: Any = key(None, "List of {name, epochs, lr, block_lr, weight_decay, schedule, warmup_steps, patience, freeze}, run in order; null = one stage.", "scores", false_is_null=True)


@dataclass
class CvSettings:
    """Cross-validation: the images that train and those that are held out."""

    folds: int = key(4, "Number of folds; 1 = train on all images except those that `holdout` lists.", "scores", minimum=1)
    group_by: str = key("image", "image, category (stays in one fold) or participant (folds split people, not images).", "scores", choices=GROUPS)
    fold_files: Any = key(None, "One list of held-out image ids per fold, in place of seeded folds.", "scores", false_is_null=True)
    holdout: str | None = key(None, "List of image ids that no fold trains on or tests; the model of every fold is also scored on them.", "scores", false_is_null=True)
    only_folds: Any = key(None, "Train only these folds (1 is the first); null = all. --resume may add folds, --gather joins those of several folders.", "run", false_is_null=True)
    val_share: float = key(0.1, "Share of a fold's training images whose loss chooses best.pth and ends stages; 0 = the training loss does.", "scores", minimum=0, maximum=0.9)


@dataclass
class WandbSettings:
    """Weights & Biases (extra wandb), with one run per fold."""

    enabled: bool = key(False, "Log to Weights & Biases.", "run")
    project: str | None = key("clickmap", "Project to log to.", "run", false_is_null=True)
    entity: str | None = key(None, "Team or user.", "run", false_is_null=True)
    name: str | None = key(None, "Name of the runs, before _fold_01; null = the experiment's name.", "run", false_is_null=True)
    group: str | None = key(None, "Group of the runs; null = the experiment's name.", "run", false_is_null=True)
    tags: Any = key(None, "Tags of the runs: a word or a list.", "run", false_is_null=True)
    notes: str | None = key(None, "Notes on the runs.", "run", false_is_null=True)
    dir: str | None = key(None, "Folder of its files; null = `<output_dir>/fold_XX`.", "run", false_is_null=True)
    mode: str = key("online", "online, offline (nothing is sent) or disabled.", "run", choices=("online", "offline", "disabled"))


@dataclass
class SaliencyConfig:
    """One fine-tuning. Relative paths are taken from the folder the command is called in."""

    task: str = key("saliency", "Task: saliency.", "scores", choices=("saliency",))
    experiment: str = key("finetune", "Name of the run.", "run")
    output_dir: str = key("results/finetune", "Folder of the checkpoints, histories and tables.", "run")
    model: Any = key(None, "{name, ...}: a registered PyTorch model and its settings.", "input")
    datasets: Any = key([], "One {name, ...}, as in a benchmark.", "input")
    plugins: Any = key(None, "Your own Python files that register models or data sets.", "input", false_is_null=True)
    limit_images: int | None = key(None, "Use only this many images, the first ones; null = all.", "scores", minimum=1, false_is_null=True)
    loss: str = key("kl", "kl (to the ground-truth density) or nll_fixations (nats per fixation).", "scores", choices=LOSSES)
    gt_aggregate: str = key("mean", "Ground truth from people's maps, each scaled to sum 1: mean, median, or random (one participant per image and epoch).", "scores", choices=AGGREGATES)
    gt_resize_interp: str = key("bilinear", "Interpolation that resizes maps to the image's size: bilinear or bicubic.", "scores", choices=("bilinear", "bicubic"))
    gt_cache_dir: str | None = key(None, "Folder of `clickmap data gt-mean`, read in place of people's maps.", "scores", false_is_null=True)
    freeze: FreezeSettings = field(default_factory=FreezeSettings, metadata=key(None, "Which blocks are trained (see below).", "scores").metadata)
    training: TrainingSettings = field(default_factory=TrainingSettings, metadata=key(None, "Training settings (see below).", "scores").metadata)
    cv: CvSettings = field(default_factory=CvSettings, metadata=key(None, "Cross-validation (see below).", "scores").metadata)
    metrics: Any = key("all", "Scores of held-out images: a metric or a list, as in a benchmark.", "scores")
    centerbias_bandwidth: float = key(0.04, "Kernel of the centre bias in IG, in image widths.", "scores", minimum=1e-6)
    wandb: WandbSettings = field(default_factory=WandbSettings, metadata=key(None, "Weights & Biases (see below).", "run").metadata)
    tensorboard: bool = key(False, "Also write TensorBoard's files into each fold (extra tensorboard).", "run")
    seed: int = key(0, "Seed of every random draw.", "scores", minimum=0)
    max_lost: float = max_lost_key()
    device: str = key("auto", "auto, cpu, cuda or mps.", "run", choices=DEVICES)
    n_jobs: int = key(-1, "Threads that read images, and workers that score; -1 = every core.", "run")

# fmt: on

SALIENCY_ALIASES = {"experiment_name": "experiment", "metric": "metrics"}
"""Old name -> current name."""


@dataclass(frozen=True)
class Freeze:
    """The blocks that are trained.

    Attributes:
        mode: `train_blocks` or `freeze_blocks`.
        blocks: the blocks that `mode` refers to.
        backbone_last_n_modules: number of backbone modules to train, from the last, regardless of
            `mode`; 0 = follow `mode`.
    """

    mode: str = "train_blocks"
    blocks: tuple[str, ...] = ("all",)
    backbone_last_n_modules: int = 0


@dataclass(frozen=True)
class Stage:
    """A part of a training with its own freeze and rates; see `TrainingSettings`."""

    name: str
    epochs: int
    lr: float
    block_lr: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    step_epochs: int = 10
    gamma: float = 0.1
    plateau_patience: int = 2
    patience: int | None = None
    freeze: Freeze = field(default_factory=Freeze)


_OWN = (
    "epochs", "lr", "block_lr", "weight_decay", "schedule", "warmup_steps", "step_epochs", "gamma",
    "plateau_patience", "patience",
)  # fmt: skip


def stages_of(config: SaliencyConfig) -> tuple[Stage, ...]:
    """Return the stages of a configuration, in order.

    Raises:
        ConfigError: a stage has an unknown key or a wrong value, or two stages have the same name.
    """
    entries = config.training.stages
    if entries is None:
        entries = [{"name": "train"}]
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"training.stages is {entries!r}; it must be a list of stages.")
    stages = tuple(_stage(entry, at, config) for at, entry in enumerate(entries))
    names = [stage.name for stage in stages]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"training.stages: two stages are called '{twice}'; rename one.")
    return stages


def _stage(entry: Any, at: int, config: SaliencyConfig) -> Stage:
    what = f"training.stages.{at}"
    if not isinstance(entry, dict):
        raise ConfigError(f"{what} is {entry!r}; it must hold 'key: value' pairs.")
    known = ("name", *_OWN, "freeze")
    for word in entry:
        if word not in known:
            raise ConfigError(f"{what}: unknown key '{word}'. {did_you_mean(str(word), known)}")
    values = {name: entry.get(name, getattr(config.training, name)) for name in _OWN}
    for name in ("epochs", "warmup_steps", "step_epochs", "plateau_patience"):
        least = 0 if name == "warmup_steps" else 1
        if type(values[name]) is not int or values[name] < least:
            raise ConfigError(f"{what}: {name} is {values[name]!r}; it must be {least} or more.")
    for name in ("lr", "weight_decay", "gamma"):
        values[name] = _not_negative(values[name], f"{what}: {name}")
    patience = values["patience"]
    if patience is not None and (type(patience) is not int or patience < 1):
        raise ConfigError(f"{what}: patience is {patience!r}; it must be 1 or more, or null.")
    if values["schedule"] not in SCHEDULES:
        word = str(values["schedule"])
        raise ConfigError(f"{what}: schedule is {word!r}. {did_you_mean(word, SCHEDULES)}")
    values["block_lr"] = _block_rates(values["block_lr"], what)
    freeze = freeze_of(config.freeze) if "freeze" not in entry else _freeze(entry["freeze"], what)
    return Stage(name=str(entry.get("name", f"stage_{at + 1}")), freeze=freeze, **values)


def _block_rates(value: Any, what: str) -> dict[str, float]:
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{what}: block_lr is {value!r}; it must be block -> learning rate.")
    rates = {}
    for name, rate in (value or {}).items():
        _known_block(name, f"{what}: block_lr")
        rates[name] = _not_negative(rate, f"{what}: block_lr.{name}")
    return rates


def _not_negative(value: Any, what: str) -> float:
    try:
        number = float(value)  # YAML reads 1e-4 as a string
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise ConfigError(f"{what} is {value!r}; it must be a number of 0 or more.")
    return number


def _known_block(name: Any, what: str) -> None:
    if name not in BLOCKS:
        raise ConfigError(f"{what}: no block '{name}'. {did_you_mean(str(name), BLOCKS)}")


def _freeze(value: Any, what: str) -> Freeze:
    """Return a stage's own freeze."""
    if not isinstance(value, dict):
        raise ConfigError(f"{what}: freeze is {value!r}; it must hold 'key: value' pairs.")
    known = ("mode", "blocks", "backbone_last_n_modules")
    for word in value:
        if word not in known:
            raise ConfigError(
                f"{what}.freeze: unknown key '{word}'. {did_you_mean(str(word), known)}"
            )
    settings = FreezeSettings(
        mode=value.get("mode", "train_blocks"), blocks=value.get("blocks", ["all"]),
        backbone_last_n_modules=value.get("backbone_last_n_modules"),
    )  # fmt: skip
    return freeze_of(settings, f"{what}.freeze")


def freeze_of(settings: FreezeSettings, what: str = "freeze") -> Freeze:
    """Return the freeze settings of a configuration.

    Raises:
        ConfigError: the mode or a block is unknown, or the number of modules is invalid.
    """
    if settings.mode not in FREEZE_MODES:
        word = str(settings.mode)
        raise ConfigError(f"{what}.mode is {word!r}. {did_you_mean(word, FREEZE_MODES)}")
    blocks = settings.blocks if isinstance(settings.blocks, list) else [settings.blocks]
    for name in blocks:
        _known_block(name, f"{what}.blocks")
    last = settings.backbone_last_n_modules or 0
    if type(last) is not int or last < 0:
        raise ConfigError(f"{what}.backbone_last_n_modules is {last!r}; it must be 0 or more.")
    return Freeze(settings.mode, tuple(blocks), last)


def model_spec(config: SaliencyConfig) -> Spec:
    """Return the model to train.

    Raises:
        ConfigError: no model is named, or its name cannot be part of a file name.
    """
    entry = {"name": config.model} if isinstance(config.model, str) else config.model
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError(
            "model names no model; say {name: readout, ...}, or another of "
            "`clickmap benchmark --list`."
        )
    rest = dict(entry)
    name = rest.pop("name")
    kind = rest.pop("type", name)
    if any(c in name for c in "/\\\0") or not name.isprintable():
        raise ConfigError(f"model: the name {name!r} names files, so it must hold no slashes.")
    return Spec(name, str(kind), rest)


def fold_numbers(value: Any, folds: int) -> list[int]:
    """Return the numbers of the folds to train, counted from 1.

    Raises:
        ConfigError: a number is not one of the folds, or the list is empty.
    """
    if value is None:
        return list(range(1, folds + 1))
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if type(number) is not int or not 1 <= number <= folds:
            raise ConfigError(f"cv.only_folds has {number!r}; the folds are 1 to {folds}.")
    if not numbers:
        raise ConfigError("cv.only_folds is empty; null trains all folds.")
    return sorted(set(numbers))
