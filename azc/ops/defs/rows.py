"""Operations over the last axis: reductions and normalizations of each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azc.ops.axes import axes
from azc.ops.contract import (
    Absence,
    Absent,
    Attrs,
    Builder,
    Frame,
    FxNode,
    Op,
    Operand,
    Precision,
    Sample,
    State,
    Value,
)
from azc.ops.rules import (
    all_before,
    fill_in_row,
    no_weights,
    omit_in_row,
    omit_nothing,
    one_column,
    per_operand_entry,
    row_reduce,
    rows_only,
    same,
)
from azc.shapes import ALL_SHAPES, Shape

__all__ = ["LAYER_NORM_EPS", "NORMALIZE_EPS", "OPS", "RMS_NORM_EPS"]

LAYER_NORM_EPS = 1e-5  # torch.nn.functional.layer_norm
NORMALIZE_EPS = 1e-12  # torch.nn.functional.normalize
RMS_NORM_EPS = 2.0**-23  # torch.nn.functional.rms_norm in float32, here in every type


def _count(frame: Frame, x: Value) -> Any:
    return frame.np.maximum(x.present.sum(-1, keepdims=True), 1)


def _mean(frame: Frame, x: Value) -> Any:
    return (frame.filled(x, 0.0) / _count(frame, x)).sum(-1, keepdims=True)


def _root(frame: Frame, x: Value, eps: float) -> Any:
    """Return the root of the mean square plus `eps`."""
    np = frame.np
    of_squares = frame.norm(frame.filled(x, 0.0)) / np.sqrt(_count(frame, x))
    return np.hypot(of_squares, np.sqrt(eps))


def _reduced(frame: Frame, data: Any) -> Value:
    return Value(data, frame.np.ones(data.shape, bool))


def _sum_reference(frame: Frame, x: Value) -> Value:
    return _reduced(frame, frame.filled(x, 0.0).sum(-1, keepdims=True))


def _mean_reference(frame: Frame, x: Value) -> Value:
    return _reduced(frame, _mean(frame, x))


def _amax_reference(frame: Frame, x: Value) -> Value:
    largest = frame.filled(x, -frame.np.inf).max(-1, keepdims=True)
    some = x.present.any(-1, keepdims=True)
    return _reduced(frame, frame.np.where(some, largest, 0.0))


def _softmax_reference(frame: Frame, x: Value) -> Value:
    np = frame.np
    data = frame.filled(x, -np.inf)
    some = x.present.any(-1, keepdims=True)
    top = np.where(some, data.max(-1, keepdims=True), 0.0)
    weight = np.exp(data - top)
    total = np.where(some, weight.sum(-1, keepdims=True), 1.0)
    return Value(np.where(x.present, weight / total, 0.0), x.present)


def _normalize_reference(frame: Frame, x: Value) -> Value:
    norm = frame.norm(frame.filled(x, 0.0))
    return Value(x.data / frame.np.maximum(norm, NORMALIZE_EPS), x.present)


def _layer_norm_reference(frame: Frame, x: Value) -> Value:
    centered = Value(x.data - _mean(frame, x), x.present)
    return Value(centered.data / _root(frame, centered, LAYER_NORM_EPS), x.present)


def _rms_norm_reference(frame: Frame, x: Value) -> Value:
    return Value(x.data / _root(frame, x, RMS_NORM_EPS), x.present)


def _sum_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("torch.sum", x.node, -1, keepdim=True)


def _mean_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("azc.lower.rows.mean", x.node, b.gone(x))


def _amax_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("torch.amax", x.node, -1, keepdim=True)


def _softmax_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("azc.lower.rows.softmax", x.node)


def _normalize_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("azc.lower.rows.normalize", x.node, NORMALIZE_EPS)


def _layer_norm_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("azc.lower.rows.layer_norm", x.node, b.gone(x), LAYER_NORM_EPS)


def _rms_norm_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.call("azc.lower.rows.rms_norm", x.node, b.gone(x), RMS_NORM_EPS)


def _after_softmax(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    places = states[0].places - {"rows"}
    return State(result, states[0].radius, places)


def _row_op(
    name: str,
    doc: str,
    reference: Callable[..., Value],
    lower: Callable[..., FxNode],
    flops: int,
    fill: float,
    after: Callable[[tuple[State, ...], Shape, Attrs], State],
    precision: Precision,
    source: str,
    omits: Callable[[tuple[State, ...]], tuple[Absent | None, ...]] = omit_nothing,
) -> Op:
    return Op(
        name=name,
        doc=doc,
        source=source,
        operands=("x",),
        attrs=(),
        axes=axes("a f -> a 1" if after is row_reduce else "a f -> a b"),
        reach=all_before,
        typing=one_column if after is row_reduce else same,
        weights=no_weights,
        reference=reference,
        lower=lower,
        precision=precision,
        flops=per_operand_entry(flops),
        absence=Absence(fill=fill_in_row(fill), omits=omits, after=after, local=False),
        samples=tuple(Sample((shape,), {}) for shape in ALL_SHAPES),
        errors=(),
    )


_INF = float("inf")

OPS = (
    _row_op(
        "softmax",
        "eˣ divided by the sum of the row; a row without present entries is all zeros",
        _softmax_reference,
        _softmax_lower,
        8,
        -_INF,
        _after_softmax,
        "weights",
        "torch.nn.functional.softmax(x, -1)",
    ),
    _row_op(
        "normalize",
        "x divided by the Euclidean norm of the row (at least 1e-12)",
        _normalize_reference,
        _normalize_lower,
        3,
        0.0,
        rows_only,
        "inside",
        "torch.nn.functional.normalize(x, dim=-1)",
    ),
    _row_op(
        "layer_norm",
        "the row, normalized to mean 0 and variance 1 (eps 1e-5), without learned weights",
        _layer_norm_reference,
        _layer_norm_lower,
        8,
        0.0,
        rows_only,
        "inside",
        "Ba et al. 2016; torch.nn.functional.layer_norm over the last axis",
        omit_in_row,
    ),
    _row_op(
        "rms_norm",
        "x divided by the root mean square of the row (eps 2⁻²³), without learned weights",
        _rms_norm_reference,
        _rms_norm_lower,
        4,
        0.0,
        rows_only,
        "inside",
        "Zhang and Sennrich 2019; torch.nn.functional.rms_norm over the last axis",
        omit_in_row,
    ),
    _row_op(
        "sum",
        "sum of the row",
        _sum_reference,
        _sum_lower,
        1,
        0.0,
        row_reduce,
        "wide",
        "torch.sum(x, -1, keepdim=True)",
    ),
    _row_op(
        "mean",
        "mean of the row",
        _mean_reference,
        _mean_lower,
        1,
        0.0,
        row_reduce,
        "inside",
        "torch.mean(x, -1, keepdim=True)",
        omit_in_row,
    ),
    _row_op(
        "amax",
        "largest entry of the row",
        _amax_reference,
        _amax_lower,
        1,
        -_INF,
        row_reduce,
        "same",
        "torch.amax(x, -1, keepdim=True)",
    ),
)
