"""Predictions on disk, each used only while what made it is still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.atomic import sha256_of, write_json
from clickmap_cli.storage.npz import write_npy
from clickmap_cli.storage.safe_arrays import read_npy

_MAX_NAME_BYTES = 200
_ODD = frozenset('%/\\:*?"<>|')


@dataclass(frozen=True)
class KeptWith:
    """What is kept with a prediction.

    Attributes:
        details: finite numbers that the model gave along with it.
        placement: what was done to bring it onto the pixels it is scored on.
        oddities: finite numbers of what a person should know of it.
    """

    details: Mapping[str, float] = field(default_factory=dict)
    placement: str = ""
    oddities: Mapping[str, float] = field(default_factory=dict)


class PredictionCache:
    """The predictions of one model for one data set: `<folder>/<image_id>.npy`.

    Beside each array stands `<image_id>.json` with the key it was made under and the array's
    SHA-256: an array without it, with another key, or with other bytes (cut, replaced, half of a
    killed run) is not used.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, key: str) -> NDArray[np.float32] | None:
        """The prediction of this name, if it was made under this key and is whole."""
        path = self.path(name)
        try:
            stated = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(stated, dict) or stated.get("key") != key:
            return None
        try:
            if sha256_of(path) != stated.get("sha256"):
                return None
            array = read_npy(path)
        except (OSError, DataError):
            return None
        return array if isinstance(array, np.ndarray) else None

    def kept_with(self, name: str) -> KeptWith:
        """What was kept with a prediction that `get` has given."""
        try:
            stated = json.loads(self.path(name).with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return KeptWith()
        if not isinstance(stated, dict):
            return KeptWith()
        details, odd = stated.get("details"), stated.get("oddities")
        placement = stated.get("placement")
        return KeptWith(
            dict(details) if isinstance(details, dict) else {},
            placement if isinstance(placement, str) else "",
            dict(odd) if isinstance(odd, dict) else {},
        )

    def put(
        self,
        name: str,
        key: str,
        prediction: NDArray[np.float32],
        kept: KeptWith | None = None,
    ) -> None:
        """Keep a prediction; the array first, then what proves it.

        Args:
            name: what it is called.
            key: what it was made under.
            prediction: (h, w).
            kept: what is worth keeping with it.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        path = self.path(name)
        write_npy(path, prediction)
        proof: dict[str, Any] = {"key": key, "sha256": sha256_of(path)}
        proof |= {what: value for what, value in asdict(kept or KeptWith()).items() if value}
        write_json(path.with_suffix(".json"), proof)

    def path(self, name: str) -> Path:
        """Where the array of this name is.

        Characters that do not belong into a file's name are escaped, and a name too long for a
        file is cut and ends in its hash, so that it stays in `folder` and has it for itself.
        """
        plain = "".join(
            quote(c, safe="", errors="surrogatepass") if c in _ODD or not c.isprintable() else c
            for c in name
        )
        if plain.strip(".") == "":
            plain = plain.replace(".", "%2E")
        if len(plain.encode()) > _MAX_NAME_BYTES:
            digest = hashlib.sha256(plain.encode()).hexdigest()[:16]
            start = plain.encode()[: _MAX_NAME_BYTES - 17].decode(errors="ignore")
            plain = f"{start}~{digest}"
        return self.folder / f"{plain}.npy"
