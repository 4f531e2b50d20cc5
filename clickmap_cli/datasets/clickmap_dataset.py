"""Prepared clickmaps as a PyTorch data set, for training models on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import load_prepare
from clickmap_cli.clickmaps.trials import TRIALS_FILE, load_trials
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.map_store import KINDS, MapStore
from clickmap_cli.storage.safe_images import read_image

Item = tuple[torch.Tensor, torch.Tensor, int, str]


class ClickmapDataset(Dataset[Item]):
    """The images of a folder written by `prepare`, each with its map, category and key.

    An item is (image, map, category, key): image float32 (3, h, w) in 0..1, on the map's pixels;
    map float32 (n, h, w); category an index into `categories`; key a string. Each worker of a
    `DataLoader` opens the files itself.

    Args:
        folder: folder of an experiment, with maps in any of the three formats.
        image_dir: folder of the images; None for the one in the folder's manifest.
        kind: `clickmap`, `participants` or `bin_clickmaps`.

    Raises:
        DataError: the folder was not written by `prepare`, or, on access, an image is missing.
        ValueError: `kind` is not one of the three.
    """

    def __init__(
        self, folder: str | Path, image_dir: str | Path | None = None, kind: str = "clickmap"
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
        self.folder = Path(folder)
        self.kind = kind
        _, config = load_prepare(self.folder)
        self.image_dir = Path(image_dir if image_dir is not None else config.image_dir or ".")
        trials = load_trials(self.folder / TRIALS_FILE)
        self.keys: list[str] = trials.images.tolist()
        self.categories: list[str] = trials.categories.tolist()
        self._category = trials.category
        self._shape = trials.shape
        self._settings = MapSettings.from_config(config)
        self._store: MapStore | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Item:
        key = self.keys[index]
        file = image_file(self.image_dir, key)
        if file is None:
            raise DataError(f"{key}: not in image_dir {self.image_dir}.")
        pixels = self.geometry(index).fit(read_image(file) / np.float32(255), file)
        if self._store is None:
            self._store = MapStore(self.folder)
        heat = self._store.read(flat_name(key), self.kind)
        return (
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0))),
            torch.from_numpy(np.array(heat)),
            int(self._category[index]),
            key,
        )

    def __getstate__(self) -> dict[str, Any]:
        # an open archive cannot be sent to a worker process
        return {**self.__dict__, "_store": None}

    def geometry(self, index: int) -> Geometry:
        """Return the geometry that brings an image onto its map's pixels."""
        height, width = (int(side) for side in self._shape[index])
        return self._settings.geometry((height, width))
