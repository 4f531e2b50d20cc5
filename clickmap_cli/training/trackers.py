"""Trackers of a training's history: always a table, and optionally external services."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from clickmap_cli.runtime.errors import MissingExtraError, require_extra
from clickmap_cli.storage.atomic import write_csv

Row = Mapping[str, Any]


class Tracker(Protocol):
    """Interface of a receiver of a history's rows."""

    def begin(self, history: Sequence[Row]) -> None:
        """Start a training, or resume one after these rows."""

    def log(self, row: Row) -> None:
        """Add a row of the history."""

    def end(self) -> None:
        """Finish, because the training is done or has stopped."""


class CsvTracker:
    """The table `history.csv`, which always holds whole rows.

    A resumed training first cuts it back to the rows it resumes from.

    Args:
        path: the table.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Row] = []

    def begin(self, history: Sequence[Row]) -> None:
        """Write the rows so far."""
        self._rows = list(history)
        self._write()

    def log(self, row: Row) -> None:
        """Add a row."""
        self._rows.append(row)
        self._write()

    def end(self) -> None:
        """Do nothing, because no file is open."""

    def _write(self) -> None:
        if self._rows:
            header = list(self._rows[0])
            write_csv(self._path, header, ([row[name] for name in header] for row in self._rows))


class TensorBoardTracker:
    """TensorBoard's event files.

    Args:
        folder: folder of the files.

    Raises:
        MissingExtraError: the package is not installed.

    Reference: TensorBoard, Abadi et al. (2016).
    """

    def __init__(self, folder: Path) -> None:
        require_trackers(tensorboard=True, wandb=False)
        self._folder = folder
        self._writer: Any = None

    def begin(self, history: Sequence[Row]) -> None:
        """Open the files; later rows of an interrupted training are discarded."""
        from torch.utils.tensorboard import SummaryWriter

        first = _place(history[-1]) + 1 if history else 1
        self._writer = SummaryWriter(str(self._folder), purge_step=first)

    def log(self, row: Row) -> None:
        """Write every number of the row at its step, or at its epoch if the row has no step."""
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, _place(row))
        self._writer.flush()

    def end(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()


class WandbTracker:
    """A run of Weights & Biases.

    Args:
        folder: folder of its files.
        settings: arguments of `wandb.init`.

    Raises:
        MissingExtraError: the package is not installed.

    Reference: Weights & Biases, Biewald (2020).
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        require_trackers(tensorboard=False, wandb=True)
        self._folder = folder
        self._settings = settings
        self._run: Any = None

    def begin(self, history: Sequence[Row]) -> None:
        """Start a run, and send it the rows of the interrupted training."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:  # it is installed but broken
            raise MissingExtraError("wandb", "wandb.enabled: true") from error
        self._run = wandb.init(dir=str(self._folder), **self._settings)
        for row in history:
            self.log(row)

    def log(self, row: Row) -> None:
        """Send every number of the row at its step, or at its epoch if the row has no step."""
        self._run.log(_numbers(row), step=_place(row))

    def end(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()


def require_trackers(*, tensorboard: bool, wandb: bool) -> None:
    """Raise MissingExtraError unless the packages of the requested services are installed."""
    if tensorboard:
        require_extra("tensorboard", "tensorboard: true")
    if wandb:
        require_extra("wandb", "wandb.enabled: true")


def _place(row: Row) -> int:
    """Return the step of a row, or its epoch if the history has no steps."""
    return int(row.get("step", row["epoch"]))


def _numbers(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float)}
