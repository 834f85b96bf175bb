"""Writes docs/operations.md, the reference of all operations, from their definitions.

python docs/generate_operations.py
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from azc.ops.contract import Op
from azc.ops.describe import (
    attribute_text,
    group_text,
    source_text,
    type_text,
    weight_texts,
    written_text,
)
from azc.ops.table import load_ops

PAGE = Path(__file__).resolve().parent / "operations.md"

HEAD = """\
# Operations

Every operation of the language; `azc ops NAME` also says what one costs, what it does
with absent entries and in a causal model, and shows a program with it. The page is made
from the definitions in `azc/ops/defs` by `python docs/generate_operations.py`; a test
holds it up to date.

In a type, `n` is the number of tokens, `d` the width of one head, and a letter that
comes twice is the same both times. *Broadcast* means that axes of length `1` meet any
other, and nothing else does. Where entries of an operand are absent (padding, or
outside a window) see [the language](language.md#absence).

An operation with a symbol may be written as a call too, `add(q, k)`; `azc fmt` writes
the symbol.
"""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return ["| " + " | ".join(_cell(x) for x in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _row(op: Op) -> tuple[str, ...]:
    source = source_text(op)
    if source.startswith("torch."):
        source = f"`{source}`"
    return f"`{op.name}`", f"`{written_text(op)}`", type_text(op), op.doc, source


def _attributes(ops: Iterable[Op]) -> list[str]:
    rows = [
        (f"`{op.name}`", f"`{each.name}`", each.doc, attribute_text(each))
        for op in ops
        for each in op.attrs
    ]
    return _table(("operation", "attribute", "meaning", "values"), rows)


def _weights(ops: Iterable[Op]) -> list[str]:
    rows = [
        (f"`{op.name}`", f"`{name}`", shape)
        for op in ops
        for name, shape in weight_texts(op).items()
    ]
    return _table(("operation", "weight", "shape"), rows)


def page() -> str:
    """The whole page."""
    ops = list(load_ops().values())
    lines = [HEAD]
    for title, members in groupby(ops, group_text):
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
