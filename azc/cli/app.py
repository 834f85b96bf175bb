"""The `azc` command, assembled from its subcommands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from azc.cli.ask import ask
from azc.cli.best import best
from azc.cli.check import check
from azc.cli.compile import compile
from azc.cli.diff import diff
from azc.cli.evolve import evolve
from azc.cli.explain import explain
from azc.cli.fmt import fmt
from azc.cli.help import help
from azc.cli.log import log
from azc.cli.ops import ops
from azc.cli.output import Command
from azc.cli.propose import propose
from azc.cli.report import report
from azc.cli.resume import resume
from azc.cli.serve import serve
from azc.cli.show import show
from azc.cli.steer import steer
from azc.cli.usage import Group

__all__ = ["app"]

app = typer.Typer(
    name="azc",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LANGUAGE = check, fmt, show, explain, compile, diff, ops
_SEARCH = evolve, resume, log, report, best, serve, ask, propose, steer
for _command in (*_LANGUAGE, *_SEARCH, help):
    app.command(_command.__name__, cls=Command)(_command)


def _version(wanted: bool) -> None:
    if wanted:
        import azc

        sys.stdout.write(f"azc {azc.__version__}\n")
        raise typer.Exit


@app.callback()
def _azc(
    version: Annotated[
        bool,
        typer.Option(
            "-V",
            "--version",
            callback=_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Write, check, compile and evolve attention programs.

    A program is a text file (.azg) that describes how the layers of a transformer mix
    their tokens. `azc show std.models` lists known models, `azc ops` lists the
    operations, and `azc help COMMAND` shows an example of each command. Set NO_COLOR to
    turn colors off, or FORCE_COLOR to turn them on.
    """
