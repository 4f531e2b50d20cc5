"""Checkpoints: weights alone, or the full state from which an interrupted training resumes."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.runtime.errors import RunError, short_reason
from clickmap_cli.storage.atomic import is_whole, replacing
from clickmap_cli.storage.safe_arrays import known_format

BEST, FINAL, LAST = "best.pth", "final.pth", "last.pth"

FOLD_FILES = tuple(
    f"fold_*/{name}"
    for name in (BEST, FINAL, LAST, "history.csv", "train.txt", "validation.txt", "test.txt")
)
"""Patterns of the files that a cross-validation writes for its folds."""

_HEX = 64
_ARCHIVE_END = b"PK\5\6" + bytes(16)
_NO_COMMENT = (0).to_bytes(2, "little")
_SEAL = _HEX.to_bytes(2, "little")
"""Length field of the comment that ends a checkpoint's zip archive; the comment is the SHA-256 of
everything before the field. Torch does not check that numbers are those that were written."""


def save_weights(path: Path, network: torch.nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's weights as `state_dict` under its own keys, and `about`, plain values.

    Any model accepts the file as its `weights_path`.
    """
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    save(path, {"state_dict": weights, "about": dict(about)})


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, either the whole file or nothing.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    # in memory first: given a path, torch writes the file's name into the file and replaces the
    # exception that interrupted its writing by another one
    buffer = io.BytesIO()
    torch.save(_unshare(dict(state)), buffer)
    data = buffer.getbuffer()[: -len(_NO_COMMENT)]
    with replacing(path) as partial, partial.open("wb") as out:
        out.write(data)
        out.write(_SEAL + hashlib.sha256(data).hexdigest().encode())


def _unshare(value: Any) -> Any:
    """Copy a value so that equal texts are one object and each container is a separate object.

    Pickle writes an object once and then refers to it. A resumed training holds equal texts twice,
    from the file it resumed from and from the code, so its file would have other bytes.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) in (list, tuple):
        return type(value)(_unshare(item) for item in value)
    if type(value) not in (dict, OrderedDict):
        return value
    same = type(value)((_unshare(k), _unshare(v)) for k, v in value.items())
    if hasattr(value, "_metadata"):  # versions of the modules in a network's state
        same._metadata = _unshare(value._metadata)  # noqa: SLF001 - torch's own name
    return same


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; no code in it is run.

    Raises:
        RunError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        whole = _is_seal_valid(path)
    except Exception as error:
        # torch raises many types here; all mean that the file is not a safe checkpoint
        reason = (known_format(path) if path.is_file() else "") or short_reason(error)
        raise RunError(
            f"{path}: not a checkpoint of a training ({reason}); run again with --overwrite."
        ) from error
    if not whole:
        raise RunError(f"{path} is damaged; run again with --overwrite.")
    if not isinstance(loaded, dict) or "state_dict" not in loaded:
        raise RunError(f"{path}: not a checkpoint of a training; run again with --overwrite.")
    return loaded


def _is_seal_valid(path: Path) -> bool:
    """Return True if a file's bytes are those `save` wrote, or its archive has no comment."""
    with path.open("rb") as file:
        begin = max(0, file.seek(0, os.SEEK_END) - len(_ARCHIVE_END) - len(_SEAL) - _HEX)
        file.seek(begin)
        tail = file.read()
        end = tail.rfind(_ARCHIVE_END[:4])
        if end < 0:
            return True  # not a zip archive, which torch reports
        end += len(_ARCHIVE_END)
        length, comment = tail[end : end + len(_SEAL)], tail[end + len(_SEAL) :]
        if (length, comment) == (_NO_COMMENT, b""):
            return True
    return length == _SEAL and is_whole(path, {"sha256": comment.decode("latin-1")}, begin + end)


def get_random_states() -> dict[str, Any]:
    """Return the states of torch's random generators."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": gpus}


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Restore the states of torch's random generators."""
    torch.set_rng_state(states["cpu"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
