from __future__ import annotations

from clickmap_cli.reports.console import Terminal


def test_a_terminal_is_given_no_orders(capsys) -> None:
    terminal = Terminal()
    evil = "\x1b[2J\x07\ud800[red]x"
    with terminal:
        terminal.stage("reading", 2)
        terminal.describe(evil)
        for say in (terminal.notice, terminal.warn, terminal.error):
            say(evil)
    told = capsys.readouterr().err
    assert told.count(r"\x1b[2J\x07\ud800[red]x") == 3
    assert "\x1b[2J" not in told
    assert "\x07" not in told
