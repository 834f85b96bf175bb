"""Elementwise operations of two operands, broadcast over 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azc.ops.contract import (
    Absence,
    Attrs,
    Builder,
    ErrorSample,
    Fill,
    Op,
    Operand,
    Sample,
)
from azc.ops.rules import (
    EVERYWHERE,
    cleared,
    dirty,
    each,
    keep,
    meet,
    no_weights,
    per_entry,
)
from azc.shapes import ALL_SHAPES, D, N, Shape

__all__ = ["OPS"]

_SAMPLES = tuple(
    Sample((a, b), {}) for a in ALL_SHAPES for b in ALL_SHAPES if a.broadcast(b)
)


def _binary(
    name: str,
    doc: str,
    target: str,
    function: Callable[[Any, Any, Any], Any],
    absence: Absence,
) -> Op:
    def lower(b: Builder, x: Operand, y: Operand, attrs: Attrs) -> Any:
        return b.call(target, x.node, y.node)

    return Op(
        name=name,
        doc=doc,
        source=f"torch: {target}",
        operands=("x", "y"),
        attrs=(),
        typing=meet,
        weights=no_weights,
        reference=each(function),
        lower=lower,
        flops=per_entry(1),
        absence=absence,
        samples=_SAMPLES,
        errors=(
            ErrorSample((Shape(N, D), Shape(D, N)), "do not meet"),
            ErrorSample((Shape(N, N), Shape(N, D)), "do not meet"),
        ),
    )


_ANY = Absence(fill=(None, None), after=keep)
# Products of what stands in absent entries could overflow, one by 0 can't.
_FACTOR = Absence(fill=(Fill(0.0, EVERYWHERE), None), after=cleared)
# A divisor of 1 in absent entries keeps values and gradients there finite.
_DIVISOR = Absence(fill=(None, Fill(1.0, EVERYWHERE)), after=dirty)

OPS = (
    _binary("add", "x + y", "torch.add", lambda np, x, y: x + y, _ANY),
    _binary("sub", "x − y", "torch.sub", lambda np, x, y: x - y, _ANY),
    _binary("mul", "x · y", "torch.mul", lambda np, x, y: x * y, _FACTOR),
    _binary("div", "x / y", "torch.div", lambda np, x, y: x / y, _DIVISOR),
    _binary(
        "maximum",
        "the larger of x and y",
        "torch.maximum",
        lambda np, x, y: np.maximum(x, y),
        _ANY,
    ),
    _binary(
        "minimum",
        "the smaller of x and y",
        "torch.minimum",
        lambda np, x, y: np.minimum(x, y),
        _ANY,
    ),
)
