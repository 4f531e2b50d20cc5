"""A command that says what an option it does not have was most likely meant to be."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A Typer command; keys of configurations and other commands' options are told apart."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever, and with a hint where an option is not known."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Typer brings its own Click or takes the installed one, so the class has two homes
            option = getattr(error, "option_name", None)
            if type(error).__name__ == "NoSuchOption" and option:
                hint = _hint(ctx, option)
                if hint:
                    vars(error).update(
                        message=f"No such option: {option}. {hint}", possibilities=[]
                    )
            raise


def _hint(ctx: Any, option: str) -> str:
    """What the option is instead; empty where it is nothing known."""
    from clickmap_cli.config.loading import ALL_SCHEMAS

    commands = getattr(ctx.find_root().command, "commands", {})
    having = [
        name
        for name, command in commands.items()
        if any(option in (*each.opts, *each.secondary_opts) for each in command.params)
    ]
    if having:
        return f"It belongs to clickmap {' and '.join(having)}."
    key = option.lstrip("-").replace("-", "_")
    if any(schema.knows(key) for schema in ALL_SCHEMAS):
        return f"{key} is a key of the configuration: type {key}=..., without dashes."
    return ""
