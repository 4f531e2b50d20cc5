"""The schema of key-point training: flat, with the names of the field's script."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clickmap_cli.config.fields import key, max_lost_key
from clickmap_cli.config.finetune import OPTIMIZERS
from clickmap_cli.config.validation import check_workers, failing, word_list
from clickmap_cli.runtime.devices import DEVICES

DECAYS = ("linear", "cosine")
MONITORS = ("rmse", "pck", "loss")


# fmt: off
# One line a key: the schema reads as a table.
@dataclass
class AugmentSettings:
    """How training images are changed, anew in every epoch; key points move along. 0 = not."""

    flip: float = key(0.0, "Share of images mirrored left to right.", "scores", minimum=0, maximum=1)
    pairs: Any = key(None, "[[left, right], ...]: names of key points that a mirrored image swaps.", "scores", false_is_null=True)
    rotate: float = key(0.0, "Turned by up to so many degrees either way.", "scores", minimum=0, maximum=180)
    scale: float = key(0.0, "Scaled by 1 - scale to 1 + scale.", "scores", minimum=0, maximum=0.9)
    translate: float = key(0.0, "Moved by up to this share of each side.", "scores", minimum=0, maximum=1)
    brightness: float = key(0.0, "Multiplied by 1 - brightness to 1 + brightness.", "scores", minimum=0, maximum=1)
    contrast: float = key(0.0, "Contrast around the mean, 1 - contrast to 1 + contrast.", "scores", minimum=0, maximum=1)
    blur: float = key(0.0, "Blurred with a sigma of up to so many pixels of the network's image.", "scores", minimum=0, maximum=20)
    noise: float = key(0.0, "Noise of up to this standard deviation (pixels are 0 to 1).", "scores", minimum=0, maximum=1)


@dataclass
class KeypointConfig:
    """One training on labelled key points. Relative paths are taken from the folder the command is called in."""

    task: str = key("keypoints", "What is learnt: keypoints.", "scores", choices=("keypoints",))
    name: str = key("keypoints", "Names the run.", "run")
    output_dir: str = key("results/keypoints", "Where checkpoints, predictions and pictures go.", "run")
    train_csv_file: str | None = key(None, "Labels: DeepLabCut's CSV or HDF5, or `<part> x,<part> y,...` after the image's name.", "input", false_is_null=True)
    train_data_dir: str | None = key(None, "Folder of their images; null = the labels' own.", "input", false_is_null=True)
    test_csv_file: str | None = key(None, "Labels that are never trained on; null = a share of the others.", "input", false_is_null=True)
    test_data_dir: str | None = key(None, "Folder of their images; null = the labels' own.", "input", false_is_null=True)
    test_share: float = key(0.25, "Share of images held out when there is no test_csv_file.", "scores", minimum=0.01, maximum=0.9)
    val_share: float = key(0.0, "Share of training images that choose best.pth; 0 = the test images do, as in the field's script, and their score is the better for it.", "scores", minimum=0, maximum=0.9)
    dataset: str | None = key(None, "A word of your own for the data; changes nothing.", "run", false_is_null=True)
    root_directory: str | None = key(None, "Where the four paths above are looked for too, when they are relative and not found here.", "input", false_is_null=True)
    model_type: str = key("ViT-B_16", "ViT-B_16, ViT-B_32, ViT-L_16, ViT-L_32, ViT-H_14, R50-ViT-B_16, or any network of timm.", "scores")
    pretrained_dir: str | None = key(None, "Weights to begin with: an original .npz file, `timm` (downloads timm's), null = random.", "input", false_is_null=True)
    img_size: int = key(224, "Side of the network's images, in pixels; images are squashed to it.", "scores", minimum=8)
    n_KPs: int | None = key(None, "How many key points the labels have; null = as many as they have.", "scores", minimum=1, false_is_null=True)
    train_batch_size: int = key(20, "Images of an optimiser's step.", "scores", minimum=1)
    eval_batch_size: int = key(20, "Images at once when nothing is learnt.", "run", minimum=1)
    gradient_accumulation_steps: int = key(1, "Parts a step's images go through the network in.", "scores", minimum=1)
    num_epochs: int = key(50, "Epochs.", "scores", minimum=1)
    eval_every: int | None = key(None, "Optimiser steps from one evaluation to the next, as in the field's script; the last step always has one. null = eval_every_epochs.", "scores", minimum=1, false_is_null=True)
    eval_every_epochs: int | None = key(None, "Epochs from one evaluation to the next, in place of eval_every; the last epoch always has one. null, without eval_every = 1.", "scores", minimum=1, false_is_null=True)
    save_every: int | None = key(None, "Epochs from one kept checkpoint to the next; null = best, final and last alone.", "run", minimum=1, false_is_null=True)
    learning_rate: float = key(2e-4, "Highest learning rate.", "scores", minimum=0)
    weight_decay: float = key(1e-2, "Weight decay.", "scores", minimum=0)
    optimizer: str = key("adamw", "adamw, adam or sgd.", "scores", choices=OPTIMIZERS)
    decay_type: str = key("linear", "Learning rate after the warm-up: linear or cosine, to 0.", "scores", choices=DECAYS)
    warmup_steps: int = key(500, "Steps in which the rate rises; at most a tenth of the run.", "scores", minimum=0)
    max_grad_norm: float | None = key(1.0, "Largest norm of all gradients together; null = any.", "scores", minimum=1e-12, false_is_null=True)
    fp16: bool = key(False, "Mixed precision with float16.", "scores")
    fp16_opt_level: str | None = key(None, "Of earlier scripts: today's mixed precision has no levels.", "run", false_is_null=True)
    loss_scale: float = key(0, "What float16's losses are multiplied by at first; 0 = chosen while training.", "scores", minimum=0)
    augment: AugmentSettings = field(default_factory=AugmentSettings, metadata=key(None, "Changes of training images (see below).", "scores").metadata)
    monitor: str = key("rmse", "What the best checkpoint is best in: rmse, pck or loss.", "scores", choices=MONITORS)
    alpha: float = key(0.1, "PCK: a point is right within alpha x the distance of the reference points.", "scores", minimum=1e-9)
    reference_points: Any = key(None, "PCK: two names, or indices from 0; null = eye top and eye bottom.", "scores", false_is_null=True)
    overlay_images: int = key(50, "Test images that get a picture of true and predicted points.", "output", minimum=0)
    attention_images: int = key(4, "Test images that get a map of attention for each key point; a backward pass for every coordinate.", "output", minimum=0)
    max_lost: float = max_lost_key()
    seed: int = key(42, "Seed of every random draw.", "scores", minimum=0)
    device: str = key("auto", "auto, cpu, cuda or mps.", "run", choices=DEVICES)
    n_jobs: int = key(-1, "Threads that read images; -1 = every core.", "run")
    use_wandb: bool = key(False, "Log to Weights & Biases (extra wandb).", "run")
    wandb_project_name: str | None = key("clickmap", "Project there.", "run", false_is_null=True)
    wandb_mode: str = key("online", "online, offline (nothing is sent) or disabled.", "run", choices=("online", "offline", "disabled"))
    tensorboard: bool = key(False, "Also write TensorBoard's files (extra tensorboard).", "run")

# fmt: on

KEYPOINT_ALIASES = {"experiment": "name", "experiment_name": "name"}
"""Other name -> today's name."""

KEYPOINT_RETIRED = frozenset({"local_rank"})
"""Keys that torchrun knows better."""

KEYPOINT_KEYS = frozenset({"n_KPs", "train_csv_file", "train_data_dir"})
"""Keys by which a file without `task` is known to be of this kind."""


def check_keypoints(config: KeypointConfig, sources: Mapping[str, str]) -> None:
    """Check values together; words that may be lists become lists.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    fail = failing(sources)
    check_workers(config.n_jobs, fail)
    if config.train_batch_size % config.gradient_accumulation_steps:
        fail(
            "gradient_accumulation_steps",
            f"is {config.gradient_accumulation_steps}; it must divide train_batch_size "
            f"({config.train_batch_size}).",
        )
    if config.eval_every is not None and config.eval_every_epochs is not None:
        fail(
            "eval_every",
            f"is {config.eval_every} (steps) and eval_every_epochs {config.eval_every_epochs}; "
            "set one of them.",
        )
    references = config.reference_points
    if references is not None:
        right = isinstance(references, list) and len(references) == 2
        if not right or not all(type(r) in (int, str) for r in references):
            fail("reference_points", f"is {references!r}; it must be two names, or two indices.")
        if references[0] == references[1]:
            fail("reference_points", f"is {references!r}; they must be two different points.")
    config.augment.pairs = _pairs(config.augment.pairs, fail)
    if not math.isfinite(config.loss_scale):
        fail("loss_scale", f"is {config.loss_scale}; it must be finite.")


def _pairs(value: Any, fail: Any) -> list[list[str]]:
    """Names of key points that change places in a mirrored image."""
    if value is None:
        return []
    pairs = value if isinstance(value, list) else [value]
    seen: set[str] = set()
    for pair in pairs:
        words = word_list("augment.pairs", pair, fail)
        if len(words) != 2 or words[0] == words[1] or seen & set(words):
            fail("augment.pairs", f"has {pair!r}; each must be two names, and a name stands once.")
        seen |= set(words)
    return pairs
