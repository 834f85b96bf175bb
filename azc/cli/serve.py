"""`azc serve`: serve the live report of a run, with controls to steer it.

JSON, once the server is listening: `folder` of the run; `url`, with the token.
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
            help="Port to listen on; a free one by default.",
            show_default=False,
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on. Connections are not encrypted, so be careful "
            "with an address that others can reach.",
        ),
    ] = "127.0.0.1",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Show a run in a browser while it progresses, and steer it.

    The page is the report of `azc report`, kept up to date. On it you can pause the
    run, ban or favor an operation, add a program, change the budget, or stop a
    candidate. The address contains a token: anyone who has it can do the same. Ctrl-C
    stops the server; the run continues.

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
            "others can reach this address, and the connection is not encrypted: anyone"
            " who can read the traffic can read the token"
        )
    sys.stdout.flush()
    server.run()
