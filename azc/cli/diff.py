"""`azc diff`: compare two models or attention programs.

JSON: `old` and `new` with file and name; `same`, whether they mean the same; `text`, a
unified diff (with --text). For models: `tokens`; `settings`, each with name, old, new;
`layers`, each with status (same, added, removed, changed), old and new (index and
mixing; null if the layer is absent), changes (name, old, new), program, parameters and
flops_per_token; `parameters` and `flops_per_token` of the model, each with old, new and
change. For programs: `program` with result (old and new, lines), inputs (removed,
added), operations (removed, added, rewired: counts by name), attributes (operation,
name, old, new). For whole files: `declarations`, each with kind, name and status (same,
added, removed, changed), and the fields of models or programs if it changed.

Codes: U105 two arguments name the same thing; U109 these cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azc import api
from azc.check.choose import choose_attention, choose_model
from azc.check.flatten import self_contained
from azc.check.models import MAX_LENGTH
from azc.check.program import AttentionSpec, Program
from azc.cli.completion import attentions, models, programs
from azc.cli.diff_files import (
    Entry,
    compare_files,
    is_nothing,
    open_side,
    print_files,
)
from azc.cli.diff_text import print_model, print_program
from azc.cli.files import split_name
from azc.cli.options import Json
from azc.cli.output import Output, fields, out
from azc.compare.match import ProgramDiff
from azc.compare.models import (
    Amount,
    Change,
    LayerDiff,
    ModelDiff,
    compare_models,
    compare_programs,
)
from azc.diagnostics import UsageError
from azc.syntax import ast
from azc.syntax.diff import text_diff
from azc.syntax.format import format_file

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["diff"]

_SIDE = (
    "A program, or `std.models`; FILE:NAME selects a model or attention program in it."
)


def diff(
    context: typer.Context,
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help=_SIDE, autocompletion=programs),
    ],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="Program to compare it with.",
            autocompletion=programs,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Model to compare, in both files.",
            autocompletion=models,
        ),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            "--attention",
            metavar="NAME",
            help="Attention program to compare, in both files.",
            autocompletion=attentions,
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens",
            min=1,
            max=MAX_LENGTH,
            metavar="N",
            help="Sequence length for counting FLOPs. By default 128, or the maximum "
            "length of the models if that is smaller.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Show a diff of the program texts instead.")
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with 1 if the two differ, like git diff."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Show nothing; only set the exit code, as --exit-code does.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the meaning of two models, layer by layer and operation by operation.

    Layout, comments, names of values and the place of a declaration are ignored; --text
    compares the texts instead. In files with several models, declarations are compared
    by name, and `/dev/null` stands for an empty file. The exit code is 0 whether or not
    the two differ, unless --exit-code or --quiet is used.

    Example: azc diff std.models:bert_base std.models:autobert_zero_base
    """
    output = out(context)
    show = _Shown(output, text, quiet, exit_code or quiet)
    if model is not None and attention is not None:
        raise UsageError("U105", "give only one of --model and --attention")
    given = _Given.open(old), _Given.open(new)
    named = model is not None or attention is not None
    if not named and _as_wholes(*given):
        _files(*given, tokens, show)
        return
    sides = [_Side(each, model, attention) for each in given]
    before, after = sides
    if before.is_model != after.is_model:
        kinds = [
            f"{s.name} is {'a model' if s.is_model else 'not a model'}" for s in sides
        ]
        raise UsageError("U109", f"can't compare these: {', '.join(kinds)}")
    answer: dict[str, Any] = {"old": before.json(), "new": after.json()}
    if text:
        answer["text"] = text_diff(
            before.text(), after.text(), before.label, after.label
        )
    if before.is_model:
        _models(before, after, tokens, answer, show)
    else:
        _programs(before, after, answer, show)


@dataclass(frozen=True)
class _Shown:
    """Output settings of a comparison, and whether a difference sets the exit code."""

    output: Output
    text: bool
    quiet: bool
    exit_code: bool

    def __call__(
        self, answer: dict[str, Any], same: bool, draw: Callable[[Console], None]
    ) -> None:
        """Show a difference as JSON, as a diff of the texts, or as drawn by `draw`."""
        differs = bool(answer["text"]) if self.text else not same
        fails = self.exit_code and differs
        self.output.result(not fails, **answer)
        if self.text and not self.quiet:
            self.output.text(answer["text"])
        elif not self.quiet and not self.output.as_json:
            draw(self.output.console())
        if fails:
            raise typer.Exit(1)


@dataclass(frozen=True)
class _Given:
    """One argument: a file with its program, and optionally the name of a
    declaration.
    """

    text: str
    file: str
    name: str | None
    program: Program

    @classmethod
    def open(cls, text: str) -> _Given:
        file, name = split_name(text)
        return cls(text, file, name, open_side(file))

    @property
    def candidates(self) -> int:
        """The number of declarations that the argument may refer to if it has no
        name.
        """
        own = self.program.declared
        models = [name for name in self.program.models if name in own]
        return len(models or [n for n in self.program.attentions if n in own])


def _as_wholes(old: _Given, new: _Given) -> bool:
    """Return whether to compare whole files: one is `/dev/null`, or the choice is
    ambiguous.
    """
    if is_nothing(old.file) or is_nothing(new.file):
        return True
    both = old, new
    return all(g.name is None for g in both) and any(g.candidates != 1 for g in both)


def _files(old: _Given, new: _Given, tokens: int | None, show: _Shown) -> None:
    entries = compare_files(old.program, new.program, tokens)
    same = all(entry.status == "same" for entry in entries)
    answer: dict[str, Any] = {
        "old": {"file": old.file, "name": None},
        "new": {"file": new.file, "name": None},
        "same": same,
        "declarations": [_entry_json(entry) for entry in entries],
    }
    if show.text:
        before, after = format_file(old.program.file), format_file(new.program.file)
        answer["text"] = text_diff(before, after, old.file, new.file)
    draw = partial(print_files, entries, old.file, new.file)
    show(answer, same, draw)


class _Side:
    """One of the two declarations that are compared."""

    def __init__(self, given: _Given, model: str | None, attention: str | None) -> None:
        self.file, self.program, name = given.file, given.program, given.name
        if name is not None and (model is not None or attention is not None):
            raise UsageError("U105", f"{given.text} already names what to compare")
        if name is not None and name in self.program.attentions:
            attention = name
        elif name is not None:
            model = name
        self.is_model = model is not None or (
            attention is None and bool(self.program.models)
        )
        choose = choose_model if self.is_model else choose_attention
        self.name = choose(self.program, model if self.is_model else attention)[0]

    @property
    def label(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def attention(self) -> AttentionSpec:
        return self.program.attentions[self.name]

    def json(self) -> dict[str, str]:
        return {"file": self.file, "name": self.name}

    def text(self) -> str:
        """Return the canonical text of the declaration, with everything that it
        uses.
        """
        if self.is_model:
            return self_contained(self.program, self.name)
        node = replace(self.attention.node, name=self.name)
        return format_file(ast.File((node,)))


def _models(
    old: _Side,
    new: _Side,
    tokens: int | None,
    answer: dict[str, Any],
    show: _Shown,
) -> None:
    specs = old.program.models[old.name], new.program.models[new.name]
    found = compare_models(*specs, api.cost_tokens(tokens, *specs))
    draw = partial(print_model, found, old.label, new.label)
    show({**answer, **_model_json(found)}, found.same, draw)


def _programs(old: _Side, new: _Side, answer: dict[str, Any], show: _Shown) -> None:
    found = compare_programs(old.attention, new.attention)
    program = _program_json(found)
    draw = partial(print_program, found, old.label, new.label)
    show({**answer, "same": found.same, "program": program}, found.same, draw)


# JSON


def _amount_json(amount: Amount[int] | Amount[float]) -> dict[str, float]:
    return {"old": amount.old, "new": amount.new, "change": amount.change}


def _changes_json(changes: tuple[Change, ...]) -> list[dict[str, object]]:
    return [fields({"name": c.name, "old": c.old, "new": c.new}) for c in changes]


def _program_json(found: ProgramDiff | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "result": {"old": list(found.old.lines), "new": list(found.new.lines)},
        "inputs": {
            "removed": list(found.inputs_removed),
            "added": list(found.inputs_added),
        },
        "operations": {
            "removed": dict(found.removed),
            "added": dict(found.added),
            "rewired": dict(found.rewired),
        },
        "attributes": [
            {"operation": a.op, "name": a.attribute, "old": a.old, "new": a.new}
            for a in found.attributes
        ],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    found = {
        "kind": entry.kind,
        "name": entry.spec.name,
        "status": entry.status,
    }
    if isinstance(entry.diff, ModelDiff):
        return {**found, **_model_json(entry.diff)}
    if isinstance(entry.diff, ProgramDiff):
        return {**found, "program": _program_json(entry.diff)}
    return found


def _layer_json(layer: LayerDiff) -> dict[str, Any]:
    def side(place: int | None, mixing: str | None) -> dict[str, Any] | None:
        return None if place is None else {"index": place + 1, "mixing": mixing}

    return {
        "status": layer.status,
        "old": side(layer.old, layer.old_mixing),
        "new": side(layer.new, layer.new_mixing),
        "changes": _changes_json(layer.changes),
        "program": _program_json(layer.program),
        "parameters": _amount_json(layer.parameters),
        "flops_per_token": _amount_json(layer.flops),
    }


def _model_json(found: ModelDiff) -> dict[str, Any]:
    return {
        "same": found.same,
        "tokens": found.old.tokens,
        "settings": _changes_json(found.settings),
        "layers": [_layer_json(layer) for layer in found.layers],
        "parameters": _amount_json(found.parameters),
        "flops_per_token": _amount_json(found.flops),
    }
