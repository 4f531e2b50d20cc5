"""`python -m clickmap_cli` and the `clickmap` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; an interrupt before a command begins leaves quietly, too."""
    try:
        from clickmap_cli.app import app

        # `python -m clickmap_cli` is called like the command, so that TAB and help say the same
        app(prog_name="clickmap")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
