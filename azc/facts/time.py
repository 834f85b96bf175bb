"""How every value of a program comes about in a causal model."""

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
    """The time of every value. Raises `TimeFault` for a program without causal meaning,
    which says at which operation.
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
    """Whether a row of a value takes from the operand in this place no row but its own."""
    return node.shape.rows is N and operation(node.op).axes.row_wise(place)


def axis_so_far(
    node: Node, place: int, time: Mapping[Node, Time]
) -> Literal[-1, -2] | None:
    """The axis of tokens of an operand in this place of which a value of whole sequences
    needs earlier ones too; None where each row needs its own alone. `time` is empty for
    an encoder.
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
    """How many tokens before its own a row of a value of plain code reads, None for all;
    `columns`: of scores.
    """
    if node.op in (INPUT, NUMBER):
        return columns
    own = operation(node.op).reach(node.attrs)
    return columns if own is None else own


def without_causal_meaning(graph: Graph) -> bool:
    """Whether a program can't be that of a causal model."""
    try:
        times(graph)
    except TimeFault:
        return True
    return False
