"""Elementwise operations of one operand, rows of one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from azc.ops.axes import axes
from azc.ops.contract import (
    Absence,
    Attrs,
    Builder,
    FxNode,
    Op,
    Operand,
    Precision,
    Sample,
)
from azc.ops.rules import (
    Fills,
    all_before,
    cleared,
    dirty,
    each,
    fill_nothing,
    fill_result,
    keep,
    no_weights,
    omit_nothing,
    per_entry,
    same,
)
from azc.shapes import ALL_SHAPES

__all__ = ["OPS", "SOFTPLUS_THRESHOLD"]

SOFTPLUS_THRESHOLD = 20.0  # torch.nn.functional.softplus: the identity above it


def _sigmoid(np: Any, x: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -x))


def _gelu(np: Any, x: Any) -> Any:
    erf = np.vectorize(math.erf, otypes=[float])
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def _elu(np: Any, x: Any) -> Any:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _softplus(np: Any, x: Any) -> Any:
    return np.where(x > SOFTPLUS_THRESHOLD, x, np.logaddexp(0.0, x))


def _relu(np: Any, x: Any) -> Any:
    return np.maximum(x, 0.0)


def _unary(
    name: str,
    doc: str,
    target: str,
    function: Callable[[Any, Any], Any],
    flops: int,
    at_zero: str,
    steep: bool = False,
    precision: Precision = "same",
) -> Op:
    """Make an operation from a row of the table.

    `at_zero` says what happens to 0 in absent entries: "zero" means it stays 0, "other"
    that it becomes another finite number, "singular" that it becomes infinite or NaN,
    so that absent entries are filled with 1. `steep` marks functions that can overflow
    for moderate operands: absent entries are filled with 0.
    """
    fill: Fills = fill_nothing
    if at_zero == "singular":
        fill = fill_result(1.0)
    elif steep:
        fill = fill_result(0.0)
    after = dirty
    if at_zero == "zero":
        after = cleared if steep else keep

    def lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
        return b.call(target, x.node)

    return Op(
        name=name,
        doc=doc,
        source=f"torch: {target}",
        operands=("x",),
        attrs=(),
        axes=axes("a b -> a b"),
        reach=all_before,
        typing=same,
        weights=no_weights,
        reference=each(function),
        lower=lower,
        precision=precision,
        flops=per_entry(flops),
        absence=Absence(fill=fill, omits=omit_nothing, after=after, local=True),
        samples=tuple(Sample((shape,), {}) for shape in ALL_SHAPES),
        errors=(),
    )


F = "torch.nn.functional"

OPS = (
    _unary("neg", "−x", "torch.neg", lambda np, x: -x, 1, "zero"),
    _unary("abs", "|x|", "torch.abs", lambda np, x: np.abs(x), 1, "zero"),
    _unary(
        "exp",
        "eˣ",
        "torch.exp",
        lambda np, x: np.exp(x),
        4,
        "other",
        steep=True,
        precision="wide",
    ),
    _unary(
        "log",
        "natural logarithm",
        "torch.log",
        lambda np, x: np.log(x),
        4,
        "singular",
        precision="wide",
    ),
    _unary("sqrt", "√x", "torch.sqrt", lambda np, x: np.sqrt(x), 4, "singular"),
    _unary(
        "square",
        "x²",
        "torch.square",
        lambda np, x: x * x,
        1,
        "zero",
        steep=True,
        precision="wide",
    ),
    _unary(
        "reciprocal",
        "1 / x",
        "torch.reciprocal",
        lambda np, x: 1.0 / x,
        1,
        "singular",
        precision="wide",
    ),
    _unary("tanh", "tanh x", "torch.tanh", lambda np, x: np.tanh(x), 6, "zero"),
    _unary("sigmoid", "1 / (1 + e⁻ˣ)", "torch.sigmoid", _sigmoid, 6, "other"),
    _unary(
        "softplus",
        "log(1 + eˣ); x where x > 20",
        f"{F}.softplus",
        _softplus,
        8,
        "other",
    ),
    _unary(
        "logsigmoid",
        "log(1 / (1 + e⁻ˣ))",
        f"{F}.logsigmoid",
        lambda np, x: -np.logaddexp(0.0, -x),
        8,
        "other",
    ),
    _unary(
        "softsign",
        "x / (1 + |x|)",
        f"{F}.softsign",
        lambda np, x: x / (1.0 + np.abs(x)),
        3,
        "zero",
    ),
    _unary("relu", "max(x, 0)", "torch.relu", _relu, 1, "zero"),
    _unary("gelu", "x Φ(x), with erf", f"{F}.gelu", _gelu, 8, "zero"),
    _unary(
        "silu",
        "x / (1 + e⁻ˣ)",
        f"{F}.silu",
        lambda np, x: x * _sigmoid(np, x),
        7,
        "zero",
    ),
    _unary("elu", "x; eˣ − 1 where x < 0", f"{F}.elu", _elu, 5, "zero"),
)
