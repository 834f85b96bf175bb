"""`azc help`: show the help of a command by its name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from azc.cli.completion import commands

__all__ = ["help"]


def help(
    context: typer.Context,
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND",
            help="Name of a command; lists all commands by default.",
            show_default=False,
            autocompletion=commands,
        ),
    ] = None,
) -> None:
    """Show the description, arguments and options of a command.

    Example: azc help diff
    """
    root: Any = context.find_root().command
    words = [] if command is None else [command]
    root.main(args=[*words, "--help"], prog_name="azc")
