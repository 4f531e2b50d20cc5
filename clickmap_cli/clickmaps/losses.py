"""Losses of a data set while it is read, and the check that they are not too large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clickmap_cli.config.fields import MAX_LOST
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress


@dataclass(frozen=True)
class Loss:
    """Items of one kind that were dropped or could not be used.

    Attributes:
        lost: number of lost items.
        total: number of all items.
        what: the items and their fault, such as `clicks lie outside their image`.
        cause: the likeliest cause with its evidence, in sentences; empty if no cause is known.
    """

    lost: int
    total: int
    what: str
    cause: str = ""

    @property
    def share(self) -> float:
        """Share of lost items, 0 to 1; 0 without any items."""
        return self.lost / self.total if self.total else 0.0

    def __str__(self) -> str:
        percent = f"{100 * self.share:.0f}%" if self.share >= 0.01 else "under 1%"
        return f"{self.lost:,} of {self.total:,} {self.what} ({percent})."


class TooMuchLostError(DataError):
    """More of a data set is lost than `max_lost` allows."""


def check_losses(
    losses: Iterable[Loss],
    max_lost: float,
    progress: Progress,
    where: str = "",
    least: float = 0.0,
) -> None:
    """Raise DataError if a loss is too large, and give notices about the smaller losses.

    Args:
        losses: losses of one data set.
        max_lost: largest share that may be lost, 0 to 1.
        progress: receives notices of smaller losses; those above 0.25 are repeated at the end.
        where: the data set, for messages.
        least: share up to which losses are not noticed, because the caller shows them elsewhere (in
            the funnel).

    Raises:
        DataError: the share of a loss is above `max_lost`.
    """
    said = f"{where}: " if where else ""
    known = [loss for loss in losses if loss.lost]
    fatal = [loss for loss in known if loss.share > max_lost]
    if fatal:
        worst = max(fatal, key=lambda loss: loss.share)
        cause = f" {worst.cause}" if worst.cause else ""
        raise TooMuchLostError(
            f"{said}{worst}{cause} Results of what is left would mislead, so none are computed; "
            f"correct the input, or raise max_lost (now {max_lost:g}) to go on with the rest."
        )
    for loss in known:
        if loss.share <= least:
            continue
        cause = f" {loss.cause}" if loss.cause else ""
        progress.notice(f"{said}{loss}{cause}", again=loss.share > MAX_LOST)
