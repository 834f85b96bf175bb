"""`azc ops`: list the operations of the language.

JSON: `operations`, each with name, written, group, doc, source, operands, type,
attributes (name, doc, values), weights (their shapes by name), flops, absence and
causal (flops and causal by the types of operands and result), example, and library: the
attention programs of the standard library that use it. With a name, the list holds only
the operations of that name.

Codes: U117 unknown operation in `azc ops`.
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from itertools import groupby
from typing import Annotated, Any

import typer

from azc.check.resolve import check_file
from azc.check.rewrite import operation_help
from azc.cli.completion import operations
from azc.cli.options import Json
from azc.cli.output import Output, out
from azc.diagnostics import UsageError, nearest
from azc.ops.contract import Op
from azc.ops.describe import (
    absence_text,
    attribute_text,
    causal_texts,
    cost_texts,
    example_text,
    group_text,
    source_text,
    type_text,
    weight_texts,
    written_text,
)
from azc.ops.table import load_ops
from azc.resources import stdlib_folder
from azc.syntax import ast
from azc.syntax.operators import OPERATORS

__all__ = ["ops"]

_WIDTH = 88
_INDENT = 12


def ops(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name or symbol of an operation; lists all operations by default.",
            show_default=False,
            autocompletion=operations,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the operations of attention programs, or describe one.

    Example: azc ops softmax
    """
    output = out(context)
    found = list(load_ops().values()) if name is None else _named(name)
    if output.as_json:
        output.result(operations=[_json(op) for op in found])
    elif name is None:
        _list(found, output)
    else:
        for place, op in enumerate(found):
            if place:
                output.line()
            _page(op, output)


def _named(name: str) -> list[Op]:
    """Find the operations with a name or symbol; `-` stands for two.

    Raise `UsageError` if there is none.
    """
    known = load_ops()
    found = [known[op] for op, each in OPERATORS.items() if each.symbol == name]
    if name in known:
        found = [known[name]]
    if not found:
        near = nearest(name, known)
        help_ = f"did you mean `{near}`?" if near else operation_help(name)
        raise UsageError("U117", f"there is no operation `{name}`", help_)
    return found


def _list(found: list[Op], output: Output) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = output.console()
    for title, members in groupby(found, group_text):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for head in ("name", "written", "type"):
            table.add_column(head, no_wrap=True)
        table.add_column("meaning")
        for op in members:
            table.add_row(op.name, written_text(op), type_text(op), op.doc)
        console.print(title, style="bold")
        console.print(table)
        console.print()
    output.line("To describe one of them: azc ops softmax")


def _page(op: Op, output: Output) -> None:
    for line in _wrapped(f"{written_text(op)}: {op.doc}", _WIDTH):
        output.line(line)
    output.line()
    _row("name", op.name, output)
    _row("type", type_text(op), output)
    _row("source", source_text(op), output)
    for attribute in op.attrs:
        values = f"{attribute.name}, {attribute_text(attribute)}: {attribute.doc}"
        _row("attribute", values, output)
    for name, shape in weight_texts(op).items():
        _row("learned", f"{name} {shape}", output)
    _table("FLOPs", cost_texts(op), output)
    _row("absence", absence_text(op), output)
    _table("causal", causal_texts(op), output)
    library = _library()[op.name]
    if library:
        _row("library", f"std.attention: {', '.join(library)}", output)
    output.line()
    for line in example_text(op).splitlines():
        output.line(f"    {line}")


def _row(head: str, text: str, output: Output) -> None:
    first, *rest = _wrapped(text, _WIDTH - _INDENT)
    output.line(f"{head:<{_INDENT}}{first}")
    for line in rest:
        output.line(" " * _INDENT + line)


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a text to lines, without breaking a type such as [n, d]."""
    kept = re.sub(r"(?<=\[\w,) (?=\w\])", "\u00a0", text)
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(kept, width)]


def _table(head: str, rows: dict[str, str], output: Output) -> None:
    """Print rows by types, merging types that have the same text."""
    said: dict[str, list[str]] = {}
    for types, text in rows.items():
        said.setdefault(text, []).append(types)
    for text, signatures in said.items():
        _row(head, f"{', '.join(signatures)}: {text}", output)
        head = ""


@cache
def _library() -> dict[str, list[str]]:
    """Return, for every operation, the programs of std.attention that use it."""
    found: dict[str, list[str]] = {name: [] for name in load_ops()}
    for name, spec in check_file(stdlib_folder() / "attention.azg").attentions.items():
        inside = (ast.expressions(statement.value) for statement in spec.body)
        used = {e.op for each in inside for e in each if isinstance(e, ast.Apply)}
        for op in used:
            found[op].append(name)
    return found


def _json(op: Op) -> dict[str, Any]:
    return {
        "name": op.name,
        "written": written_text(op),
        "group": group_text(op),
        "doc": op.doc,
        "source": source_text(op),
        "operands": list(op.operands),
        "type": type_text(op),
        "attributes": [
            {"name": each.name, "doc": each.doc, "values": attribute_text(each)}
            for each in op.attrs
        ],
        "weights": weight_texts(op),
        "flops": cost_texts(op),
        "absence": absence_text(op),
        "causal": causal_texts(op),
        "example": example_text(op),
        "library": _library()[op.name],
    }
