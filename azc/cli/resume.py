"""`azc resume`: a run continued.

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
            help="Another budget, also for a run that is over.",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Where the workers are this time: `local` or `ray`.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="How many there are this time."
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--time-limit",
            metavar="TIME",
            help="What a candidate may take from here on, as 90s, 30min or 2h.",
        ),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="What a candidate may take of this machine's memory from here on, as 4GB "
            "or 512MiB; `none` for no limit.",
        ),
    ] = None,
    git: Git = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped, killed or interrupted, or with a larger budget.

    What was scored is not scored again, and where the run goes on changes nothing of what
    it comes to.

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
