"""`azc compile`: write a model as a folder that transformers loads.

JSON: `folder`, `model`, `task`, `parameters`, `cache`.

Codes: R102 the weights of a compiled model cannot be written; U105 two arguments name
the same thing; U106 the folder cannot be written; U107 the folder is not empty.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from azc import api
from azc.check.choose import choose_model
from azc.check.models import MAX_WIDTH
from azc.cli import caches
from azc.cli.completion import models, programs
from azc.cli.files import load, split_name
from azc.cli.options import Json
from azc.cli.output import out
from azc.diagnostics import RunError, UsageError
from azc.files import write_folder
from azc.saved import owned_files

if TYPE_CHECKING:
    from azc.model import AzcPreTrainedModel

__all__ = ["compile"]


def compile(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program, or `std.models`; FILE:NAME selects a model in it. For "
            "the folder of a run, its best program is used.",
            autocompletion=programs,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Model to compile.",
            autocompletion=models,
        ),
    ] = None,
    task: Annotated[
        Literal["causal-lm", "masked-lm", "base", "sequence-classification"] | None,
        typer.Option(
            "--task",
            help="Head of the model. By default, causal-lm for a causal model and "
            "masked-lm for any other.",
        ),
    ] = None,
    labels: Annotated[
        int,
        typer.Option(
            "--labels",
            min=1,
            max=MAX_WIDTH,
            metavar="N",
            help="Number of classes for sequence-classification.",
        ),
    ] = 2,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            min=0,
            max=2**63 - 1,
            help="Random seed for the initial weights.",
        ),
    ] = 0,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Overwrite an existing azc model. Folders with other files are "
            "never overwritten.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile a model into a folder for transformers, with freshly initialized weights.

    AutoModelForMaskedLM.from_pretrained(DIR, trust_remote_code=True) loads it where azc
    is installed; use AutoModelForCausalLM for a causal model. The folder is written
    completely or not at all.

    Example: azc compile std.models --model bert_tiny -o bert_tiny
    """
    output = out(context)
    file, name = split_name(file)
    if name is not None and model is not None:
        raise UsageError("U105", "give only one of FILE:NAME and --model")
    program = load(file)
    name, _ = choose_model(program, model or name)
    _may_write(folder, force)

    import torch

    from azc.model import default_task

    torch.manual_seed(seed)
    task = task or default_task(program.models[name])
    compiled = api.compile(program, name, task, labels)
    owned = partial(owned_files, shown=folder) if force else None
    write_folder(folder, partial(_save, compiled), owned)
    parameters = compiled.num_parameters()
    size = api.cache_size(program.models[name])
    output.result(
        folder=str(folder),
        model=name,
        task=task,
        parameters=parameters,
        cache=caches.as_json(size),
    )
    output.line(f"{folder}: model {name} for {task}, {parameters:,} parameters")
    if size is not None:
        output.line(caches.words(size))


def _may_write(folder: Path, force: bool) -> None:
    """Raise `UsageError` if the folder has content that must not be overwritten."""
    if folder.is_symlink():
        message = f"{folder} is a link, and azc does not write through links"
        raise UsageError("U106", message, "give the folder that it points to")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError("U106", f"{folder} is not a directory")
    here = Path.cwd()
    if folder.resolve() in (here, *here.parents):
        message = f"{folder} is, or contains, the working directory"
        raise UsageError("U106", message, "give a folder inside it")
    if not any(folder.iterdir()):
        return
    if not force:
        message = f"{folder} is not empty"
        raise UsageError("U107", message, "--force overwrites an existing azc model")
    owned_files(folder, folder)


def _save(model: AzcPreTrainedModel, folder: Path) -> None:
    """Write the model.

    Raise `RunError` if that fails, for instance because the disk is full.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise RunError("R102", f"can't write the weights: {error}") from error
