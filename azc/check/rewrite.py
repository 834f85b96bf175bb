"""Translations of notation from other libraries to azg: calls, axes, √d and counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from azc.check.calls import CALLS
from azc.check.fixes import Scene, transposed
from azc.check.words import ATTRIBUTES, OPERATIONS
from azc.ops.table import load_ops
from azc.shapes import D, Dim, N
from azc.source import Source
from azc.syntax import ast
from azc.syntax.parse import parse

__all__ = [
    "LAST_AXIS",
    "attribute_help",
    "calls",
    "counted",
    "operation_help",
    "over_axis",
]

_ROWS = frozenset("softmax normalize layer_norm rms_norm sum mean amax".split())
_REDUCE = frozenset("sum mean amax".split())
_AXES = frozenset("dim axis dims axes".split())
_KEEP = frozenset("keepdim keepdims keep_dims".split())
_CAUSAL = frozenset("causal is_causal".split())
_DROPOUT = frozenset("dropout dropout_p".split())
_WIDTHS = frozenset("d d_k dk d_head head_dim".split())
_LENGTHS = frozenset("n n_tokens seq_len length".split())

LAST_AXIS = "the operation always works along the last axis; use `.T` for the other one"

_Pattern = tuple[ast.Apply, ast.Expr]


@cache
def _patterns() -> Mapping[str, tuple[_Pattern, ...]]:
    """Return the calls of `CALLS` and their replacements, by name."""
    lines = [f"attention w(x) {{\nc = {a}\nreturn {b}\n}}\n" for a, b in CALLS]
    found: dict[str, tuple[_Pattern, ...]] = {}
    for node in parse(Source("<words>", "".join(lines))).declarations:
        assert isinstance(node, ast.Attention)
        call, result = (statement.value for statement in node.body)
        assert isinstance(call, ast.Apply)
        found[call.op] = (*found.get(call.op, ()), (call, result))
    return found


def calls(expr: ast.Apply) -> Iterator[tuple[ast.Expr, str]]:
    """Iterate over expressions that mean the same as a call of another library, each
    with an explanation, which may be empty.
    """
    if not all(map(_idle, expr.attrs)):
        return
    causal = any(attr.name in _CAUSAL and _true(attr.value) for attr in expr.attrs)
    for call, result in _patterns().get(expr.op, ()):
        bound = _bound(call, expr)
        if bound is not None:
            yield _filled(result, bound), ATTRIBUTES["causal"] if causal else ""


def operation_help(name: str) -> str | None:
    """Return help for an unknown operation, or None."""
    if name in OPERATIONS:
        return OPERATIONS[name]
    for call, result in CALLS:
        if call.split("(")[0] == name:
            return f"instead of `{call}`, write `{result}`"
    return None


def _bound(call: ast.Apply, expr: ast.Apply) -> dict[str, ast.Expr] | None:
    if len(call.args) != len(expr.args):
        return None
    bound: dict[str, ast.Expr] = {}
    for place, (wanted, given) in enumerate(zip(call.args, expr.args, strict=True)):
        number = _number(given)
        if isinstance(wanted, ast.Name):
            # The second argument of these is an axis in PyTorch.
            if place and call.op in ("max", "min") and number in range(-4, 5):
                return None
            bound[wanted.id] = given
        elif number != _number(wanted):
            return None
    return bound


def _filled(template: ast.Expr, bound: Mapping[str, ast.Expr]) -> ast.Expr:
    def visit(part: ast.Expr, args: list[ast.Expr]) -> ast.Expr:
        if isinstance(part, ast.Name):
            return bound[part.id]
        if isinstance(part, ast.Number):
            return part
        if part.op == "transpose":
            return transposed(args[0])
        return ast.Apply(part.op, tuple(args), part.attrs)

    return ast.fold(template, visit)


def _number(value: ast.Node) -> float | None:
    """Return the number that is written, also if it is an expression with a minus."""
    if isinstance(value, ast.Apply) and value.op == "neg" and len(value.args) == 1:
        inner = _number(value.args[0])
        return None if inner is None else -inner
    return float(value.value) if isinstance(value, ast.Number) else None


# Axes


def _idle(attr: ast.Attr) -> bool:
    """Return whether an argument of another library only states azc's behaviour or a
    setting of the model.
    """
    if attr.name in _AXES:
        return _number(attr.value) in (-1.0, 1.0)
    if attr.name in _DROPOUT:
        return _number(attr.value) == 0
    if attr.name in _CAUSAL:
        return isinstance(attr.value, ast.Boolean)
    return attr.name in _KEEP


def _true(value: ast.Value) -> bool:
    return isinstance(value, ast.Boolean) and value.value


def attribute_help(expr: ast.Apply, name: str) -> str | None:
    """Return help for an argument that no operation has, or None."""
    return LAST_AXIS if expr.op in _ROWS and name in _AXES else ATTRIBUTES.get(name)


def over_axis(expr: ast.Apply, attr: ast.Attr | None) -> Iterator[tuple[ast.Expr, str]]:
    """Rewrite a row operation with an axis, `softmax(x, dim = -1)`, without the axis.

    Args:
        expr: The operation.
        attr: The argument at fault, or None if it is the second operand.

    Yields:
        Rewritten expressions, each with an explanation.
    """
    if expr.op not in _ROWS or not expr.args:
        return
    op = load_ops()[expr.op]
    attrs = tuple(each for each in expr.attrs if each is not attr)
    bare = ast.Apply(op.name, expr.args[:1], attrs, span=expr.span)
    if attr is not None and attr.name in _KEEP:
        kept = "the operation always keeps the axis, with length 1"
        yield bare, kept if op.name in _REDUCE else ""
        return
    if attr is not None and attr.name not in _AXES:
        return
    axis = _number(expr.args[1] if attr is None else attr.value)
    if axis in (-1.0, 1.0):
        yield bare, LAST_AXIS
    elif axis in (0.0, -2.0):
        turned = ast.Apply(op.name, (transposed(expr.args[0]),), attrs)
        if op.name in _REDUCE:
            yield turned, LAST_AXIS
        yield transposed(turned), LAST_AXIS


# Widths and lengths


def counted(
    root: ast.Expr, path: tuple[int, ...], scene: Scene
) -> Iterator[tuple[tuple[int, ...], ast.Expr]]:
    """Rewrite an unknown `d` or `n` in `x / sqrt(d)` or `sum(x) / n` with a built-in
    operation.

    Yields:
        The path of the part to replace, and its replacement.
    """
    name = ast.at(root, path)
    assert isinstance(name, ast.Name)
    dim = D if name.id in _WIDTHS else N if name.id in _LENGTHS else None
    if dim is None or not path:
        return
    above = ast.at(root, path[:-1])
    assert isinstance(above, ast.Apply)
    if above.op == "div" and path[-1] == 1:
        mean = _mean(above.args[0], dim, scene)
        if mean is not None:
            yield path[:-1], mean
    if dim is not D or above.op not in ("sqrt", "rsqrt") or len(path) < 2:
        return
    outer = ast.at(root, path[:-2])
    assert isinstance(outer, ast.Apply)
    symbol = "div" if above.op == "sqrt" else "mul"
    if outer.op == symbol and len(outer.args) == 2 and path[-2] == 1:
        yield path[:-2], ast.Apply("scale", (outer.args[0],))


def _mean(expr: ast.Expr, dim: Dim, scene: Scene) -> ast.Expr | None:
    """Return the mean for a sum over an axis of length `dim`, perhaps transposed, or
    None.
    """
    if not isinstance(expr, ast.Apply) or len(expr.args) != 1:
        return None
    (inner,) = expr.args
    if expr.op == "transpose":
        mean = _mean(inner, dim, scene)
        return None if mean is None else transposed(mean)
    if expr.op != "sum" or expr.attrs:
        return None
    shape = scene.typed(inner)
    if shape is None or shape.cols is not dim:
        return None
    return ast.Apply("mean", (inner,))
