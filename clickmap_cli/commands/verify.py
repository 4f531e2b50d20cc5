"""`clickmap verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.services.verify import Verification

_NO_MANIFEST = 2


def verify(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER", help="Folders that a command wrote, or above such."),
    ],
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Check every output against its manifest, in folders and all below them; change nothing.

    Exit 0: every output is intact. 1: one is missing, changed or unfinished. 2: no manifest found.

    Example: clickmap verify assets/osie_mouse results
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.reports import verify as report
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.services import verify as service

        verified = service.run(folders, terminal)
        for found in verified:
            if found.manifests:
                terminal.show(report.table(found))
            for line in report.note_lines(found):
                terminal.notice(line)
            for line in report.unfinished_lines(found):
                terminal.warn(line)
            for line in report.damage_lines(found):
                terminal.error(line)
            if found.damaged or not found.manifests:
                terminal.error(report.verdict(found))
            else:
                terminal.show(report.verdict(found))
        code = _exit_code(verified)
        if json:
            print_json(report.as_json(verified, code))
        return code

    run_session(body, quiet=quiet, verbose=verbose, resume_hint="Run it again.")


def _exit_code(verified: tuple[Verification, ...]) -> int:
    if any(found.damaged for found in verified):
        return 1
    return 0 if all(found.manifests for found in verified) else _NO_MANIFEST
