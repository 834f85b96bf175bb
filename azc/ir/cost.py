"""Floating point operations of a program, counted from its graph."""

from __future__ import annotations

from azc.ir.graph import INPUT, NUMBER, Graph
from azc.ops.contract import Sizes
from azc.ops.table import operation

__all__ = ["graph_flops"]


def graph_flops(graph: Graph, n: int, d: int) -> int:
    """Count the floating point operations of one head on one sequence.

    Args:
        graph: The program.
        n: The number of tokens.
        d: The width of the head.
    """
    sizes = Sizes(n, d)
    total = 0
    for node in graph.nodes:
        if node.op not in (INPUT, NUMBER):
            shapes = tuple(arg.shape for arg in node.args)
            total += operation(node.op).cost(sizes, shapes, node.attrs).flops
    return total
