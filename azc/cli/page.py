"""`azc report`: a run as a page.

JSON: `folder` of the run; `file` written; `over`, whether nothing is left to be done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azc.cli.output import flag_json, out
from azc.diagnostics import UsageError
from azc.files import write_text

__all__ = ["report"]


def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The page to write; RUN/report.html if not given. A page that azc wrote "
            "is replaced.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, flag_json()] = False,
) -> None:
    """Write a run as a page: what it found, how, and every program.

    One HTML file with all that it needs, for any browser. Works while the run does.

    Example: azc report runs/first
    """
    from azc.report.page import page
    from azc.search.displays import displays
    from azc.search.view import read_run

    output = out(context)
    view = read_run(run)
    target = run / "report.html" if file is None else file
    _check_free(target)
    write_text(target, page(view, displays(view)))
    output.line(f"{target}")
    if not view.is_over:
        output.note(f"{run} is not over: the page shows what it has come to so far")
    output.result(folder=str(run), file=str(target), over=view.is_over)


def _check_free(path: Path) -> None:
    """Raises `UsageError` U113 for a file that is no page of azc, `OSError` for one that
    can't be read.
    """
    from azc.report.page import MARK

    if not path.is_file():
        return
    with path.open("rb") as file:
        begins = file.read(1024)
    if begins and MARK.encode() not in begins:
        raise UsageError(
            "U113",
            f"{path} is not a page that azc wrote, and is left as it is",
            "choose another file with -o",
        )
