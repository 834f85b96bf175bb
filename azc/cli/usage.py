"""A command line that makes no sense, under `--json`.

Without it, typer says so as text. JSON: `error` with code, message and help, as of any
fault.

Codes: U100 the command line is invalid.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from azc.cli.output import Output
from azc.diagnostics import UsageError

__all__ = ["Group"]


class Group(TyperGroup):
    """The commands, whose usage errors are JSON where that is asked for."""

    def main(
        self, args: Sequence[str] | None = None, *rest: Any, **options: Any
    ) -> Any:
        """Run the command that `args`, by default those of the process, begin with."""
        given = list(sys.argv[1:] if args is None else args)
        until = given.index("--") if "--" in given else len(given)
        if "--json" not in given[:until]:
            return super().main(args, *rest, **options)
        options["standalone_mode"] = False
        try:
            code = super().main(given, *rest, **options)
        except Exception as error:
            if getattr(error, "exit_code", None) != 2:
                raise
            _tell(error)
            code = 2
        sys.exit(code if isinstance(code, int) else 0)


def _tell(error: Any) -> None:
    """Writes an error of typer's as one of azc's."""
    context = error.ctx
    path = context.command_path if context else "azc"
    message = " ".join(error.format_message().split())
    name = path.split()[1] if " " in path else "azc"
    fault = UsageError("U100", message, f"`{path} --help` lists what it takes")
    Output(name, as_json=True).fault(fault)
