"""`azc best`: write the program of the winner.

JSON: `folder` of the run; `id` of the candidate; `program`, its text; `file` written,
or null; `over`, whether the run is complete.

Codes: R040 the run has no results yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azc.cli.files import check_own
from azc.cli.options import Json, Run
from azc.cli.output import out
from azc.diagnostics import RunError
from azc.files import write_text
from azc.search.view import read_run

__all__ = ["best"]


def best(
    context: typer.Context,
    run: Run,
    file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="File to write; standard output by default. An existing file is "
            "only overwritten if it holds a program of this run.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the best program of a run as a self-contained file.

    The run may still be in progress. `azc best runs/first | azc check -` checks the
    program.

    Example: azc best runs/first -o best.azg
    """
    output = out(context)
    view = read_run(run)
    found = view.best
    if found is None:
        raise RunError("R040", f"nothing has been scored in {run} yet")
    if file is None:
        output.text(found.program)
    else:
        texts = {each.program.encode() for each in view.candidates.values()}
        check_own(file, f"a program of {run}", texts.__contains__)
        write_text(file, found.program)
        output.line(f"{file}: candidate {found.id:04}")
    output.result(
        folder=str(run),
        id=found.id,
        program=found.program,
        file=None if file is None else str(file),
        over=view.is_over,
    )
