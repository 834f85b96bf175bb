"""One operation to fx: its operands filled, in the type that it computes in."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from azc.lower.builder import FxBuilder
from azc.ops.contract import Attrs, Op, Operand, State

__all__ = ["lower_number", "lower_operation"]


def lower_operation(
    builder: FxBuilder,
    op: Op,
    operands: Sequence[Operand],
    attrs: Attrs,
    result: State,
) -> fx.Node:
    """Writes one operation: its operands filled where entries are absent, in the type
    that it computes in, and the result's node.
    """
    states = tuple(operand.state for operand in operands)
    taken = []
    for operand, fill in zip(operands, op.absence.fill(states, result), strict=True):
        node = operand.node if fill is None else builder.fill(operand, fill)
        if op.precision == "narrow" and operand.wide:
            node = builder.narrow(node)
        elif op.precision in ("wide", "inside") and not operand.wide:
            node = builder.wide(node)
        taken.append(Operand(node, operand.state, operand.wide, operand.whole))
    made: fx.Node = op.lower(builder, *taken, attrs=attrs)
    if op.precision == "inside" and not any(operand.wide for operand in operands):
        made = builder.narrow(made)
    return made


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
