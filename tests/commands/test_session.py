"""Errors of the system at the command line: a sentence that names the file."""

from __future__ import annotations

import pytest
import typer

from clickmap_cli.commands.session import run_session


def test_what_the_system_refuses_is_a_sentence_with_the_file(tmp_path, capsys) -> None:
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "gone", "No such file or directory"),
    ):

        def body(terminal) -> int:
            return len(path.read_bytes())  # noqa: B023 - called at once

        with pytest.raises(typer.Exit) as ended:
            run_session(body, quiet=True, verbose=False)
        assert ended.value.exit_code == 1
        assert capsys.readouterr().err == f"error {path} cannot be used ({reason}).\n"
