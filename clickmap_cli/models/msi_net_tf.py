"""MSI-Net as its authors publish it: a TensorFlow SavedModel."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import SaliencyModel
from clickmap_cli.models.msi_net import SALICON_SIZE, frame_of, input_size
from clickmap_cli.runtime.errors import ConfigError, DataError, MissingExtraError
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_arrays import short_reason


class MsiNetTensorFlow(SaliencyModel):
    """Runs a SavedModel that takes (1, h, w, 3) RGB in 0..255 and returns one map.

    Such a folder is a program, not only numbers: run those of people you trust. TensorFlow chooses
    its own device.

    Args:
        weights_path: the folder with `saved_model.pb`.
        requires_size: (height, width) of the input, multiples of 8; None = each image's own.
        pad: keep the aspect ratio and pad with grey (126), which the map loses again; otherwise
            the image is stretched.
    """

    run_only = SaliencyModel.run_only | {"weights_path"}  # its content counts, not its path

    def __init__(
        self,
        weights_path: str,
        requires_size: Sequence[int] | None = SALICON_SIZE,
        pad: bool = True,
    ) -> None:
        if importlib.util.find_spec("tensorflow") is None:
            raise MissingExtraError("tensorflow", "the model 'msi_net_tf'")
        if not weights_path:
            raise ConfigError("msi_net_tf: set weights_path, the folder of the SavedModel.")
        self._path = Path(weights_path)
        if not (self._path / "saved_model.pb").is_file():
            raise DataError(
                f"msi_net_tf: no SavedModel at {self._path} (looked from {Path.cwd()}); it is a "
                "folder with saved_model.pb."
            )
        self._size = input_size(requires_size, "msi_net_tf")
        self._pad = pad
        self._signature: Any = None
        self._input_name = ""

    def weights_digest(self) -> str:
        """SHA-256 over the names and the content of the folder's files."""
        digest = hashlib.sha256()
        for path in sorted(self._path.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(self._path).as_posix()}\n".encode())
                digest.update(f"{sha256_of(path)}\n".encode())
        return digest.hexdigest()

    def prepare(self) -> None:
        """Load the SavedModel.

        Raises:
            DataError: it cannot be loaded, or does not take one image.
        """
        tensorflow = importlib.import_module("tensorflow")
        try:
            signature = tensorflow.saved_model.load(str(self._path)).signatures["serving_default"]
            names = sorted(signature.structured_input_signature[1])
        except Exception as error:
            # tensorflow raises many types here; each means the same: no such network in the folder
            raise DataError(
                f"{self._path}: not a SavedModel with the signature serving_default "
                f"({short_reason(error)})."
            ) from error
        if len(names) != 1:
            raise DataError(f"{self._path}: the network takes {names}; it must take one image.")
        self._signature, self._input_name = signature, names[0]

    def release(self) -> None:
        """Let go of the network."""
        self._signature = None

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """(h, w) the map, without padding.

        Raises:
            DataError: the network does not return one map of its input's size.
        """
        if self._signature is None:
            self.prepare()
        frame = frame_of(stimulus.size, self._size, self._pad)
        planes = frame.placed(np.moveaxis(stimulus.image(), -1, 0)) * np.float32(255)
        tensorflow = importlib.import_module("tensorflow")
        image = tensorflow.constant(np.ascontiguousarray(np.moveaxis(planes, 0, -1)[None]))
        outputs = self._signature(**{self._input_name: image})
        if len(outputs) != 1:
            raise DataError(f"{self._path}: the network returns {sorted(outputs)}, not one map.")
        values = np.asarray(next(iter(outputs.values())).numpy())
        if values.shape not in ((1, *frame.whole, 1), (1, *frame.whole), (1, 1, *frame.whole)):
            raise DataError(
                f"{self._path}: the network returns the shape {values.shape} for an input of "
                f"{list(frame.whole)}; it must be one map of that size."
            )
        return frame.cropped(values.reshape(frame.whole))
