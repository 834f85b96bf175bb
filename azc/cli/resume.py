"""`azc resume`: continue a run.

JSON: see `azc.cli.result.result_json`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from azc.cli.options import Git, Json, Log, Run
from azc.cli.output import out
from azc.cli.working import branch_of, cache_folder, show_run

__all__ = ["resume"]


def resume(
    context: typer.Context,
    run: Run,
    evaluations: Annotated[
        int | None,
        typer.Option(
            "--evaluations",
            metavar="N",
            min=1,
            help="New budget: the total number of evaluations. It may also extend a "
            "run that is complete.",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Where the workers run this time: `local` or `ray`.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Number of processes that evaluate candidates in parallel this time.",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--time-limit",
            metavar="TIME",
            help="Time that a candidate may take from now on, such as 90s, 30min or "
            "2h.",
        ),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="Memory of this machine that evaluating a candidate may use from "
            "now on, such as 4GB or 512MiB; `none` removes the limit.",
        ),
    ] = None,
    git: Git = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Continue a run that was interrupted or killed, or that gets a larger budget.

    Candidates that were scored are not scored again. The results do not depend on where
    and how often a run is resumed.

    Example: azc resume runs/first --evaluations 120
    """
    from azc.api import resume as go_on

    output = out(context)
    show_run(
        output,
        lambda tell: go_on(
            run,
            cache=cache_folder(),
            evaluations=evaluations,
            executor=executor,
            workers=workers,
            time_limit=time_limit,
            memory_limit=memory_limit,
            on_event=tell,
        ),
        run,
        branch_of(run) if git else None,
        log,
    )
