"""Which values are in float32 where a program's inputs are in a narrower type."""

from __future__ import annotations

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.ops.table import operation

__all__ = ["wide_values"]

# The normal numbers of float16; bfloat16 has more.
_SMALLEST, _LARGEST = 2.0**-14, 65504.0


def wide_values(graph: Graph) -> frozenset[Node]:
    """The values that are in float32: what an operation leaves there, what is computed
    from one elementwise, and numbers that float16 would round to 0 or to infinity.
    """
    wide: set[Node] = set()
    for node in graph.nodes:
        if node.op == INPUT:
            continue
        if node.op == NUMBER:
            size = abs(node.number)
            if size and not _SMALLEST <= size <= _LARGEST:
                wide.add(node)
            continue
        precision = operation(node.op).precision
        inherited = any(arg in wide for arg in node.args)
        if precision == "wide" or (precision != "narrow" and inherited):
            wide.add(node)
    return frozenset(wide)
