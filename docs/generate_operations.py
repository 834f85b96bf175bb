"""Writes docs/operations.md, the reference of all operations, from their definitions.

python docs/generate_operations.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from itertools import groupby, product
from pathlib import Path

from azc.ops.contract import Op, TypeFault
from azc.ops.table import load_ops
from azc.shapes import ALL_SHAPES, D, Dim, N, Shape
from azc.syntax import ast
from azc.syntax.format import format_expr

PAGE = Path(__file__).resolve().parent / "operations.md"

HEAD = """\
# Operations

Every operation of the language. The page is made from the definitions in
`azc/ops/defs` by `python docs/generate_operations.py`; a test holds it up to date.

In a type, `n` is the number of tokens, `d` the width of one head, and a letter that
comes twice is the same both times. *Broadcast* means that axes of length `1` meet any
other, and nothing else does. Where entries of an operand are absent (padding, or
outside a window) see [the language](language.md#absence).

An operation with a symbol may be written as a call too, `add(q, k)`; `azc fmt` writes
the symbol.
"""

# Type rules in words. Each is held against the rule itself, so none of them can lie.
PATTERNS = (
    "[n, d] → [n, d]",
    "[n, n] → [n, n]",
    "[a, b] → [a, b]",
    "[a, b] → [a, 1]",
    "[a, b] → [b, a]",
    "[a, b] × [b, c] → [a, c]",
    "[a, c] × [b, c] → [a, b]",
)
BROADCAST = "broadcast"


def _result(pattern: str, shapes: tuple[Shape, ...]) -> Shape | None:
    """The type that a pattern gives for operands of these types, or None."""
    *operands, last = [part.split(", ") for part in re.findall(r"\[(.*?)\]", pattern)]
    known: dict[str, Dim] = {"n": N, "d": D, "1": Dim.ONE}
    if len(operands) != len(shapes):
        return None
    for (rows, cols), shape in zip(operands, shapes, strict=True):
        for letter, dim in ((rows, shape.rows), (cols, shape.cols)):
            if known.setdefault(letter, dim) is not dim:
                return None
    return Shape(known[last[0]], known[last[1]])


def _typed(op: Op, shapes: tuple[Shape, ...]) -> Shape | None:
    try:
        return op.result(shapes)
    except TypeFault:
        return None


def type_text(op: Op) -> str:
    """The type rule in words. Raises ValueError where no pattern says what it does."""
    cases = list(product(ALL_SHAPES, repeat=len(op.operands)))
    for pattern in PATTERNS:
        if all(_typed(op, shapes) == _result(pattern, shapes) for shapes in cases):
            return pattern
    if len(op.operands) == 2 and all(
        _typed(op, (a, b)) == a.broadcast(b) for a, b in cases
    ):
        return BROADCAST
    raise ValueError(
        f"docs/generate_operations.py has no words for the type of {op.name}"
    )


def _written(op: Op) -> str:
    """How a call is written: by its symbol if it has one."""
    operands = tuple(ast.Name(name) for name in op.operands)
    attrs = tuple(ast.Attr(a.name, ast.Name(a.name[0])) for a in op.attrs)
    return format_expr(ast.Apply(op.name, operands, attrs))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return ["| " + " | ".join(_cell(x) for x in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _row(op: Op) -> tuple[str, ...]:
    source = op.source.removeprefix("torch: ")
    if source.startswith("torch."):
        source = f"`{source}`"
    return f"`{op.name}`", f"`{_written(op)}`", type_text(op), op.doc, source


def _group(op: Op) -> str:
    """The heading that an operation stands under: what its module says it holds."""
    text = sys.modules[op.lower.__module__].__doc__ or ""
    return re.split(r"[,:.]", text, maxsplit=1)[0]


def _attributes(ops: Iterable[Op]) -> list[str]:
    rows = []
    for op in ops:
        for a in op.attrs:
            kind = "an odd number" if a.odd else "a whole number"
            values = f"{kind} from {a.minimum:,} to {a.maximum:,}"
            rows.append((f"`{op.name}`", f"`{a.name}`", a.doc, values))
    return _table(("operation", "attribute", "meaning", "values"), rows)


def _weights(ops: Iterable[Op]) -> list[str]:
    rows = []
    for op in ops:
        least = {a.name: a.minimum for a in op.attrs}
        most = {a.name: a.maximum for a in op.attrs}
        for weight, large in zip(op.weights(least), op.weights(most), strict=True):
            # An axis whose length follows an attribute is called by its name.
            names = {value: name for name, value in most.items()}
            axes = [str(names.get(axis, axis)) for axis in large.axes]
            rows.append((f"`{op.name}`", f"`{weight.name}`", f"[{', '.join(axes)}]"))
    return _table(("operation", "weight", "shape"), rows)


def page() -> str:
    """The whole page."""
    ops = list(load_ops().values())
    lines = [HEAD]
    for title, members in groupby(ops, _group):
        lines.extend((f"## {title}", ""))
        head = ("name", "written", "type", "meaning", "source")
        lines.extend((*_table(head, map(_row, members)), ""))
    lines.extend(("## Attributes", ""))
    lines.append("Attributes are given by name and have no defaults.\n")
    lines.extend((*_attributes(ops), ""))
    lines.extend(("## Learned weights", ""))
    lines.append("Every call that is written has weights of its own.\n")
    lines.extend((*_weights(ops), ""))
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
