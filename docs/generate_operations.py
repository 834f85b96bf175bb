"""Write docs/operations.md, the reference of all operations, from their definitions.

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

This page lists every operation of the language. `azc ops NAME` also shows the cost of an
operation, how it handles absent entries, what it means in a causal model, and a program that
uses it:

```console
$ azc ops scale
scale(x): x / √d, d the width of one head
…
```

- **Types.** `n` is the number of tokens and `d` the width of one head. A letter that occurs
  twice stands for the same dimension. *Broadcast* means that dimensions of length `1` expand
  to match the other operand, and no others do.
- **Absent entries**, in padding or outside a window, are described in
  [the language reference](language.md#absence).
- **Operators.** An operation with a symbol can also be called, as in `add(q, k)`. `azc fmt`
  rewrites the call with the symbol.

This page is generated from the definitions in `azc/ops/defs`. Run
`python docs/generate_operations.py` to update it.
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
    """Return the whole page."""
    ops = list(load_ops().values())
    lines = [HEAD]
    for title, members in groupby(ops, group_text):
        lines.extend((f"## {title}", ""))
        head = ("name", "syntax", "type", "result", "source")
        lines.extend((*_table(head, map(_row, members)), ""))
    lines.extend(("## Attributes", ""))
    lines.append("Attributes are passed by name and have no defaults.\n")
    lines.extend((*_attributes(ops), ""))
    lines.extend(("## Learned weights", ""))
    lines.append("Each call in the source has its own weights.\n")
    lines.extend((*_weights(ops), ""))
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
