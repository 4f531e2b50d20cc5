"""Cache of predictions on disk; each one is used only while its inputs are unchanged."""

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
from clickmap_cli.storage.atomic import is_whole, sha256_of, write_json
from clickmap_cli.storage.safe_arrays import read_npy, write_npy

_MAX_NAME_BYTES = 200
_ODD = frozenset('%/\\:*?"<>|')


@dataclass(frozen=True)
class KeptWith:
    """Facts that are stored with a prediction.

    Attributes:
        details: finite numbers that the model returned with the prediction.
        placement: how the prediction was brought onto the pixels on which it is scored.
        oddities: finite numbers that describe unusual properties of the prediction.
    """

    details: Mapping[str, float] = field(default_factory=dict)
    placement: str = ""
    oddities: Mapping[str, float] = field(default_factory=dict)


class PredictionCache:
    """The predictions of one model for one data set: `<folder>/<image_id>.npy`.

    Each array has a `<image_id>.json` with its key and its SHA-256. An array is not used if this
    file is missing, if the key differs, or if the bytes differ (because the array is truncated,
    replaced, or left by a killed run).

    Args:
        folder: folder of the predictions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, key: str) -> NDArray[np.float32] | None:
        """Return the prediction if it was made with this key and is intact, else None."""
        path, stated = self.path(name), self._stated(name)
        try:
            array = read_npy(path) if stated.get("key") == key and is_whole(path, stated) else None
        except (OSError, DataError):
            return None
        return array if isinstance(array, np.ndarray) else None

    def kept_with(self, name: str) -> KeptWith:
        """Return the facts stored with a prediction that `get` has returned."""
        stated = self._stated(name)
        details, placement, odd = map(stated.get, ("details", "placement", "oddities"))
        return KeptWith(
            details if isinstance(details, dict) else {},
            placement if isinstance(placement, str) else "",
            odd if isinstance(odd, dict) else {},
        )

    def _stated(self, name: str) -> dict[str, Any]:
        """Return what is stored beside an array; empty if it is missing or damaged."""
        try:
            stated = json.loads(self.path(name).with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stated if isinstance(stated, dict) else {}

    def put(
        self,
        name: str,
        key: str,
        prediction: NDArray[np.float32],
        kept: KeptWith | None = None,
    ) -> None:
        """Store a prediction: first the array, then the file that proves it.

        Args:
            name: name of the prediction.
            key: key of everything that the prediction depends on.
            prediction: (h, w).
            kept: facts to store with it.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        path = self.path(name)
        write_npy(path, prediction)
        proof: dict[str, Any] = {"key": key, "sha256": sha256_of(path)}
        proof |= {what: value for what, value in asdict(kept or KeptWith()).items() if value}
        write_json(path.with_suffix(".json"), proof)

    def path(self, name: str) -> Path:
        """Return the path of the array of this name.

        Characters that are unsafe in file names are escaped. A name that is too long is cut and
        ends in its hash. The path therefore stays in `folder` and is unique.
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
