"""Maps that somebody's own program has written, one file an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.files import IMAGE_SUFFIXES, file_digest, grey_values
from clickmap_cli.models.base import Output, SaliencyModel
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.safe_arrays import read_npy
from clickmap_cli.storage.safe_mat import read_mat

_ENDINGS = (".npy", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".mat")


class Precomputed(SaliencyModel):
    """Reads `<root>/<image_id>` with any of the endings .npy, .png, .jpg, .tif, .bmp or .mat.

    Args:
        root: the folder.
        output: what the files hold: map, density or log_density.
        variable: name of the array in `.mat` files; None = the only array there is.
    """

    of_file = True
    needs_image = False
    run_only = SaliencyModel.run_only | {"root"}  # each file's content counts, not its path

    def __init__(self, root: str, output: Output = "map", variable: str | None = None) -> None:
        self._root = Path(root)
        self.output = output_setting(output, "precomputed")
        self._variable = variable
        if not self._root.is_dir():
            raise DataError(f"precomputed: root {root} is no folder (looked from {Path.cwd()}).")

    def depends_on(self, stimulus: Stimulus) -> str:
        """The map's file."""
        return file_digest(self._file(stimulus))

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """The map as it is in the file; pictures as grey values."""
        path = self._file(stimulus)
        if path.suffix == ".npy":
            values = read_npy(path)
        elif path.suffix == ".mat":
            values = self._from_mat(path)
        else:
            return grey_values(path).astype(np.float32)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            raise DataError(f"{path}: holds no array of numbers.")
        return np.squeeze(values)

    def _file(self, stimulus: Stimulus) -> Path:
        # ids of clickmaps end like their images do; a map's name may do without
        stems = [stimulus.image_id]
        if Path(stimulus.image_id).suffix.lower() in IMAGE_SUFFIXES:
            stems.append(Path(stimulus.image_id).stem)
        for stem in stems:
            for ending in _ENDINGS:
                path = self._root / f"{stem}{ending}"
                if path.is_file():
                    return path
        raise DataError(f"{self._root}: no map of {stimulus.image_id} ({', '.join(_ENDINGS)}).")

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


def output_setting(value: str, what: str) -> Output:
    """What a model's maps are, as a config says it.

    Raises:
        ConfigError: it is no kind of output.
    """
    for known in ("map", "density", "log_density"):
        if value == known:
            return known
    raise ConfigError(f"{what}: output is {value!r}; it must be map, density or log_density.")
