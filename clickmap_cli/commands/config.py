"""`clickmap config list|copy|show|check|update`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands import completion
from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session
from clickmap_cli.reports.console import Terminal

app = typer.Typer(no_args_is_help=True)
_SAYS_MORE = o.chapter("The configuration", "Every key")

Files = Annotated[
    list[Path],
    typer.Argument(help="YAML files.", autocompletion=completion.configuration_files),
]


@app.callback(epilog=_SAYS_MORE)
def group() -> None:
    """List, copy, show, check and update configuration files.

    Example: clickmap config copy benchmark_folder
    """


@app.command("list", epilog=_SAYS_MORE)
def list_shipped(
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """List the configurations that come with clickmap, and the command that runs each.

    Example: clickmap config list
    """

    def body(_: Terminal) -> int:
        from clickmap_cli.config.loading import schema_of
        from clickmap_cli.config.shipped import shipped_files
        from clickmap_cli.reports.config import shipped_lines
        from clickmap_cli.reports.console import print_json, print_line

        rows = [
            {
                "name": file.name,
                "command": schema_of(file.path).command if file.path.suffix == ".yaml" else None,
                "about": file.about,
            }
            for file in shipped_files()
        ]
        if json:
            print_json(rows)
        else:
            for line in shipped_lines(rows):
                print_line(line)
        return 0

    run_session(body, quiet=quiet, verbose=verbose)


@app.command(epilog=_SAYS_MORE)
def copy(
    name: Annotated[
        str,
        typer.Argument(
            help="One of `clickmap config list`.", autocompletion=completion.shipped_names
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A folder, or a file; else configs/.", rich_help_panel=o.INPUT
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=o.RUN)
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Copy a configuration that comes with clickmap, and the files it uses, to edit the copy.

    Example: clickmap config copy benchmark_plugin --output mine
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.shipped import copies
        from clickmap_cli.reports.config import copied_line
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.runtime.errors import ConfigError
        from clickmap_cli.storage.atomic import write_bytes

        texts = copies(name, output)
        for path, text in texts.items():
            there = path.read_bytes() if path.is_file() else None
            if path.exists() and there != text.encode() and not overwrite:
                raise ConfigError(
                    f"{path} is there already and is another; --overwrite replaces it, --output "
                    "names another place."
                )
        for path, text in texts.items():
            write_bytes(path, text.encode())
        terminal.show(copied_line(list(texts)))
        if json:
            print_json({"files": [str(path) for path in texts]})
        return 0

    run_session(body, quiet=quiet, verbose=verbose)


@app.command(epilog=_SAYS_MORE)
def show(
    overrides: o.Overrides = None,
    config: o.AnyFile = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Print the resolved configuration and where each value came from.

    Example: clickmap config show --config clickmap_demo/demo.yaml blur_size=15
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import load_any
        from clickmap_cli.reports.config import config_json, config_yaml
        from clickmap_cli.reports.console import print_json, print_line

        loaded = load_any(config, overrides or ())
        if json:
            print_json(config_json(loaded))
        else:
            for text in loaded.notices:
                terminal.notice(text)
            print_line(config_yaml(loaded))
        return 0

    run_session(body, quiet=quiet, verbose=verbose)


@app.command(epilog=_SAYS_MORE)
def check(
    files: Files,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Check configuration files without running anything or reading data.

    Exit 2: a file is wrong. 1: a plugin or a list of image ids that a file names is missing.

    Example: clickmap config check clickmap_demo/demo.yaml clickmap_demo/benchmark.yaml
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import load_any
        from clickmap_cli.reports.console import print_line
        from clickmap_cli.runtime.errors import ClickmapError
        from clickmap_cli.runtime.progress import Findings
        from clickmap_cli.services.any_job import job_for

        code = 0
        for file in files:
            found = Findings()
            try:
                loaded = load_any(file)
                notices = (*loaded.notices, *job_for(loaded.config).check(found))
            except ClickmapError as error:
                found.add(error)
            for text in found.problems:
                terminal.error(text)
            for text in () if found.problems else notices:
                terminal.notice(f"{file}: {text}")
            if not found.problems and not quiet:
                print_line(f"{file}: ok")
            code = max(code, found.exit_code)
        return code

    run_session(body, quiet=quiet, verbose=verbose)


@app.command(epilog=_SAYS_MORE)
def update(
    files: Files,
    keys: Annotated[
        str | None,
        typer.Option("--keys", help="Only these keys, separated by commas.", rich_help_panel=o.JOB),
    ] = None,
    dry_run: o.DryUpdate = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Add missing keys with their defaults; comments, order and layout do not change.

    Example: clickmap config update clickmap_demo/demo.yaml --keys seed,bootstrap --dry-run
    """

    def body(_: Terminal) -> int:
        from clickmap_cli.config.loading import missing_keys, updated_text
        from clickmap_cli.reports.console import print_line
        from clickmap_cli.storage.atomic import write_bytes

        wanted = [word.strip() for word in (keys or "").split(",") if word.strip()]
        missing = [missing_keys(file, wanted) for file in files]
        texts = [updated_text(file, names) for file, names in zip(files, missing, strict=True)]
        # check that every file can be updated before the first one is written
        for file, names, text in zip(files, missing, texts, strict=True):
            if names and not dry_run:
                write_bytes(file, text.encode())
            added = ", ".join(names) or "nothing; every key is there"
            print_line(f"{file}: {'would add' if dry_run and names else 'added'} {added}")
        return 0

    run_session(body, quiet=quiet, verbose=verbose)
