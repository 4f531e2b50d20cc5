"""A network that comes as one file: scripted, traced or exported by its authors."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.models.base import Output
from clickmap_cli.models.precomputed import output_setting
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_arrays import known_format, short_reason


class TorchScript(TorchSaliencyModel):
    """Runs a `torch.jit` file (.pt) or a `torch.export` file (.pt2).

    The network takes (n, 3, h, w) RGB and returns (n, h, w) or (n, 1, h, w). Such a file is a
    program, not only numbers: run those of people you trust. An exported one must have been in
    evaluation mode.

    Args:
        weights_path: the file.
        requires_size: (height, width) it wants; None = each image's own.
        output: what it returns: map, density or log_density.
        mean: subtracted from RGB in 0..1; ImageNet's where None, [0, 0, 0] for none.
        std: what that is divided by; [1, 1, 1] for none.
        device: auto, cpu, cuda or mps.
        batch_size: images of one size that are predicted together.
    """

    run_only = TorchSaliencyModel.run_only | {"weights_path"}  # its content counts, not its path

    def __init__(
        self,
        weights_path: str,
        requires_size: list[int] | None = None,
        output: Output = "map",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: str = "auto",
        batch_size: int = 1,
    ) -> None:
        super().__init__(device, requires_size, batch_size, "float32", mean, std)
        self.output = output_setting(output, "torchscript")
        if not weights_path:
            raise ConfigError("torchscript: set weights_path, the file with the network.")
        self._path = Path(weights_path)
        if not self._path.is_file():
            raise DataError(f"torchscript: no file at {self._path} (looked from {Path.cwd()}).")

    def weights_digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_of(self._path)

    def build(self) -> torch.nn.Module:
        """The network in the file."""
        logged = logging.root.manager.disable
        logging.disable(logging.WARNING)  # what torch says there, the error below says
        try:
            if self._path.suffix == ".pt2":
                _check_pickles(self._path)
                return self._moved(torch.export.load(self._path)).module()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # that such files are of the past
                return torch.jit.load(self._path, map_location="cpu")
        except Exception as error:
            # torch raises many types here; each means the same: no such network in the file
            reason = known_format(self._path) or short_reason(error)
            raise DataError(
                f"{self._path}: not a scripted or exported network ({reason})."
            ) from error
        finally:
            logging.disable(logged)

    def _moved(self, program: Any) -> Any:
        """The program for the device: one that makes tensors has its device written into it."""
        passes = importlib.import_module("torch.export.passes")
        if self._on in ("", "cpu") or not hasattr(passes, "move_to_device_pass"):
            return program
        return passes.move_to_device_pass(program, self._on)

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Its maps, without the axis of channels."""
        maps = network(images)
        if not isinstance(maps, torch.Tensor) or maps.ndim not in (3, 4):
            raise DataError(f"{self._path}: the network does not return one map an image.")
        if maps.ndim == 4 and maps.shape[1] != 1:
            raise DataError(f"{self._path}: the network returns {maps.shape[1]} maps an image.")
        return maps[:, 0] if maps.ndim == 4 else maps


def _check_pickles(path: Path) -> None:
    """An exported program's archive may hold pickles, which torch opens without asking.

    Raises:
        UnpicklingError: one of them holds anything but tensors and plain values.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            pickled = data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and data[-1:] == b"."
            if data[:4] == b"PK\x03\x04" or pickled:
                torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
