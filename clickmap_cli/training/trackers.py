"""Where the history of a training goes: always a table, and services for those who use them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clickmap_cli.runtime.errors import MissingExtraError
from clickmap_cli.storage.atomic import write_csv

Row = Mapping[str, Any]


class Tracker(Protocol):
    """Takes the rows of a history."""

    def begin(self, history: Sequence[Row]) -> None:
        """A training begins, or goes on after these rows."""

    def log(self, row: Row) -> None:
        """A row of the history is there."""

    def end(self) -> None:
        """The training is done, or has stopped."""


class CsvTracker:
    """`history.csv`: whole rows only; a resumed run first cuts it back to where it goes on.

    Args:
        path: the table.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Row] = []

    def begin(self, history: Sequence[Row]) -> None:
        """Write the rows that stand."""
        self._rows = list(history)
        self._write()

    def log(self, row: Row) -> None:
        """Add a row."""
        self._rows.append(row)
        self._write()

    def end(self) -> None:
        """Nothing is open."""

    def _write(self) -> None:
        if self._rows:
            header = list(self._rows[0])
            write_csv(self._path, header, ([row[name] for name in header] for row in self._rows))


class TensorBoardTracker:
    """TensorBoard's event files.

    Args:
        folder: where they go.

    Raises:
        MissingExtraError: the package is not installed.

    Reference: TensorBoard, Abadi et al. (2016).
    """

    def __init__(self, folder: Path) -> None:
        need_tensorboard()
        self._folder = folder
        self._writer: Any = None

    def begin(self, history: Sequence[Row]) -> None:
        """Open; what an interrupted run wrote beyond this history no longer counts."""
        from torch.utils.tensorboard import SummaryWriter

        first = _place(history[-1]) + 1 if history else 1
        self._writer = SummaryWriter(str(self._folder), purge_step=first)

    def log(self, row: Row) -> None:
        """Every number of the row, at its epoch, or at its step where the history counts steps."""
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, _place(row))
        self._writer.flush()

    def end(self) -> None:
        """Close."""
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True)
class WandbRun:
    """What Weights & Biases is told of a run; see the keys of `wandb`."""

    name: str
    group: str
    folder: Path
    mode: str
    project: str | None = None
    entity: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None


class WandbTracker:
    """A run of Weights & Biases.

    Args:
        about: what it is told.

    Raises:
        MissingExtraError: the package is not installed.

    Reference: Weights & Biases, Biewald (2020).
    """

    def __init__(self, about: WandbRun) -> None:
        need_wandb()
        self._about = about
        self._run: Any = None

    def begin(self, history: Sequence[Row]) -> None:
        """Start a run, with the rows that an interrupted one has left."""
        about = self._about
        about.folder.mkdir(parents=True, exist_ok=True)
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:  # it is there, and broken
            raise MissingExtraError("wandb", "wandb.enabled: true") from error
        self._run = wandb.init(
            name=about.name, group=about.group, dir=str(about.folder), mode=about.mode,
            project=about.project, entity=about.entity, notes=about.notes, tags=list(about.tags),
            config=dict(about.config or {}),
        )  # fmt: skip
        for row in history:
            self.log(row)

    def log(self, row: Row) -> None:
        """Every number of the row, at its epoch, or at its step where the history counts steps."""
        self._run.log(_numbers(row), step=_place(row))

    def end(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()


def need_tensorboard() -> None:
    """Raise MissingExtraError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError("tensorboard", "tensorboard: true")


def need_wandb() -> None:
    """Raise MissingExtraError where Weights & Biases is not installed."""
    if importlib.util.find_spec("wandb") is None:
        raise MissingExtraError("wandb", "wandb.enabled: true")


def _place(row: Row) -> int:
    """The step of a row, or its epoch where the history has a row for each epoch alone."""
    return int(row.get("step", row["epoch"]))


def _numbers(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float)}
