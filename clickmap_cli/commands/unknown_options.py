"""A command whose error about an unknown option suggests the intended one."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A Typer command that recognises configuration keys and other commands' options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as Typer does, and add a hint to the error about an unknown option."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # the class is in Typer's own copy of Click or in the installed one, so compare its name
            option = getattr(error, "option_name", None)
            if type(error).__name__ == "NoSuchOption" and option:
                hint = _hint(ctx, option)
                if hint:
                    vars(error).update(
                        message=f"No such option: {option}. {hint}", possibilities=[]
                    )
            raise


def _hint(ctx: Any, option: str) -> str:
    """Return a hint at what the unknown option is elsewhere; empty if there is none."""
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
