"""Checkpoints: weights alone, or everything a killed training goes on from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.safe_arrays import short_reason

BEST, FINAL, LAST = "best.pth", "final.pth", "last.pth"


def save_weights(path: Path, network: torch.nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's weights: `state_dict`, under its own keys, and `about`, plain values.

    Any model takes the file as its `weights_path`.
    """
    save(path, {"state_dict": _on_cpu(network.state_dict()), "about": dict(about)})


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, the whole file or none of it.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    # in memory first: given a path, torch writes the file's name into the file, and what interrupts
    # its writing to a file comes out as an error of its own
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with replacing(path) as partial, partial.open("wb") as out:
        out.write(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is run.

    Raises:
        RunError: it is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises many types here; each means the same: no checkpoint that may be loaded
        raise RunError(
            f"{path}: not a checkpoint of a training ({short_reason(error)}); run again with "
            "--overwrite."
        ) from error
    if not isinstance(loaded, dict) or "state_dict" not in loaded:
        raise RunError(f"{path}: not a checkpoint of a training; run again with --overwrite.")
    return loaded


def random_states() -> dict[str, Any]:
    """Where torch's random generators are."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": gpus}


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Go on drawing from there."""
    torch.set_rng_state(states["cpu"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def _on_cpu(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu() for key, value in state.items()}
