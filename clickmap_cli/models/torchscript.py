"""A network that comes as one file: scripted, traced or exported by its authors."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.config.fields import Channels, Count, OptionalSize
from clickmap_cli.models.base import Output
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import ConfigError, DataError, short_reason
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_arrays import known_format


class TorchScript(TorchSaliencyModel):
    """Runs a `torch.jit` file (.pt) or a `torch.export` file (.pt2).

    The network takes (n, 3, h, w) RGB and returns (n, h, w) or (n, 1, h, w). Such a file is a
    program, not only numbers: run only those of people you trust. An exported network must have
    been in evaluation mode.

    Args:
        weights_path: the file.
        requires_size: (height, width) that the network requires; None = each image's own.
        output: kind of the network's output: map, density or log_density.
        mean: values subtracted from RGB in 0..1; None = ImageNet's, [0, 0, 0] for none.
        std: values the result is divided by; None = ImageNet's, [1, 1, 1] for none.
        device: auto, cpu, cuda or mps.
        batch_size: number of images of one size that are predicted together.
    """

    run_only = TorchSaliencyModel.run_only | {"weights_path"}  # the digest has its content

    def __init__(
        self,
        weights_path: str,
        requires_size: OptionalSize = None,
        output: Output = "map",
        mean: Channels = None,
        std: Channels = None,
        device: str = "auto",
        batch_size: Count = 1,
    ) -> None:
        super().__init__(device, requires_size, batch_size, "float32", mean, std)
        self.output = output
        if not weights_path:
            raise ConfigError("torchscript: set weights_path, the file with the network.")
        self._path = Path(weights_path)
        if not self._path.is_file():
            raise DataError(f"torchscript: no file at {self._path} (looked from {Path.cwd()}).")

    def weights_digest(self) -> str:
        """Return the file's SHA-256."""
        return sha256_of(self._path)

    def build(self) -> torch.nn.Module:
        """Load the network from the file."""
        logged = logging.root.manager.disable
        logging.disable(logging.WARNING)  # the error below reports the same
        try:
            if self._path.suffix == ".pt2":
                _require_safe_pickles(self._path)
                return self._move_to_device(torch.export.load(self._path)).module()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated
                return torch.jit.load(self._path, map_location="cpu")
        except Exception as error:
            # torch raises many types here; all mean that the file holds no such network
            reason = known_format(self._path) or short_reason(error)
            raise DataError(
                f"{self._path}: not a scripted or exported network ({reason})."
            ) from error
        finally:
            logging.disable(logged)

    def _move_to_device(self, program: Any) -> Any:
        """Move a program to the device, including tensors that it creates on a fixed device."""
        passes = importlib.import_module("torch.export.passes")
        if self._on in ("", "cpu") or not hasattr(passes, "move_to_device_pass"):
            return program
        return passes.move_to_device_pass(program, self._on)

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return the network's maps, without the channel axis."""
        maps = network(images)
        if not isinstance(maps, torch.Tensor) or maps.ndim not in (3, 4):
            raise DataError(f"{self._path}: the network does not return one map an image.")
        if maps.ndim == 4 and maps.shape[1] != 1:
            raise DataError(f"{self._path}: the network returns {maps.shape[1]} maps an image.")
        return maps[:, 0] if maps.ndim == 4 else maps


def _require_safe_pickles(path: Path) -> None:
    """Raise unless all pickles in an exported program's archive are safe to load.

    torch loads such pickles without checking them.

    Raises:
        UnpicklingError: a pickle holds anything but tensors and plain values.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            pickled = data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and data[-1:] == b"."
            if data[:4] == b"PK\x03\x04" or pickled:
                torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
