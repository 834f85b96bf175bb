"""`azc steer`: change a running search.

JSON: `folder` of the run; `acts`, the actions, each with id, time, author, kind and
words; `over`, whether the run is complete.

Codes: U114 no action was requested.
"""

from __future__ import annotations

from typing import Annotated

import typer

from azc.cli.options import By, Json, Run
from azc.cli.output import out
from azc.cli.who import author
from azc.diagnostics import UsageError

__all__ = ["FAVOURED", "steer"]

FAVOURED = 4.0  # times as often as the strategy would


def steer(
    context: typer.Context,
    run: Run,
    ban: Annotated[
        list[str] | None,
        typer.Option(
            "--ban",
            metavar="OP",
            help="Never add this operation (such as `tanh`, or `conv 5`) to a "
            "program that lacks it.",
            show_default=False,
        ),
    ] = None,
    favour: Annotated[
        list[str] | None,
        typer.Option(
            "--favour",
            metavar="OP",
            help=f"Draw this operation {FAVOURED:g} times as often as the strategy would.",
            show_default=False,
        ),
    ] = None,
    free: Annotated[
        list[str] | None,
        typer.Option(
            "--free",
            metavar="OP",
            help="Undo --ban or --favour for this operation.",
            show_default=False,
        ),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="From the next round on, train no candidate beyond this limit: "
            "params=30e6, flops=2e6, latency=2ms, memory=64MB. params=none removes "
            "the limit.",
            show_default=False,
        ),
    ] = None,
    stop: Annotated[
        list[int] | None,
        typer.Option(
            "--stop",
            metavar="N",
            min=1,
            help="Stop training this candidate and record it as failed.",
            show_default=False,
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(
            "--evaluations",
            metavar="N",
            min=1,
            help="New budget: the total number of evaluations.",
            show_default=False,
        ),
    ] = None,
    pause: Annotated[
        bool | None,
        typer.Option(
            "--pause/--go-on",
            help="Pause the run once the current evaluations are done, or continue it.",
            show_default=False,
        ),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Steer a search: ban or favor an operation, set a limit, stop a candidate, pause
    the run, or change its budget.

    Each action is recorded in the journal of the run. It takes effect in the process
    that is working on the run, or when `azc resume` continues it. Options may be
    repeated. If one of them is invalid, none is applied.

    Example: azc steer runs/first --ban tanh --favour "conv 5"
    """
    from azc.search.objectives import read_change
    from azc.search.steer import Desk
    from azc.search.view import read_run

    output = out(context)
    acts = Desk(run, author(by)).steer(
        draws=[
            *((each, 0) for each in ban or ()),
            *((each, FAVOURED) for each in favour or ()),
            *((each, 1) for each in free or ()),
        ],
        limits=[read_change(each) for each in limits or ()],
        stops=stop or (),
        evaluations=evaluations,
        pause=pause,
    )
    if not acts:
        raise UsageError(
            "U114", "there is nothing to do", "azc steer --help lists the options"
        )
    for act in acts:
        output.line(act.words)
    output.result(
        folder=str(run),
        acts=[
            {
                "id": act.id,
                "time": act.time,
                "author": act.author,
                "kind": act.kind,
                "words": act.words,
            }
            for act in acts
        ],
        over=read_run(run).is_over,
    )
