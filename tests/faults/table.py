"""Every fault so many times, and what it cost.

Run it with: python -m tests.faults.table --tries 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults import clock, damage, disk, inputs, rivals
from tests.faults.lab import Fault, Tally, tally
from tests.faults.study import Study


def all_faults() -> list[Fault]:
    """Every fault, in the order of the table."""
    return [*disk.FAULTS, *inputs.FAULTS, *damage.FAULTS, *rivals.FAULTS, *clock.FAULTS]


def chosen(only: Sequence[str]) -> list[Fault]:
    """Faults whose names have one of these parts; all where none is given."""
    return [fault for fault in all_faults() if not only or any(part in fault.name for part in only)]


def line(found: Tally) -> str:
    """One row of the table."""
    if found.skipped:
        return f"{found.fault}: skipped, {found.skipped}"
    late = f" ({found.too_late} came too late)" if found.too_late else ""
    return f"{found.fault}: {found.tries} tries{late}, {len(found.lost)} lost or corrupted"


def main() -> None:
    """Print the table; exit 1 when anything was lost, or a fault never came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="parts of faults' names")
    given = parser.parse_args()
    disk.enter_private("tests.faults.table", sys.argv[1:])
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study = Study(root / "study")
        for fault in chosen(given.only):
            found = tally(fault, study, root, given.tries, given.seed)
            bad |= bool(found.lost) or not (found.skipped or found.tries >= given.tries)
            sys.stdout.write("\n  ".join([line(found), *found.lost]) + "\n")
            sys.stdout.flush()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
