"""Analysis of how the values of a program change over time in a causal model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.ops.axes import Time, TimeFault
from azc.ops.table import operation
from azc.shapes import N

__all__ = [
    "axis_so_far",
    "is_read_by_row",
    "reach_of",
    "times",
    "without_causal_meaning",
]


def times(graph: Graph) -> Mapping[Node, Time]:
    """Compute the time of every value.

    Raises:
        TimeFault: If the program has no causal meaning; it contains the span of the
            operation.
    """
    found: dict[Node, Time] = {}
    for node in graph.nodes:
        if node.op == INPUT:
            found[node] = Time.STREAM
        elif node.op == NUMBER:
            found[node] = Time.CONSTANT
        else:
            operands = [(arg.shape, found[arg]) for arg in node.args]
            try:
                found[node] = operation(node.op).axes.time(operands, node.shape)
            except TimeFault:
                message = f"`{node.op}` of {node.args[0].shape} has no causal meaning"
                raise TimeFault(message, node.span) from None
    return found


def is_read_by_row(node: Node, place: int) -> bool:
    """Return whether each row of a value depends only on its own row of the operand
    `place`.
    """
    return node.shape.rows is N and operation(node.op).axes.row_wise(place)


def axis_so_far(
    node: Node, place: int, time: Mapping[Node, Time]
) -> Literal[-1, -2] | None:
    """Return the token axis of an operand along which a value needs earlier tokens too.

    Args:
        node: The value, computed for whole sequences.
        place: The index of the operand.
        time: The times of the values; empty for an encoder.

    Returns:
        The axis, or None if each row needs only its own.
    """
    if not time or node.shape.rows is not N or node.op == "transpose":
        return None
    arg = node.args[place]
    if time[arg] is Time.MIRROR:
        return -1
    if time[arg] is Time.STREAM and not is_read_by_row(node, place):
        return -2
    return None


def reach_of(node: Node, columns: int | None) -> int | None:
    """Return how many tokens before its own a row of a value reads, None for all.

    Args:
        node: The value, computed by plain code.
        columns: The limit for scores.
    """
    if node.op in (INPUT, NUMBER):
        return columns
    own = operation(node.op).reach(node.attrs)
    return columns if own is None else own


def without_causal_meaning(graph: Graph) -> bool:
    """Return whether a causal model can't compute a program."""
    try:
        times(graph)
    except TimeFault:
        return True
    return False
