"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azc.cli.completion import runs

__all__ = ["By", "Git", "Json", "Log", "Run"]

Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Folder of a run.", autocompletion=runs),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON object instead of text.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="NAME",
        help="Name to record in the journal; your user name by default.",
        show_default=False,
    ),
]
Git = Annotated[
    bool,
    typer.Option(
        "--git",
        help="Commit every new best program to a branch azc/RUN of the git "
        "repository that RUN (or FILE, for a new run) is in. Your files and branches "
        "are not touched.",
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="NAME",
        help="Also log metrics to `tensorboard` (files in RUN/tensorboard) or "
        "`trackio` (its store on this machine).",
    ),
]
