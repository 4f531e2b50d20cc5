"""The schema of key-point training, which is flat and uses the names of the field's script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clickmap_cli.config.fields import fail, key, max_lost_key, workers_key
from clickmap_cli.config.saliency import OPTIMIZERS
from clickmap_cli.runtime.devices import DEVICES


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class AugmentSettings:
    """Random changes of the training images in every epoch; key points move along. 0 = off."""

    flip: float = key(0.0, "Share of images mirrored left to right.", "scores", minimum=0, maximum=1)
    pairs: list[list[int | str]] = key([], "[[left, right], ...]: names of key points that a mirrored image swaps.", "scores")
    rotate: float = key(0.0, "Rotated by up to this many degrees either way.", "scores", minimum=0, maximum=180)
    scale: float = key(0.0, "Scaled by 1 - scale to 1 + scale.", "scores", minimum=0, maximum=0.9)
    translate: float = key(0.0, "Shifted by up to this share of each side.", "scores", minimum=0, maximum=1)
    brightness: float = key(0.0, "Multiplied by 1 - brightness to 1 + brightness.", "scores", minimum=0, maximum=1)
    contrast: float = key(0.0, "Contrast around the mean multiplied by 1 - contrast to 1 + contrast.", "scores", minimum=0, maximum=1)
    blur: float = key(0.0, "Blurred with a sigma of up to this many pixels of the network's image.", "scores", minimum=0, maximum=20)
    noise: float = key(0.0, "Noise of up to this standard deviation (pixels are 0 to 1).", "scores", minimum=0, maximum=1)


@dataclass
class KeypointConfig:
    """One training on labelled key points. Relative paths are taken from the folder the command is called in."""

    task: str = key("keypoints", "Task: keypoints.", "scores", choices=("keypoints",))
    name: str = key("keypoints", "Name of the run.", "run")
    output_dir: str = key("results/keypoints", "Folder of the checkpoints, predictions and pictures.", "run")
    train_csv_file: str | None = key(None, "Labels: DeepLabCut's CSV or HDF5, or `<part> x,<part> y,...` after the image's name.", "input")
    train_data_dir: str | None = key(None, "Folder of the images of train_csv_file; null = the folder of the labels.", "input")
    test_csv_file: str | None = key(None, "Labels that are never trained on; null = a share of those in train_csv_file.", "input")
    test_data_dir: str | None = key(None, "Folder of the images of test_csv_file; null = the folder of the labels.", "input")
    test_share: float = key(0.25, "Share of images held out if there is no test_csv_file.", "scores", minimum=0.01, maximum=0.9)
    val_share: float = key(0.0, "Share of training images that choose best.pth; 0 = the test images choose it, as in the field's script, so their score is optimistic.", "scores", minimum=0, maximum=0.9)
    dataset: str | None = key(None, "Your own name for the data; changes nothing.", "run")
    root_directory: str | None = key(None, "Second folder to look in for the four paths above, if they are relative and not found here.", "input")
    model_type: str = key("ViT-B_16", "ViT-B_16, ViT-B_32, ViT-L_16, ViT-L_32, ViT-H_14, R50-ViT-B_16, or any network of timm.", "scores")
    pretrained_dir: str | None = key(None, "Initial weights: an original .npz file, or `timm` (downloads timm's); null = random.", "input")
    img_size: int = key(224, "Side of the network's images, in pixels; images are squashed to it.", "scores", minimum=8)
    n_KPs: int | None = key(None, "Number of key points that the labels must have; null = any.", "scores", minimum=1)
    train_batch_size: int = key(20, "Images per optimiser step.", "scores", minimum=1)
    eval_batch_size: int = key(20, "Images per batch outside training.", "run", minimum=1)
    gradient_accumulation_steps: int = key(1, "Number of parts in which the images of a step go through the network.", "scores", minimum=1)
    num_epochs: int = key(50, "Epochs.", "scores", minimum=1)
    eval_every: int | None = key(None, "Optimiser steps between evaluations, as in the field's script; the last step is always evaluated. null = eval_every_epochs.", "scores", minimum=1)
    eval_every_epochs: int | None = key(None, "Epochs between evaluations, in place of eval_every; the last epoch is always evaluated. null = 1, unless eval_every is set.", "scores", minimum=1)
    save_every: int | None = key(None, "Epochs between kept checkpoints; null = keep only best, final and last.", "run", minimum=1)
    learning_rate: float = key(2e-4, "Maximum learning rate.", "scores", minimum=0)
    weight_decay: float = key(1e-2, "Weight decay.", "scores", minimum=0)
    optimizer: str = key("adamw", "adamw, adam or sgd.", "scores", choices=OPTIMIZERS)
    decay_type: str = key("linear", "Learning rate after the warm-up: linear or cosine, to 0.", "scores", choices=("linear", "cosine"))
    warmup_steps: int = key(500, "First steps, in which the rate rises; at most a tenth of all steps.", "scores", minimum=0)
    max_grad_norm: float | None = key(1.0, "Maximum norm of all gradients together; null = no clipping.", "scores", minimum=1e-12)
    fp16: bool = key(False, "Mixed precision with float16.", "scores")
    fp16_opt_level: str | None = key(None, "Ignored: a key of earlier scripts, as today's mixed precision has no levels.", "run")
    loss_scale: float = key(0, "Initial factor of float16's losses, which training adapts; 0 = torch's default.", "scores", minimum=0)
    augment: AugmentSettings = key(AugmentSettings, "Changes of training images (see below).", "scores")
    monitor: str = key("rmse", "Score that chooses the best checkpoint: rmse, pck or loss.", "scores", choices=("rmse", "pck", "loss"))
    alpha: float = key(0.1, "PCK: a point is correct within alpha x the distance between the reference points.", "scores", minimum=1e-9)
    reference_points: list[int | str] | None = key(None, "PCK: two names, or indices from 0; null = eye top and eye bottom.", "scores", length=2)
    overlay_images: int = key(50, "Number of test images to draw with true and predicted points.", "output", minimum=0)
    attention_images: int = key(4, "Number of test images with an attention map for each key point, which takes a backward pass per coordinate.", "output", minimum=0)
    max_lost: float = max_lost_key()
    seed: int = key(42, "Seed of every random draw.", "scores", minimum=0)
    device: str = key("auto", "auto, cpu, cuda or mps.", "run", choices=DEVICES)
    n_jobs: int = workers_key("Threads that read images; -1 = every core.")
    use_wandb: bool = key(False, "Log to Weights & Biases (extra wandb).", "run")
    wandb_project_name: str | None = key("clickmap", "Project in Weights & Biases.", "run")
    wandb_mode: str = key("online", "online, offline (nothing is sent) or disabled.", "run", choices=("online", "offline", "disabled"))
    tensorboard: bool = key(False, "Also write TensorBoard's files (extra tensorboard).", "run")

# fmt: on

KEYPOINT_ALIASES = {"experiment": "name", "experiment_name": "name"}
"""Other name -> current name."""

KEYPOINT_RETIRED = frozenset({"local_rank"})
"""Keys that are ignored because torchrun sets their values."""

KEYPOINT_KEYS = frozenset({"n_KPs", "train_csv_file", "train_data_dir"})
"""Keys that identify a file of this kind when it has no `task`."""


def check_keypoints(config: KeypointConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values fit together.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    if config.train_batch_size % config.gradient_accumulation_steps:
        text = (
            f"is {config.gradient_accumulation_steps}; it must divide train_batch_size "
            f"({config.train_batch_size})."
        )
        fail(sources, "gradient_accumulation_steps", text)
    if config.eval_every is not None and config.eval_every_epochs is not None:
        text = (
            f"is {config.eval_every} (steps) and eval_every_epochs {config.eval_every_epochs}; "
            "set one of them."
        )
        fail(sources, "eval_every", text)
    points = config.reference_points
    if points is not None and points[0] == points[1]:
        fail(sources, "reference_points", f"is {points!r}; they must be two different points.")
    seen: set[int | str] = set()
    for pair in config.augment.pairs:
        if len(pair) != 2 or pair[0] == pair[1] or seen & set(pair):
            text = f"has {pair!r}; each must be two names, and a name stands once."
            fail(sources, "augment.pairs", text)
        seen |= set(pair)
