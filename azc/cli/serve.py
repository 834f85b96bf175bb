"""`azc serve`: the page of a run, as the run goes on, with what steers it.

JSON, once it serves: `folder` of the run; `url`, with the token.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from azc.cli.options import By, Json, Run
from azc.cli.output import out
from azc.cli.who import author

__all__ = ["serve"]


def serve(
    context: typer.Context,
    run: Run,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            help="The port to listen on; by default one that is free.",
            show_default=False,
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="The address to listen on. One that others can reach is not encrypted.",
        ),
    ] = "127.0.0.1",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Show a run in a browser as it goes on, and steer it.

    The page is that of `azc report`, and follows the run. In it, a person pauses the run,
    bans or favours an operation, adds a program, gives another budget, stops a candidate.
    Its address has a token: whoever has that may do the same. Ctrl-C ends it; the run goes
    on.

    Example: azc serve runs/first
    """
    from azc.report.gate import is_loopback
    from azc.report.live import Live
    from azc.report.server import Server
    from azc.search.steer import Desk

    output = out(context)
    server = Server(Live(run), Desk(run, author(by)), host, port)
    output.line(f"{run}: {server.url}")
    output.result(folder=str(run), url=server.url)
    if not is_loopback(host):
        output.note(
            "others can reach this address, and what goes over it is not encrypted:"
            " whoever reads it has the token"
        )
    sys.stdout.flush()
    server.run()
