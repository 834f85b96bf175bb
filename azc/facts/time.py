"""How every value of a program comes about in a causal model."""

from __future__ import annotations

from collections.abc import Mapping

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.ops.axes import Time, TimeFault
from azc.ops.table import load_ops

__all__ = ["times", "without_causal_meaning"]


def times(graph: Graph) -> Mapping[Node, Time]:
    """The time of every value. Raises `TimeFault` for a program without causal meaning."""
    found: dict[Node, Time] = {}
    for node in graph.nodes:
        if node.op == INPUT:
            found[node] = Time.STREAM
        elif node.op == NUMBER:
            found[node] = Time.CONSTANT
        else:
            operands = [(arg.shape, found[arg]) for arg in node.args]
            found[node] = load_ops()[node.op].axes.time(operands, node.shape)
    return found


def without_causal_meaning(graph: Graph) -> bool:
    """Whether a program can't be that of a causal model."""
    try:
        times(graph)
    except TimeFault:
        return True
    return False
