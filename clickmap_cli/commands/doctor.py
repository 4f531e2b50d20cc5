"""`clickmap doctor`."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session
from clickmap_cli.reports.console import Terminal


def doctor(
    overrides: o.Overrides = None,
    config: o.AnyFile = None,
    output: o.Output = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Report what this machine and installation can do, and what in a config cannot work here.

    Exit 0: everything that was asked for can work here. 1: something cannot.

    Example: clickmap doctor --config configs/osie_mouse.yaml
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.reports import doctor as report
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.services.doctor import run as service

        place = None if output is None else Path(output)
        found = service.run(config, overrides or (), place, terminal)
        terminal.show(report.machine_table(found))
        terminal.show(report.extras_table(found))
        for text in found.notes:
            terminal.notice(text)
        for text in found.problems:
            terminal.error(text)
        terminal.show(report.verdict(found))
        if json:
            print_json(report.as_json(found))
        return 1 if found.problems else 0

    run_session(body, quiet=quiet, verbose=verbose, resume_hint="Run it again.")
