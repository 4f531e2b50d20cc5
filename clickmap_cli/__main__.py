"""`python -m clickmap_cli` and the `clickmap` command."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line; an interrupt before a command begins leaves quietly, too.

    SIGTERM, by which schedulers and `kill` end a run, interrupts it like Ctrl-C.
    """
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        from clickmap_cli.app import app

        # `python -m clickmap_cli` is called like the command, so that TAB and help say the same
        app(prog_name="clickmap")
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
