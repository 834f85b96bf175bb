"""Types of attention programs (AZG1xx names, AZG2xx types, AZG006, AZG503)."""

from __future__ import annotations

import keyword
import re

from azc.check.collect import Findings
from azc.check.program import AttentionSpec, live_statements
from azc.ops.contract import Attribute, Op, TypeFault
from azc.ops.table import load_ops
from azc.shapes import SCALAR, TOKENS, Shape
from azc.source import Span
from azc.syntax import ast
from azc.syntax.format import format_expr
from azc.syntax.operators import UNARY, operator

__all__ = ["MAX_OPERATIONS", "check_attention", "count_operations"]

MAX_OPERATIONS = 1000  # operations in one attention program
MAX_NUMBER = 2.0**128 - 2.0**104  # the largest float32
# Compiled programs take these arguments, and are Python functions.
RESERVED = frozenset(
    "mask head heads weights self torch operator math inf nan device slice getattr"
    " azc __debug__".split()
) | frozenset(keyword.kwlist)


def count_operations(node: ast.Attention) -> int:
    """The operations written in a program: its size in a search space."""
    return sum(
        isinstance(expr, ast.Apply)
        for statement in node.body
        for expr in ast.expressions(statement.value)
    )


def check_attention(node: ast.Attention, findings: Findings) -> AttentionSpec | None:
    """The typed program, or None where an error was found."""
    before = findings.count
    size = count_operations(node)
    if size > MAX_OPERATIONS:
        message = (
            f"`{node.name}` has {size:,} operations; the limit is {MAX_OPERATIONS:,}"
        )
        findings.error("AZG503", message, node.name_span)
        return None
    checker = _Checker(findings)
    checker.params(node)
    bindings = checker.body(node)
    _warn_unused(node, findings)
    if findings.count > before:
        return None
    params = tuple(param.name for param in node.params)
    return AttentionSpec(node.name, params, node, node.body, bindings)


class _Checker:
    """Types of one program. A type of None means: an error was told already."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.types: dict[str, Shape | None] = {}

    def params(self, node: ast.Attention) -> None:
        if not node.params:
            message = f"`{node.name}` has no parameters"
            help_ = "each parameter is a projection of the layer's input: (q, k, v)"
            self.findings.error("AZG104", message, node.name_span, help_)
        for param in node.params:
            if param.name in self.types:
                message = f"the parameter `{param.name}` is there twice"
                self.findings.error("AZG102", message, param.span)
            elif param.name in RESERVED:
                message = f"a parameter can't be called `{param.name}`"
                help_ = "it would clash in the compiled function"
                self.findings.error("AZG105", message, param.span, help_)
            self.types[param.name] = TOKENS

    def body(self, node: ast.Attention) -> tuple[tuple[str, Shape], ...]:
        bindings: list[tuple[str, Shape]] = []
        returned = False
        for statement in node.body:
            if returned:
                message = "nothing runs after `return`"
                self.findings.error("AZG107", message, statement.span)
                break
            shape = self.expr(statement.value)
            if isinstance(statement, ast.Return):
                returned = True
                self._result(statement, shape, node.params)
                continue
            if statement.name in self.types:
                message = f"`{statement.name}` is bound already"
                help_ = "a name is bound once; choose another"
                self.findings.error("AZG102", message, statement.span, help_)
            self.types[statement.name] = shape
            if shape is not None:
                bindings.append((statement.name, shape))
        if not returned:
            message = f"`{node.name}` returns nothing"
            help_ = "end it with `return` and an expression of type [n, d]"
            self.findings.error("AZG106", message, node.name_span, help_)
        return tuple(bindings)

    def _result(
        self, statement: ast.Return, shape: Shape | None, params: tuple[ast.Param, ...]
    ) -> None:
        if shape is None or shape == TOKENS:
            return
        help_ = None
        result = statement.value
        if shape == TOKENS.T:
            help_ = f"did you mean `{_text(_transposed(result))}`?"
        elif shape.cols is TOKENS.rows and params:
            # [n, n]: each row weighs the tokens, by custom those of the last parameter.
            values = ast.Name(params[-1].name)
            help_ = f"did you mean `{_text(ast.Apply('matmul', (result, values)))}`?"
            help_ = help_ if shape.rows is TOKENS.rows else None
        message = f"the result has the type {shape}; it must be {TOKENS}"
        self.findings.error("AZG202", message, statement.value.span, help_)

    def expr(self, expr: ast.Expr) -> Shape | None:
        if isinstance(expr, ast.Number):
            return self.number(expr)
        if isinstance(expr, ast.Name):
            if expr.id not in self.types:
                self.findings.unknown("AZG101", "name", expr.id, self.types, expr.span)
                return None
            return self.types[expr.id]
        shapes = [self.expr(arg) for arg in expr.args]
        op = load_ops().get(expr.op)
        if op is None:
            known = sorted(load_ops())
            start = expr.span.start
            span = Span(expr.span.source, start, start + len(expr.op))
            self.findings.unknown("AZG103", "operation", expr.op, known, span)
            return None
        attrs_fine = self._attrs(op, expr)
        if len(shapes) != len(op.operands):
            self._arity(op, expr)
            return None
        known_shapes = tuple(shape for shape in shapes if shape is not None)
        if len(known_shapes) != len(shapes):
            return None
        try:
            shape = op.result(known_shapes)
        except TypeFault as fault:
            help_ = _mend(fault.help, expr.args) if fault.help else None
            message = f"{op.name}: {fault.message}"
            self.findings.error("AZG201", message, expr.span, help_)
            return None
        return shape if attrs_fine else None

    def number(self, expr: ast.Number) -> Shape | None:
        if abs(float(expr.value)) > MAX_NUMBER:
            message = f"`{expr.text}` is too large a number for float32"
            self.findings.error("AZG006", message, expr.span, "at most 3.4e38")
            return None
        return SCALAR

    def _arity(self, op: Op, expr: ast.Apply) -> None:
        takes = len(op.operands)
        plural = "" if takes == 1 else "s"
        message = f"`{op.name}` takes {takes} operand{plural}, not {len(expr.args)}"
        names = [*op.operands, *(f"{a.name} = …" for a in op.attrs)]
        help_ = f"{op.name}({', '.join(names)}): {op.doc}"
        if len(expr.args) > takes and op.attrs:
            help_ = f"attributes are given by name: {op.name}({', '.join(names)})"
        self.findings.error("AZG203", message, expr.span, help_)

    def _attrs(self, op: Op, expr: ast.Apply) -> bool:
        before = self.findings.count
        known = {attribute.name: attribute for attribute in op.attrs}
        given: set[str] = set()
        slips: set[str | None] = set()
        for attr in expr.attrs:
            if attr.name not in known:
                if known:
                    where = f"of `{op.name}`"
                    slip = self.findings.unknown(
                        "AZG204", "attribute", attr.name, known, attr.span, where
                    )
                    slips.add(slip)
                else:
                    message = f"`{op.name}` takes no `{attr.name}`"
                    self.findings.error("AZG204", message, attr.span)
            elif attr.name in given:
                message = f"`{attr.name}` is given twice"
                self.findings.error("AZG204", message, attr.span)
            else:
                _check_attribute(known[attr.name], attr, self.findings)
            given.add(attr.name)
        for attribute in op.attrs:
            # One fault is told once: a slip in the name, a value given without it.
            unnamed = len(expr.args) > len(op.operands)
            if attribute.name not in given | slips and not unnamed:
                message = f"`{op.name}` needs `{attribute.name}`: {attribute.doc}"
                help_ = f"{op.name}({', '.join(op.operands)}, {attribute.name} = 3)"
                self.findings.error("AZG205", message, expr.span, help_)
        return self.findings.count == before


def _check_attribute(attribute: Attribute, attr: ast.Attr, findings: Findings) -> None:
    value = attr.value.value if isinstance(attr.value, ast.Number) else None
    low, high = attribute.minimum, attribute.maximum
    kind = "an odd number" if attribute.odd else "a whole number"
    span = attr.value.span
    if not isinstance(value, int) or not low <= value <= high:
        message = f"`{attribute.name}` must be {kind} from {low:,} to {high:,}"
        findings.error("AZG206", message, span)
    elif attribute.odd and value % 2 == 0:
        message = f"`{attribute.name}` must be {kind}, not {value}"
        findings.error("AZG206", message, span, f"{value - 1} or {value + 1}")


def _warn_unused(node: ast.Attention, findings: Findings) -> None:
    used = {
        expr.id
        for statement in live_statements(node.body)
        for expr in ast.expressions(statement.value)
        if isinstance(expr, ast.Name)
    }
    for param in node.params:
        if param.name not in used:
            message = f"the parameter `{param.name}` takes no part in the result"
            findings.warn("AZG110", message, param.span)
    for statement in node.body:
        if isinstance(statement, ast.Bind) and statement.name not in used:
            message = f"`{statement.name}` takes no part in the result"
            findings.warn("AZG111", message, statement.span)


def _text(expr: ast.Expr) -> str:
    text = format_expr(expr)
    return text if len(text) <= 60 else "…"


def _transposed(expr: ast.Expr) -> ast.Expr:
    """The transpose of an expression; twice transposed is as it was."""
    if isinstance(expr, ast.Apply) and expr.op == "transpose" and len(expr.args) == 1:
        return expr.args[0]
    return ast.Apply("transpose", (expr,))


_BLANK = re.compile(r"\{(\d)\}(\.T)?")
_QUOTED = re.compile(r"`([^`]*)`")


def _mend(help_: str, args: tuple[ast.Expr, ...]) -> str:
    """A help of a `TypeFault` with the operands put into its `{0}`, `{0}.T`, …"""

    def operand(match: re.Match[str], beside: bool) -> str:
        expr = args[int(match[1])]
        expr = _transposed(expr) if match[2] else expr
        found = operator(expr)
        # Beside a product only what binds as tight needs no parentheses.
        bare = not beside or found is None or found.precedence >= UNARY
        return _text(expr) if bare else f"({_text(expr)})"

    def quoted(match: re.Match[str]) -> str:
        beside = "@" in match[1]
        return f"`{_BLANK.sub(lambda blank: operand(blank, beside), match[1])}`"

    return _QUOTED.sub(quoted, help_)
