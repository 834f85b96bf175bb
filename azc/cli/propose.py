"""`azc propose`: add your own program to a search.

JSON: `folder` of the run; `act`, the number of the action in the run; `program`, the
text that was accepted; `over`, whether the run is complete, so that the program waits
for a larger budget. A refused program has `diagnostics`, or `error` with a code: R046
if the run knows it, R047 if it computes the same function as a candidate, R048 if it
can't be trained.
"""

from __future__ import annotations

from typing import Annotated

import typer

from azc.cli.completion import programs
from azc.cli.files import load, split_name
from azc.cli.options import By, Json, Run
from azc.cli.output import out
from azc.cli.who import author

__all__ = ["propose"]


def propose(
    context: typer.Context,
    run: Run,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program with a model, or `-` for standard input; FILE:NAME "
            "selects the model.",
            autocompletion=programs,
        ),
    ],
    parents: Annotated[
        list[int] | None,
        typer.Option(
            "--parent",
            metavar="N",
            min=1,
            help="Candidate that the program was derived from; repeat it for several.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str,
        typer.Option(
            "--note",
            metavar="TEXT",
            help="Comment in one line, such as the reason for the proposal.",
        ),
    ] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Add your own program to a search, as a candidate of the next round.

    The run may be in progress, stopped or complete. The program is checked, and refused
    if it is not in the search space, is already known or can't be trained. `azc ask
    RUN` shows what you need to write one.

    Example: azc propose runs/first mine.azg --parent 7 --note "rope below"
    """
    from azc.search.steer import Desk
    from azc.search.view import read_run

    output = out(context)
    file, name = split_name(file)
    desk = Desk(run, author(by))
    act = desk.propose(load(file), name, note=note, parents=parents or ())
    view = read_run(run)
    output.line(f"{file}: accepted for the next round")
    if view.is_over:
        more = view.spent + view.options.round_size
        output.note(
            f"{run} has used its budget; to continue: azc resume {run} --evaluations"
            f" {more}"
        )
    output.result(
        folder=str(run), act=act.id, program=act.value["program"], over=view.is_over
    )
