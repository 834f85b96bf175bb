"""Check that a program can be computed in a causal model (AZG310).

Tokens arrive one at a time, and the row of a token is computed when the token arrives.
Only one operation has no such meaning: the transpose of a value that later tokens still
change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from azc.check.program import AttentionSpec
from azc.diagnostics import Diagnostic, DiagnosticError, Note
from azc.mixing.attention import live_statements
from azc.ops.axes import Time, TimeFault, axes
from azc.ops.table import load_ops
from azc.shapes import SCALAR, TOKENS, N, Shape
from azc.source import Span
from azc.syntax import ast
from azc.syntax.format import format_expr

__all__ = ["causal_faults", "require_causal"]

CODE = "AZG310"
_SHORT = 60  # characters of the longest expression quoted in full
_DEEP = 5  # names followed for a rewrite
_SCORES = Shape(N, N)
_SAME = axes("a b -> a b")
_BOTH = axes("a b, a b -> a b")
_PAIRS = axes("a f, b f -> a b")


@dataclass(frozen=True)
class _Timed:
    """The type and time of a value, and the expression where its dependence on later
    tokens begins.
    """

    shape: Shape
    time: Time
    origin: ast.Expr | None = None

    @property
    def changes(self) -> str | None:
        """Describe how later tokens change the value, or None if they do not."""
        if self.shape == _SCORES:
            return "has a column for each token, including later ones"
        return "covers all tokens so far" if self.time is Time.SNAPSHOT else None


@dataclass(frozen=True)
class _Refusal:
    """An operation without causal meaning, and its operand."""

    part: ast.Apply
    operand: _Timed


def causal_faults(spec: AttentionSpec, place: Span | None = None) -> list[Diagnostic]:
    """Report all operations of a well-typed program that a causal model can't compute.

    Args:
        spec: The program.
        place: The span to report them at, where a model uses a program of another
            file; by default, the operations.
    """
    refusals = _refusals(spec.params, _live(spec.body))
    return [_diagnostic(spec, each, place, len(refusals)) for each in refusals]


def _diagnostic(
    spec: AttentionSpec, refusal: _Refusal, place: Span | None, count: int
) -> Diagnostic:
    part, shape = refusal.part, refusal.operand.shape
    if shape.rows is N:
        reason = "the column of a token grows with every token that comes after it"
    else:
        reason = "all its columns change with every token"
    message = f"`{_shortened(part)}`, the transpose of {shape}, has no causal meaning"
    message += f": {reason}"
    notes = []
    if place is not None:
        message = f"{spec.name}: {message}"
        notes.append(Note(f"`{_shortened(part)}` is here", part.span))
    origin = refusal.operand.origin
    if origin is not None:
        cause = f"`{_shortened(origin)}` {refusal.operand.changes}"
        notes.append(Note(cause, origin.span))
    help_ = _help(spec, part, shape, count)
    return Diagnostic(CODE, message, place or part.span, help_, notes=tuple(notes))


def require_causal(spec: AttentionSpec) -> None:
    """Check that a causal model can compute a program.

    Raises:
        DiagnosticError: If it can't.
    """
    faults = causal_faults(spec)
    if faults:
        raise DiagnosticError(faults)


def _live(body: tuple[ast.Statement, ...]) -> list[ast.Statement]:
    return list(reversed(list(live_statements(body))))


def _refusals(params: tuple[str, ...], body: list[ast.Statement]) -> list[_Refusal]:
    """Return the operations without causal meaning, in order; their results are assumed
    to have one.
    """
    found: list[_Refusal] = []
    scope = dict.fromkeys(params, _Timed(TOKENS, Time.STREAM))

    def visit(part: ast.Expr, operands: list[_Timed]) -> _Timed:
        if isinstance(part, ast.Name):
            return scope[part.id]
        if isinstance(part, ast.Number):
            return _Timed(SCALAR, Time.CONSTANT)
        op = load_ops()[part.op]
        shape = op.result(tuple(each.shape for each in operands))
        try:
            time = op.axes.time([(each.shape, each.time) for each in operands], shape)
        except TimeFault:
            found.append(_Refusal(part, operands[0]))
            time = Time.STREAM
        made = _Timed(shape, time)
        if made.changes is None:
            return made
        before = (x.origin for x in operands if x.changes == made.changes)
        return replace(made, origin=next(before, part))

    for statement in body:
        made = ast.fold(statement.value, visit)
        if isinstance(statement, ast.Bind):
            scope[statement.name] = made
    return found


def _shortened(part: ast.Expr) -> str:
    text = format_expr(part)
    return text if len(text) <= _SHORT else f"{text[:28]} … {text[-28:]}"


# A rewrite


def _help(spec: AttentionSpec, part: ast.Apply, shape: Shape, count: int) -> str:
    """Suggest an expression with a causal meaning: one with the same values in an
    encoder, or the usual form. `count` is the number of operations that have none.
    """
    bound = {s.name: s.value for s in spec.body if isinstance(s, ast.Bind)}
    new = _transposed(part.args[0], bound)
    if new is not None:
        body = [
            s if part not in ast.expressions(s.value) else _with(s, part, new)
            for s in _live(spec.body)
        ]
        if len(_refusals(spec.params, body)) < count:
            return f"write `{_shortened(new)}`: its rows are computed token by token"
    if shape.rows is N:
        return "use scores with a row for every query: `softmax(q @ k.T) @ v`"
    return "use a product over the tokens: `softmax(k.T) @ v`"


def _with(statement: ast.Statement, part: ast.Apply, new: ast.Expr) -> ast.Statement:
    return ast.swapped(statement, part, new)


def _transposed(
    expr: ast.Expr, bound: Mapping[str, ast.Expr], deep: int = 0
) -> ast.Expr | None:
    """Transpose an expression by transposing the names in it.

    Return None if an operation works along the rows, or names must be followed too far.
    """

    def visit(part: ast.Expr, args: list[ast.Expr | None]) -> ast.Expr | None:
        if isinstance(part, ast.Name):
            inner = bound.get(part.id)
            if inner is None:
                return ast.Apply("transpose", (part,))
            return _transposed(inner, bound, deep + 1) if deep < _DEEP else None
        if isinstance(part, ast.Number):
            return part
        op = load_ops()[part.op]
        if part.op == "transpose":
            return part.args[0]
        if part.op == "matmul":
            args = [args[1], args[0]]
        elif op.axes == _PAIRS:
            args = [part.args[1], part.args[0]]
        elif op.axes not in (_SAME, _BOTH):
            return None
        known = [arg for arg in args if arg is not None]
        if len(known) < len(args):
            return None
        return ast.Apply(part.op, tuple(known), part.attrs)

    return ast.fold(expr, visit)
