"""Maps that another program has written, one file per image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.fields import Key
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.files import file_digest
from clickmap_cli.datasets.maps import CHANNELS, IMAGE_SUFFIXES, map_values, transposed_words
from clickmap_cli.models.base import Output, SaliencyModel
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import read_npy
from clickmap_cli.storage.safe_mat import read_mat

ENDINGS = (".npy", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".mat")


class Precomputed(SaliencyModel):
    """Reads `<root>/<image_id>` with any of the endings .npy, .png, .jpg, .tif, .bmp or .mat.

    Args:
        root: the folder.
        output: kind of map in the files: map, density or log_density.
        variable: name of the array in `.mat` files; None = the only array there is.
        channel: channel of a picture to read: grey, red, green, blue or alpha; None = grey values,
            and pictures in colour or with varying transparency are refused.
    """

    of_file = True
    needs_image = False
    run_only = SaliencyModel.run_only | {"root"}  # the key has each file's content, not its path

    def __init__(
        self,
        root: str,
        output: Output = "map",
        variable: str | None = None,
        channel: Annotated[str | None, Key(choices=tuple(CHANNELS))] = None,
    ) -> None:
        self.root = Path(root)
        self.output = output
        self._variable = variable
        self._channel = channel
        if not self.root.is_dir():
            raise DataError(f"precomputed: root {root} is not a folder (looked from {Path.cwd()}).")

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return the digest of the map's file."""
        return file_digest(self._file(stimulus))

    def origin(self, stimulus: Stimulus) -> str:
        """Return the map's file."""
        return str(self._file(stimulus))

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return the map as it is in the file; for a picture, the configured channel.

        Raises:
            DataError: the file is missing, cannot be read, does not hold a map, or the map looks
                transposed.
        """
        path = self._file(stimulus)
        values = self._read(path)
        turned = transposed_words(values.shape, stimulus.size) if values.ndim == 2 else None
        if turned:
            raise DataError(f"{path}: {turned}.")
        return values

    def _read(self, path: Path) -> NDArray[Any]:
        if path.suffix == ".npy":
            values = read_npy(path)
        elif path.suffix == ".mat":
            values = self._from_mat(path)
        else:
            return map_values(path, self._channel, settable=True).astype(np.float32)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            raise DataError(f"{path}: holds no array of numbers.")
        return np.squeeze(values)

    def find(self, stimulus: Stimulus) -> Path | None:
        """Return the map's file, or None if it does not exist."""
        # ids of clickmaps include the image's ending, which a map's name may leave out
        stems = [stimulus.image_id]
        if Path(stimulus.image_id).suffix.lower() in IMAGE_SUFFIXES:
            stems.append(Path(stimulus.image_id).stem)
        for stem in stems:
            for ending in ENDINGS:
                path = self.root / f"{stem}{ending}"
                if path.is_file():
                    return path
        return None

    def _file(self, stimulus: Stimulus) -> Path:
        path = self.find(stimulus)
        if path is None:
            raise DataError(f"{self.root}: no map of {stimulus.image_id} ({', '.join(ENDINGS)}).")
        return path

    def _from_mat(self, path: Path) -> Any:
        arrays = {
            name: value
            for name, value in read_mat(path).items()
            if isinstance(value, np.ndarray) and value.ndim >= 2 and value.dtype.kind in "fiub"
        }
        if self._variable is not None:
            if self._variable not in arrays:
                raise DataError(f"{path}: no array {self._variable}; found {sorted(arrays)}.")
            return arrays[self._variable]
        if len(arrays) != 1:
            raise DataError(f"{path}: holds {sorted(arrays)}; name one with variable.")
        return next(iter(arrays.values()))
