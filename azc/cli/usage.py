"""Usage errors of the command line under `--json`.

Without `--json`, typer reports them as text. JSON: `error` with code, message and help,
as for any other error.

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
    """The group of commands, which reports usage errors as JSON if `--json` is
    present.
    """

    def main(
        self, args: Sequence[str] | None = None, *rest: Any, **options: Any
    ) -> Any:
        """Run the command that `args` begin with, by default the arguments of the
        process.
        """
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
    """Report an error of typer as an error of azc."""
    context = error.ctx
    path = context.command_path if context else "azc"
    message = " ".join(error.format_message().split())
    name = path.split()[1] if " " in path else "azc"
    fault = UsageError("U100", message, f"`{path} --help` shows the usage")
    Output(name, as_json=True).fault(fault)
