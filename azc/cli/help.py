"""`azc help`: what `--help` shows, by the name of a command."""

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
            help="A command; the list of all of them if not given.",
            show_default=False,
            autocompletion=commands,
        ),
    ] = None,
) -> None:
    """Show what a command does, its arguments and its options.

    Example: azc help diff
    """
    root: Any = context.find_root().command
    words = [] if command is None else [command]
    root.main(args=[*words, "--help"], prog_name="azc")
