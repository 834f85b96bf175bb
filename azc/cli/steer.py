"""`azc steer`: a search, taken by the hand.

JSON: `folder` of the run; `acts`: of each id, time, author, kind and words; `over`,
whether nothing is left to be done.

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
            help="Put this operation, or `conv 5`, into no program that lacks it.",
            show_default=False,
        ),
    ] = None,
    favour: Annotated[
        list[str] | None,
        typer.Option(
            "--favour",
            metavar="OP",
            help=f"Draw it {FAVOURED:g} times as often as the strategy would.",
            show_default=False,
        ),
    ] = None,
    free: Annotated[
        list[str] | None,
        typer.Option(
            "--free",
            metavar="OP",
            help="Leave it to the strategy again.",
            show_default=False,
        ),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="From the next round on, train nothing beyond it: params=30e6, "
            "flops=2e6, latency=2ms, memory=64MB; params=none lifts it.",
            show_default=False,
        ),
    ] = None,
    stop: Annotated[
        list[int] | None,
        typer.Option(
            "--stop",
            metavar="N",
            min=1,
            help="Train this candidate no more: it has failed.",
            show_default=False,
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(
            "--evaluations",
            metavar="N",
            min=1,
            help="Another budget.",
            show_default=False,
        ),
    ] = None,
    pause: Annotated[
        bool | None,
        typer.Option(
            "--pause/--go-on",
            help="Have it wait once what is being trained is, or go on.",
            show_default=False,
        ),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Steer a search: ban or favour an operation, set a limit, stop a candidate, pause,
    give a budget.

    Each act is in the run's journal and takes effect in the run that is at work, or in the
    one that `azc resume` continues. Options may be given several times; where one makes no
    sense, nothing is done.

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
            "U114", "there is nothing to do", "azc steer --help has what is"
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
