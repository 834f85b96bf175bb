"""Comparison of whole files, declaration by declaration, matched by kind and name.

`/dev/null`, which git uses for a file that does not exist, has no declarations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from azc import api
from azc.check.params import model_parameters
from azc.check.program import AttentionSpec, ModelSpec, Program, SpaceSpec
from azc.check.resolve import check_source
from azc.cli.diff_text import print_model, print_program
from azc.cli.files import load
from azc.cli.output import count
from azc.compare.expression import express
from azc.compare.match import ProgramDiff
from azc.compare.models import ModelDiff, compare_models, compare_programs
from azc.source import Source
from azc.syntax import ast
from azc.syntax.diff import text_diff
from azc.syntax.format import format_file

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Entry", "compare_files", "is_nothing", "open_side", "print_files"]

Spec = AttentionSpec | ModelSpec | SpaceSpec
Status = Literal["same", "changed", "added", "removed"]
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}
_KINDS = {AttentionSpec: "attention", ModelSpec: "model", SpaceSpec: "space"}


@dataclass(frozen=True)
class Entry:
    """A declaration that is in either file or in both; `diff` is set if its meaning
    changed.
    """

    status: Status
    old: Spec | None
    new: Spec | None
    diff: ModelDiff | ProgramDiff | str | None = None

    @property
    def spec(self) -> Spec:
        """The new declaration, or the old one if it was removed."""
        spec = self.new or self.old
        assert spec is not None
        return spec

    @property
    def kind(self) -> str:
        """The kind: attention, model or space."""
        return _KINDS[type(self.spec)]


def is_nothing(file: str) -> bool:
    """Return whether a file is `/dev/null`, as git names a file that does not exist."""
    return Path(file) == Path(os.devnull)


def open_side(file: str) -> Program:
    """Load and check a file; return an empty program for `/dev/null`."""
    return check_source(Source(file, "")) if is_nothing(file) else load(file)


def compare_files(old: Program, new: Program, tokens: int | None) -> list[Entry]:
    """Compare the declarations of two files, those of the new file first.

    FLOPs are counted for sequences of `tokens`, by default as in `api.cost_tokens`.
    """
    before, after = _declared(old), _declared(new)
    entries: list[Entry] = []
    for key in dict.fromkeys([*after, *before]):
        mine, other = before.get(key), after.get(key)
        if mine is None or other is None:
            status: Status = "added" if mine is None else "removed"
            entries.append(Entry(status, mine, other))
            continue
        diff: ModelDiff | ProgramDiff | str
        if isinstance(mine, ModelSpec) and isinstance(other, ModelSpec):
            length = api.cost_tokens(tokens, mine, other)
            diff = compare_models(mine, other, length)
            same = diff.same
        elif isinstance(mine, AttentionSpec) and isinstance(other, AttentionSpec):
            diff = compare_programs(mine, other)
            same = diff.same
        else:
            a, b = (format_file(ast.File((each.node,))) for each in (mine, other))
            diff = text_diff(a, b, old.source.name, new.source.name)
            same = not diff
        status = "same" if same else "changed"
        entries.append(Entry(status, mine, other, None if same else diff))
    return entries


def _declared(program: Program) -> dict[tuple[str, str], Spec]:
    known: dict[str, Any] = {
        **program.attentions,
        **program.models,
        **program.spaces,
    }
    names = [
        node.name
        for node in program.file.declarations
        if not isinstance(node, ast.Import)
    ]
    return {(_KINDS[type(known[name])], name): known[name] for name in names}


def print_files(entries: list[Entry], old: str, new: str, console: Console) -> None:
    """Print the changes between two files."""
    changed = [entry for entry in entries if entry.status != "same"]
    if not changed:
        console.print(f"{old} and {new} mean the same")
        return
    console.print(f"--- {old}", style="red")
    console.print(f"+++ {new}", style="green")
    for entry in changed:
        name = f"{entry.kind} {entry.spec.name}"
        style = _STYLES[entry.status]
        line = f"\n{_SIGNS[entry.status]} {name}{_summary(entry)}"
        console.print(line, style=style, soft_wrap=True)
        labels = f"{old}:{entry.spec.name}", f"{new}:{entry.spec.name}"
        if isinstance(entry.diff, ModelDiff):
            print_model(entry.diff, *labels, console)
        elif isinstance(entry.diff, ProgramDiff):
            print_program(entry.diff, *labels, console)
        elif entry.diff is not None:
            console.print(entry.diff, end="", soft_wrap=True)


def _summary(entry: Entry) -> str:
    spec = entry.spec
    if entry.status == "changed":
        return ""
    if isinstance(spec, ModelSpec):
        parameters = f"{model_parameters(spec):,} parameters"
        return f": {count(len(spec.layers), 'layer')}, {parameters}"
    if isinstance(spec, AttentionSpec):
        lines = express(api.program_graph(spec)).lines
        return f"({', '.join(spec.params)}): {'; '.join(lines)}"
    low, high = spec.depth
    depth = f"{low}" if low == high else f"{low}..{high}"
    return f": from {spec.start.name}, depth {depth}"
