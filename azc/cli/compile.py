"""`azc compile`: a folder that transformers loads.

JSON: `folder`, `model`, `task`, `parameters`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from azc import api
from azc.check.choose import choose_model
from azc.cli.files import load, split_name
from azc.cli.output import flag_json, out
from azc.diagnostics import RunError, UsageError

if TYPE_CHECKING:
    from azc.model import AzcPreTrainedModel

__all__ = ["compile"]


def compile(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program, or `std.models`; FILE:NAME is a model in it.",
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="The folder to write."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model to compile."),
    ] = None,
    task: Annotated[
        Literal["masked-lm", "base", "sequence-classification"],
        typer.Option("--task", help="What the model is for."),
    ] = "masked-lm",
    labels: Annotated[
        int,
        typer.Option(
            "--labels", min=1, metavar="N", help="Classes of sequence-classification."
        ),
    ] = 2,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="S", min=0, max=2**63 - 1, help="Of the fresh weights."
        ),
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a model that is there already.")
    ] = False,
    as_json: Annotated[bool, flag_json()] = False,
) -> None:
    """Compile a model into a folder for transformers, with fresh weights.

    With azc imported, AutoModelForMaskedLM.from_pretrained(DIR) loads it. The folder is
    written whole or not at all.

    Example: azc compile std.models --model bert_tiny -o bert_tiny
    """
    output = out(context)
    file, name = split_name(file)
    if name is not None and model is not None:
        raise UsageError("U105", "one name is enough: FILE:NAME or --model")
    program = load(file)
    name, _ = choose_model(program, model or name)
    _may_write(folder, force)

    import torch

    torch.manual_seed(seed)
    compiled = api.compile(program, name, task, labels)
    _write(compiled, folder)
    parameters = compiled.num_parameters()
    output.result(folder=str(folder), model=name, task=task, parameters=parameters)
    output.line(f"{folder}: {name} for {task}, {parameters:,} parameters")


def _may_write(folder: Path, force: bool) -> None:
    """Raises `UsageError` if something is there that must stay."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UsageError("U106", f"{folder} is no folder")
    if not any(folder.iterdir()):
        return
    if not force:
        message = f"{folder} is not empty"
        raise UsageError("U107", message, "--force replaces a model that is there")
    if not (folder / "config.json").is_file():
        message = f"{folder} holds no model, and --force replaces only models"
        raise UsageError("U108", message, "choose another folder, or empty this one")


def _write(model: AzcPreTrainedModel, folder: Path) -> None:
    """Writes the model beside the folder, then puts it there."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _save(model, beside)
        _replace(folder, beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _save(model: AzcPreTrainedModel, folder: Path) -> None:
    """Writes the model with the permissions that new files have.

    Raises `RunError` if the disk is full, say.
    """
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise RunError("R102", f"can't write the weights: {error}") from error
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)
    folder.chmod(0o777 & ~mask)


def _replace(folder: Path, beside: Path) -> None:
    """Puts the new folder in the place of the old one."""
    if not folder.exists():
        beside.rename(folder)
        return
    target = folder.resolve()
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    old = aside / target.name
    target.rename(old)
    try:
        beside.rename(target)
    except OSError:
        old.rename(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
