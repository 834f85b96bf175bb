"""`azc propose`: a program of one's own for a search.

JSON: `folder` of the run; `act`, its number among the acts of the run; `program`, the text
that was taken; `over`, whether nothing is left to be done, so that it waits for a larger
budget. A refused program has `diagnostics`, or `error` with a code: R046 where the run
knows it, R047 where it computes what a candidate does, R048 where it can't be trained.
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
            help="A program with a model, `-` for standard input; FILE:NAME names the"
            " model.",
            autocompletion=programs,
        ),
    ],
    parents: Annotated[
        list[int] | None,
        typer.Option(
            "--parent",
            metavar="N",
            min=1,
            help="A candidate that it was made from; may be given again.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Why, in a line.")
    ] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Add a program of your own to a search: a candidate of its next round.

    The run may be at work, stopped or over. The program is checked, and refused where it
    is not in the space, is known or can't be trained. `azc ask RUN` has what is needed to
    write one.

    Example: azc propose runs/first mine.azg --parent 7 --note "rope below"
    """
    from azc.search.steer import Desk
    from azc.search.view import read_run

    output = out(context)
    file, name = split_name(file)
    desk = Desk(run, author(by))
    act = desk.propose(load(file), name, note=note, parents=parents or ())
    view = read_run(run)
    output.line(f"{file}: taken, for the next round")
    if view.is_over:
        more = view.spent + view.options.round_size
        output.note(
            f"{run} has spent its budget: azc resume {run} --evaluations {more} goes on"
        )
    output.result(
        folder=str(run), act=act.id, program=act.value["program"], over=view.is_over
    )
