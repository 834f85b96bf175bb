"""Matrix operations: products, distances, transposition, scaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azc.ops.axes import axes
from azc.ops.contract import (
    Absence,
    Absent,
    Attrs,
    Builder,
    ErrorSample,
    Fill,
    Frame,
    FxNode,
    Op,
    Operand,
    Place,
    Precision,
    Sample,
    Sizes,
    State,
    TypeFault,
    Value,
)
from azc.ops.rules import (
    all_before,
    fill_in_row,
    fill_nothing,
    keep,
    no_weights,
    omit_in_row,
    omit_nothing,
    per_entry,
    row_reduce,
    same,
)
from azc.shapes import ALL_SHAPES, D, Dim, N, Shape

__all__ = ["COSINE_EPS", "OPS"]

COSINE_EPS = 1e-8  # torch.nn.functional.cosine_similarity: least norm of a row


# transpose


def _transpose_reference(frame: Frame, x: Value) -> Value:
    return Value(x.data.T, x.present.T)


def _transpose_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return b.method("transpose", x.node, -1, -2)


def _after_transpose(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    swap: dict[Place, Place] = {"rows": "cols", "cols": "rows", "band": "band"}
    zero = frozenset(swap[place] for place in states[0].zero)
    return State(result, states[0].radius, zero)


TRANSPOSE = Op(
    name="transpose",
    doc="exchanges rows and columns, written x.T",
    source="torch.transpose(x, -1, -2)",
    operands=("x",),
    attrs=(),
    axes=axes("a b -> b a"),
    reach=all_before,
    typing=lambda x: x.T,
    weights=no_weights,
    reference=_transpose_reference,
    lower=_transpose_lower,
    precision="same",
    flops=lambda sizes, shapes, result, attrs: 0,
    absence=Absence(
        fill=fill_nothing, omits=omit_nothing, after=_after_transpose, local=True
    ),
    samples=tuple(Sample((shape,), {}) for shape in ALL_SHAPES),
    errors=(),
)


# scale


def _scale_reference(frame: Frame, x: Value) -> Value:
    return Value(x.data / frame.np.sqrt(float(frame.d)), x.present)


def _scale_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    factor = b.number("pow", b.width(), -0.5)
    return b.call("torch.mul", x.node, factor)


SCALE = Op(
    name="scale",
    doc="x / √d, d the width of one head",
    source="Vaswani et al. 2017, equation 1",
    operands=("x",),
    attrs=(),
    axes=axes("a b -> a b"),
    reach=all_before,
    typing=same,
    weights=no_weights,
    reference=_scale_reference,
    lower=_scale_lower,
    precision="same",
    flops=per_entry(1),
    absence=Absence(fill=fill_nothing, omits=omit_nothing, after=keep, local=True),
    samples=tuple(Sample((shape,), {}) for shape in ALL_SHAPES),
    errors=(),
)


# matmul


def _matmul_type(a: Shape, b: Shape) -> Shape:
    if a.cols is not b.rows:
        message = f"{a} @ {b}: {a.cols} columns on the left, {b.rows} rows on the right"
        turned = []
        if a.cols is b.cols:
            turned.append(f"on the right gives {Shape(a.rows, b.rows)}")
        if a.rows is b.rows:
            turned.append(f"on the left gives {Shape(a.cols, b.cols)}")
        raise TypeFault(message, f"`.T` {', '.join(turned)}" if turned else None)
    return Shape(a.rows, b.cols)


def _matmul_reference(frame: Frame, a: Value, b: Value) -> Value:
    data = frame.filled(a, 0.0) @ frame.filled(b, 0.0)
    return Value(data, frame.np.ones(data.shape, bool))


def _matmul_lower(b: Builder, x: Operand, y: Operand, attrs: Attrs) -> FxNode:
    target = "azc.lower.exact.matmul" if x.wide else "torch.matmul"
    return b.call(target, x.node, y.node)


def _fill_product(states: tuple[State, ...], result: State) -> tuple[Fill | None, ...]:
    """Fill absent entries of the contracted axis with 0."""
    left, right = states
    return (
        Fill(0.0, left.places - {"rows"}, left.radius),
        Fill(0.0, right.places - {"cols"}, right.radius),
    )


def _product_flops(
    sizes: Sizes, shapes: tuple[Shape, ...], result: Shape, attrs: Attrs
) -> int:
    rows, cols = result.sizes(sizes.n, sizes.d)
    _, inner = shapes[0].sizes(sizes.n, sizes.d)
    return 2 * rows * inner * cols


MATMUL = Op(
    name="matmul",
    doc="matrix product, written a @ b",
    source="torch.matmul",
    operands=("a", "b"),
    attrs=(),
    axes=axes("a f, f b -> a b"),
    reach=all_before,
    typing=_matmul_type,
    weights=no_weights,
    reference=_matmul_reference,
    lower=_matmul_lower,
    precision="product",
    flops=_product_flops,
    absence=Absence(
        fill=_fill_product, omits=omit_nothing, after=row_reduce, local=False
    ),
    samples=tuple(
        Sample((Shape(a, b), Shape(b, c)), {}) for a in Dim for b in Dim for c in Dim
    ),
    errors=(
        ErrorSample((Shape(N, D), Shape(N, D)), "columns on the left"),
        ErrorSample((Shape(N, N), Shape(D, N)), "columns on the left"),
    ),
)


# cosine, euclidean: every row of a with every row of b, over what both have present


def _rows_type(a: Shape, b: Shape) -> Shape:
    if a.cols is not b.cols:
        raise TypeFault(f"rows of {a} and {b} have unlike lengths")
    return Shape(a.rows, b.rows)


def _pairs(frame: Frame, a: Value, b: Value) -> tuple[Any, Any]:
    """Return rows of a and b as [i, j, f], with 0 where either is absent."""
    both = a.present[:, None, :] & b.present[None, :, :]
    left = frame.np.where(both, a.data[:, None, :], 0.0)
    right = frame.np.where(both, b.data[None, :, :], 0.0)
    return left, right


def _cosine_reference(frame: Frame, a: Value, b: Value) -> Value:
    np = frame.np
    pair = _pairs(frame, a, b)
    units = [x / np.maximum(frame.norm(x), COSINE_EPS) for x in pair]
    data = (units[0] * units[1]).sum(-1)
    return Value(data, np.ones(data.shape, bool))


def _euclidean_reference(frame: Frame, a: Value, b: Value) -> Value:
    left, right = _pairs(frame, a, b)
    data = frame.norm(left - right)[..., 0]
    return Value(data, frame.np.ones(data.shape, bool))


def _omit_unlike(states: tuple[State, ...]) -> tuple[Absent | None, ...]:
    """Return the absent features of rows that lack different ones, because of a window
    or of the future. Features that all rows lack are 0 in both.
    """
    x, y = states
    if not (x.places | y.places) & {"band", "future"}:
        return None, None
    return omit_in_row(states)


def _cosine_lower(b: Builder, x: Operand, y: Operand, attrs: Attrs) -> FxNode:
    gone = b.gone(x), b.gone(y)
    return b.call("azc.lower.rows.cosines", x.node, y.node, *gone, COSINE_EPS)


def _euclidean_lower(b: Builder, x: Operand, y: Operand, attrs: Attrs) -> FxNode:
    return b.call("azc.lower.rows.distances", x.node, y.node, b.gone(x), b.gone(y))


def _pair_op(
    name: str,
    doc: str,
    source: str,
    reference: Any,
    lower: Callable[..., FxNode],
    precision: Precision,
) -> Op:
    return Op(
        name=name,
        doc=doc,
        source=source,
        operands=("a", "b"),
        attrs=(),
        axes=axes("a f, b f -> a b"),
        reach=all_before,
        typing=_rows_type,
        weights=no_weights,
        reference=reference,
        lower=lower,
        precision=precision,
        flops=lambda sizes, shapes, result, attrs: (
            _product_flops(sizes, shapes, result, attrs) * 3 // 2
        ),
        absence=Absence(
            fill=fill_in_row(0.0), omits=_omit_unlike, after=row_reduce, local=False
        ),
        samples=tuple(
            Sample((Shape(a, f), Shape(b, f)), {})
            for a in Dim
            for b in Dim
            for f in Dim
        ),
        errors=(
            ErrorSample((Shape(N, D), Shape(D, N)), "unlike lengths"),
            ErrorSample((Shape(N, N), Shape(N, D)), "unlike lengths"),
        ),
    )


OPS = (
    TRANSPOSE,
    SCALE,
    MATMUL,
    _pair_op(
        "cosine",
        "cosine similarity of every row of a with every row of b",
        "Gao et al. 2022, table 1; torch.nn.functional.cosine_similarity",
        _cosine_reference,
        _cosine_lower,
        "inside",
    ),
    _pair_op(
        "euclidean",
        "Euclidean distance of every row of a from every row of b",
        "Gao et al. 2022, table 1; torch.cdist",
        _euclidean_reference,
        _euclidean_lower,
        "wide",
    ),
)
