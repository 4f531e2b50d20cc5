"""`clickmap config show|check|update`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session
from clickmap_cli.reports.console import Terminal

app = typer.Typer(no_args_is_help=True, help="Show, check and update configuration files.")


@app.command()
def show(
    overrides: o.Overrides = None,
    config: o.ConfigFile = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Print the resolved configuration and where each value came from.

    Example: clickmap config show --config configs/osie_mouse.yaml blur_size=15
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


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="YAML files.")],
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Check configuration files without running anything; exit 2 when one is wrong.

    Example: clickmap config check configs/*.yaml
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.benchmark import BenchmarkConfig
        from clickmap_cli.config.finetune import FinetuneConfig
        from clickmap_cli.config.loading import load_any
        from clickmap_cli.reports.console import print_line
        from clickmap_cli.runtime.errors import ConfigError
        from clickmap_cli.services import benchmark, finetune

        code = 0
        for file in files:
            try:
                loaded = load_any(file)
                if isinstance(loaded.config, BenchmarkConfig):
                    benchmark.check(loaded.config)
                elif isinstance(loaded.config, FinetuneConfig):
                    finetune.check(loaded.config)
            except ConfigError as error:
                terminal.error(str(error))
                code = ConfigError.exit_code
                continue
            for text in loaded.notices:
                terminal.notice(f"{file}: {text}")
            if not quiet:
                print_line(f"{file}: ok")
        return code

    run_session(body, quiet=quiet, verbose=verbose)


@app.command()
def update(
    files: Annotated[list[Path], typer.Argument(help="YAML files.")],
    keys: Annotated[
        str | None, typer.Option("--keys", help="Only these keys, separated by commas.")
    ] = None,
    dry_run: o.DryRun = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Add missing keys at their defaults; comments, order and layout stay as they are.

    Example: clickmap config update old.yaml --keys gpu_batch_size,correlation_batch_size
    """

    def body(_: Terminal) -> int:
        from clickmap_cli.config.updating import missing_keys, updated_text
        from clickmap_cli.reports.console import print_line
        from clickmap_cli.storage.atomic import write_bytes

        wanted = [word.strip() for word in (keys or "").split(",") if word.strip()]
        for file in files:
            names = missing_keys(file, wanted)
            text = updated_text(file, names)
            if names and not dry_run:
                write_bytes(file, text.encode())
            added = ", ".join(names) or "nothing; every key is there"
            print_line(f"{file}: {'would add' if dry_run and names else 'added'} {added}")
        return 0

    run_session(body, quiet=quiet, verbose=verbose)
