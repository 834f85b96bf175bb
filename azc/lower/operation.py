"""Lowering of one operation to fx, in the type that it computes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from torch import fx

from azc.ir.graph import Node
from azc.lower.builder import FxBuilder
from azc.ops.contract import Builder, Op, Operand
from azc.ops.table import operation
from azc.shapes import ONE, N, Shape

__all__ = ["lower_number", "lower_operation"]

_SCORES = Shape(N, N)


def lower_operation(
    builder: FxBuilder, node: Node, operands: Sequence[Operand], wide: bool
) -> fx.Node:
    """Write an operation of a graph in the type that it computes in.

    No masks are inserted here: they are operations of the graph.

    Args:
        builder: The builder to write to.
        node: The operation.
        operands: Its operands.
        wide: Whether the result is in float32 if the program's inputs have a narrower
            type.

    Returns:
        The node of the result.
    """
    op = operation(node.op)
    kind = _kind(op, node, [operand.shape for operand in operands], wide)
    omits = node.omits or (None,) * len(operands)
    taken = []
    for operand, absent in zip(operands, omits, strict=True):
        made = operand.node
        becomes = operand.wide if kind == "own" else kind != "narrow"
        if kind == "ranged":
            made = builder.ranged(made)
        elif becomes != operand.wide:
            made = builder.wide(made) if becomes else builder.narrow(made)
        taken.append(replace(operand, node=made, wide=becomes, omits=absent))
    asked: Builder = builder
    result = op.lower(asked, *taken, attrs=node.attrs)
    if op.precision == "inside" or kind == "ranged":
        result = builder.wide(result) if wide else builder.narrow(result)
    return result


def _kind(
    op: Op, node: Node, operands: Sequence[Shape], wide: bool
) -> Literal["own", "narrow", "wide", "ranged"]:
    """Return the type that operands are converted to.

    "own" keeps their types, "narrow" is the type of the program's inputs, "wide" at
    least float32, and "ranged" the type of the inputs if that has the range of float32,
    else "wide".
    """
    if op.precision == "same" or (op.precision == "weights" and not wide):
        return "own"
    if op.precision != "product":
        return "wide"
    if not wide:
        return "narrow"
    # Products with n × n numbers are slow in float32, unless the result has only one row
    # or column.
    scores = _SCORES in (node.shape, *operands)
    statistic = ONE in (node.shape.rows, node.shape.cols)
    return "ranged" if scores and not statistic else "wide"


def lower_number(
    value: float, wide: bool, builder: FxBuilder, dims: int = 4
) -> fx.Node:
    """Write a constant as a tensor of one entry with `dims` dimensions."""
    # In float32 first: `new_full` raises for a number out of the range of float16, and
    # conversion to float16 does not.
    shape = (1,) * dims
    made = builder.method(
        "new_full", builder.sample, shape, value, dtype=builder.wide_type()
    )
    return made if wide else builder.narrow(made)
