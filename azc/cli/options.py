"""Arguments and options that several commands have: each is written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azc.cli.completion import runs

__all__ = ["By", "Git", "Json", "Log", "Run"]

Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The folder of a run.", autocompletion=runs),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON object instead of text.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="NAME",
        help="Who does it, for the journal; your user name if not given.",
        show_default=False,
    ),
]
Git = Annotated[
    bool,
    typer.Option(
        "--git",
        help="Commit every new best on a branch azc/RUN of the repository that RUN lies in"
        " (or FILE, when a run begins); your files and branches stay as they are.",
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="NAME",
        help="Also write its figures for `tensorboard`, into RUN/tensorboard, or into the"
        " store of `trackio` on this machine.",
    ),
]
