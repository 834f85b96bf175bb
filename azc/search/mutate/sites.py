"""Places in an attention program that can be changed, with their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from azc.mixing.attention import live_statements
from azc.ops.table import load_ops
from azc.shapes import SCALAR, TOKENS, Shape
from azc.syntax import ast

__all__ = ["Site", "names_of", "replaced", "sites", "tidied", "with_param"]


@dataclass(frozen=True)
class Site:
    """A sub-expression of a program.

    Attributes:
        statement: Index of its statement.
        path: Path to it through the operands.
        expr: The expression.
        shape: Its type.
        operands: Types of its operands.
        scope: Names that can replace it, with their types.
    """

    statement: int
    path: tuple[int, ...]
    expr: ast.Expr
    shape: Shape
    operands: tuple[Shape, ...]
    scope: Mapping[str, Shape]

    @property
    def apply(self) -> ast.Apply | None:
        """The expression, if it is an operation."""
        return self.expr if isinstance(self.expr, ast.Apply) else None


def sites(node: ast.Attention) -> list[Site]:
    """Return every sub-expression that the result depends on, in a valid program."""
    live = {id(statement) for statement in live_statements(node.body)}
    scope = {param.name: TOKENS for param in node.params}
    found: list[Site] = []
    for index, statement in enumerate(node.body):
        here: list[Site] = []
        shape = _walk(statement.value, index, dict(scope), here)
        if id(statement) in live:
            found.extend(here)
        if isinstance(statement, ast.Bind):
            scope[statement.name] = shape
    return found


def _walk(
    root: ast.Expr, statement: int, scope: Mapping[str, Shape], found: list[Site]
) -> Shape:
    """Return the type of an expression, and add its sites to `found`, operands
    first.
    """
    shapes: list[Shape] = []
    todo: list[tuple[ast.Expr, tuple[int, ...], bool]] = [(root, (), False)]
    while todo:
        expr, path, ready = todo.pop()
        operands: tuple[Shape, ...] = ()
        if isinstance(expr, ast.Name):
            shape = scope[expr.id]
        elif isinstance(expr, ast.Number):
            shape = SCALAR
        elif not ready:
            todo.append((expr, path, True))
            inner = [(arg, (*path, i), False) for i, arg in enumerate(expr.args)]
            todo.extend(reversed(inner))
            continue
        else:
            count = len(expr.args)
            operands = tuple(shapes[len(shapes) - count :])
            del shapes[len(shapes) - count :]
            shape = load_ops()[expr.op].result(operands)
        shapes.append(shape)
        found.append(Site(statement, path, expr, shape, operands, scope))
    return shapes[0]


def names_of(node: ast.Attention) -> frozenset[str]:
    """Return the names of parameters and bindings in a program."""
    bound = (s.name for s in node.body if isinstance(s, ast.Bind))
    return frozenset((*(param.name for param in node.params), *bound))


# Changes


def replaced(node: ast.Attention, site: Site, new: ast.Expr) -> ast.Attention:
    """Replace the expression at a site; its comments stay in place."""
    body = list(node.body)
    old = body[site.statement]
    new = _commented(site.expr, new)
    body[site.statement] = replace(old, value=ast.put(old.value, site.path, new))
    return replace(node, body=tuple(body))


def _commented(old: ast.Expr, new: ast.Expr) -> ast.Expr:
    """Return the new expression with the comments of the old one, unless it contains
    the old one.
    """
    if old.comments == ast.NO_COMMENTS or any(e is old for e in ast.expressions(new)):
        return new
    mine, own = old.comments, new.comments
    if mine == own:
        return new
    before = [*mine.before, *own.before]
    if mine.after and own.after:
        before.append(own.after)
    closing = (*mine.closing, *own.closing)
    if not isinstance(new, ast.Apply):
        before.extend(line for line in closing if line)
        closing = ()
    comments = ast.Comments(tuple(before), mine.after or own.after, closing)
    return replace(new, comments=comments)


def with_param(node: ast.Attention, name: str, order: Sequence[str]) -> ast.Attention:
    """Add a parameter, at its place in `order` among the existing ones."""
    rank = {each: place for place, each in enumerate(order)}
    params = list(node.params)
    before = [
        place
        for place, param in enumerate(params)
        if rank.get(param.name, len(rank)) < rank[name]
    ]
    at = before[-1] + 1 if before else 0
    if any(param.name not in rank for param in params):
        at = len(params)
    params.insert(at, ast.Param(name))
    return replace(node, params=tuple(params))


def tidied(node: ast.Attention) -> ast.Attention:
    """Remove bindings and parameters that the result does not depend on."""
    live = {id(statement) for statement in live_statements(node.body)}
    body = tuple(s for s in node.body if id(s) in live)
    used = set(_used(body))
    params = tuple(param for param in node.params if param.name in used)
    return replace(node, params=params, body=body)


def _used(body: tuple[ast.Statement, ...]) -> Iterator[str]:
    for statement in body:
        for expr in ast.expressions(statement.value):
            if isinstance(expr, ast.Name):
                yield expr.id
