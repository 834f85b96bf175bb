"""Elementwise operations of two operands, broadcast over 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azc.ops.axes import axes
from azc.ops.contract import (
    Absence,
    Attrs,
    Builder,
    ErrorSample,
    Fill,
    FxNode,
    Op,
    Operand,
    Sample,
    State,
)
from azc.ops.rules import (
    all_before,
    cleared,
    dirty,
    each,
    expressed,
    fill_nothing,
    keep,
    meet,
    no_weights,
    omit_nothing,
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
    def lower(b: Builder, x: Operand, y: Operand, attrs: Attrs) -> FxNode:
        return b.call(target, x.node, y.node)

    return Op(
        name=name,
        doc=doc,
        source=f"torch: {target}",
        operands=("x", "y"),
        attrs=(),
        axes=axes("a b, a b -> a b"),
        reach=all_before,
        typing=meet,
        weights=no_weights,
        reference=each(function),
        lower=lower,
        precision="same",
        flops=per_entry(1),
        absence=absence,
        samples=_SAMPLES,
        errors=(
            ErrorSample((Shape(N, D), Shape(D, N)), "do not meet"),
            ErrorSample((Shape(N, N), Shape(N, D)), "do not meet"),
        ),
    )


def _fill_factors(states: tuple[State, ...], result: State) -> tuple[Fill | None, ...]:
    """Fill one factor with 0 wherever the product is absent: it could overflow
    otherwise.
    """
    first, second = (expressed(state, result) for state in states)
    return (
        Fill(0.0, first, result.radius),
        Fill(0.0, second - first, result.radius),
    )


def _fill_quotient(states: tuple[State, ...], result: State) -> tuple[Fill | None, ...]:
    """Fill the divisor with 1 wherever the quotient is absent, or else the dividend
    with 0.

    Otherwise the slope, the dividend over the square of the divisor, could overflow.
    """
    dividend, divisor = (expressed(state, result) for state in states)
    return (
        Fill(0.0, dividend - divisor, result.radius),
        Fill(1.0, divisor, result.radius),
    )


_ANY = Absence(fill=fill_nothing, omits=omit_nothing, after=keep, local=True)
_PRODUCT = Absence(fill=_fill_factors, omits=omit_nothing, after=cleared, local=True)
_QUOTIENT = Absence(fill=_fill_quotient, omits=omit_nothing, after=dirty, local=True)

OPS = (
    _binary("add", "x + y", "torch.add", lambda np, x, y: x + y, _ANY),
    _binary("sub", "x − y", "torch.sub", lambda np, x, y: x - y, _ANY),
    _binary("mul", "x · y", "torch.mul", lambda np, x, y: x * y, _PRODUCT),
    _binary("div", "x / y", "torch.div", lambda np, x, y: x / y, _QUOTIENT),
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
