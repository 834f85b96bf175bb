"""Who does something to a run."""

from __future__ import annotations

import getpass
from typing import Any

import typer

__all__ = ["author", "option_author"]


def author(given: str | None) -> str:
    """The name given, or that of the user."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name
        return "somebody"


def option_author() -> Any:
    """The option `--by`, as every command has it that does something to a run."""
    return typer.Option(
        "--by",
        metavar="NAME",
        help="Who does it, for the journal; your user name if not given.",
        show_default=False,
    )
