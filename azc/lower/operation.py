"""One operation to fx, in the type that it computes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import fx

from azc.ir.graph import Node
from azc.lower.builder import FxBuilder
from azc.ops.contract import Builder, Operand
from azc.ops.table import operation

__all__ = ["lower_number", "lower_operation"]


def lower_operation(
    builder: FxBuilder, node: Node, operands: Sequence[Operand]
) -> fx.Node:
    """Writes an operation of a graph in the type that it computes in; the result's node.

    Masks are operations like any other: here none is put in.
    """
    op = operation(node.op)
    omits = node.omits or (None,) * len(operands)
    taken = []
    for operand, absent in zip(operands, omits, strict=True):
        made = operand.node
        if op.precision == "narrow" and operand.wide:
            made = builder.narrow(made)
        elif op.precision in ("wide", "inside") and not operand.wide:
            made = builder.wide(made)
        taken.append(replace(operand, node=made, omits=absent))
    asked: Builder = builder
    result = op.lower(asked, *taken, attrs=node.attrs)
    if op.precision == "inside" and not any(operand.wide for operand in operands):
        result = builder.narrow(result)
    return result


def lower_number(
    value: float, wide: bool, builder: FxBuilder, dims: int = 4
) -> fx.Node:
    """Writes a constant, a tensor of one entry."""
    # In float32 first: float16 refuses what it can't hold instead of rounding it.
    shape = (1,) * dims
    made = builder.method(
        "new_full", builder.sample, shape, value, dtype=builder.wide_type()
    )
    return made if wide else builder.narrow(made)
