"""What a data set loses on its way in, and when that is too much to go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clickmap_cli.config.fields import MAX_LOST
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress


@dataclass(frozen=True)
class Loss:
    """Things of one kind that were dropped or could not be used.

    Attributes:
        lost: how many.
        total: of how many.
        what: what they are and what is wrong with them: `clicks lie outside their image`.
        cause: the likeliest cause with its evidence, in sentences; empty where nothing is known.
    """

    lost: int
    total: int
    what: str
    cause: str = ""

    @property
    def share(self) -> float:
        """0 to 1; 0 where there was nothing to lose."""
        return self.lost / self.total if self.total else 0.0

    def __str__(self) -> str:
        percent = f"{100 * self.share:.0f}%" if self.share >= 0.01 else "under 1%"
        return f"{self.lost:,} of {self.total:,} {self.what} ({percent})."


def check_losses(
    losses: Iterable[Loss],
    max_lost: float,
    progress: Progress,
    where: str = "",
    least: float = 0.0,
) -> None:
    """Stop a run that has lost too much, and say what else was lost.

    Args:
        losses: of one data set.
        max_lost: the share that may be lost, 0 to 1.
        progress: told of smaller losses; of those above 0.25 at the end once more.
        where: the data set, for messages.
        least: the share up to which the caller says it elsewhere (in the funnel).

    Raises:
        DataError: more than `max_lost` of something is lost.
    """
    said = f"{where}: " if where else ""
    known = [loss for loss in losses if loss.lost]
    fatal = [loss for loss in known if loss.share > max_lost]
    if fatal:
        worst = max(fatal, key=lambda loss: loss.share)
        cause = f" {worst.cause}" if worst.cause else ""
        raise DataError(
            f"{said}{worst}{cause} Results of what is left would mislead, so none are computed; "
            f"mend it, or raise max_lost (now {max_lost:g}) to go on without."
        )
    for loss in known:
        if loss.share <= least:
            continue
        cause = f" {loss.cause}" if loss.cause else ""
        progress.notice(f"{said}{loss}{cause}", again=loss.share > MAX_LOST)
