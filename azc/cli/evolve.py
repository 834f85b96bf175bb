"""`azc evolve`, `azc resume` and `azc log`."""

from __future__ import annotations

from typing import Annotated

import typer

from azc.cli.output import flag_json
from azc.diagnostics import RunError

__all__ = ["evolve", "log", "resume"]

_RUN = typer.Argument(metavar="RUN", help="The folder of a run.")


def evolve(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A program with a space.")
    ],
    as_json: Annotated[bool, flag_json()] = False,
) -> None:
    """Search a space for better models."""
    raise RunError("R900", "azc evolve is not there yet")


def resume(
    context: typer.Context,
    run: Annotated[str, _RUN],
    as_json: Annotated[bool, flag_json()] = False,
) -> None:
    """Go on with a run that was stopped."""
    raise RunError("R900", "azc resume is not there yet")


def log(
    context: typer.Context,
    run: Annotated[str, _RUN],
    as_json: Annotated[bool, flag_json()] = False,
) -> None:
    """Show how the best model of a run came about, each step as a diff."""
    raise RunError("R900", "azc log is not there yet")
