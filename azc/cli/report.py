"""`azc report`: write an HTML report of a run.

JSON: `folder` of the run; `file` written; `over`, whether the run is complete.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from azc.cli.files import check_own
from azc.cli.options import Json, Run
from azc.cli.output import out
from azc.files import write_text

if TYPE_CHECKING:
    from azc.search.records import Candidate

__all__ = ["report"]

_LONG = 500  # candidates from which on a progress bar is shown


def report(
    context: typer.Context,
    run: Run,
    file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Report to write; RUN/report.html by default. An existing file is "
            "only overwritten if it is a report by azc.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write an HTML report of a run: its results, its history and every program.

    The report is one self-contained HTML file. The run may still be in progress.

    Example: azc report runs/first
    """
    from azc.report.page import MARK, page
    from azc.search.displays import displays
    from azc.search.view import read_run

    output = out(context)
    view = read_run(run)
    target = run / "report.html" if file is None else file
    check_own(target, "a page that azc wrote", lambda old: MARK.encode() in old[:1024])
    write_text(target, page(view, displays(view), _watched))
    output.line(f"{target}")
    if not view.is_over:
        output.note(f"{run} is not complete: the report shows the results so far")
    output.result(folder=str(run), file=str(target), over=view.is_over)


def _watched(candidates: Sequence[Candidate]) -> Iterable[Candidate]:
    """Yield candidates, with a progress bar on a terminal if there are many."""
    if len(candidates) < _LONG or not sys.stderr.isatty():
        return candidates
    from rich.console import Console
    from rich.progress import track

    return track(
        candidates, "compiling programs", console=Console(stderr=True), transient=True
    )
