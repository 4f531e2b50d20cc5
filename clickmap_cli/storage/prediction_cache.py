"""Predictions on disk, each used only while what made it is still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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

    def kept(self, name: str, what: str) -> dict[str, float]:
        """Return the numbers kept with a prediction that `get` has given.

        Args:
            name: what the prediction is called.
            what: `details` (of the model) or `oddities` (of the prediction).
        """
        try:
            stated = json.loads(self.path(name).with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        kept = stated.get(what) if isinstance(stated, dict) else None
        return dict(kept) if isinstance(kept, dict) else {}

    def put(
        self,
        name: str,
        key: str,
        prediction: NDArray[np.float32],
        details: Mapping[str, float] | None = None,
        oddities: Mapping[str, float] | None = None,
    ) -> None:
        """Keep a prediction; the array first, then what proves it.

        Args:
            name: what it is called.
            key: what it was made under.
            prediction: (h, w).
            details: finite numbers worth keeping with it.
            oddities: finite numbers of what a person should know of it.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        path = self.path(name)
        write_npy(path, prediction)
        proof: dict[str, Any] = {"key": key, "sha256": sha256_of(path)}
        for what, numbers in (("details", details), ("oddities", oddities)):
            if numbers:
                proof[what] = dict(numbers)
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
