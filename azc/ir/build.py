"""Checked program to graph."""

from __future__ import annotations

from azc.check.program import AttentionSpec, live_statements
from azc.diagnostics import InternalError
from azc.ir.graph import Graph, GraphBuilder, Node
from azc.syntax import ast

__all__ = ["build_graph"]


def build_graph(program: AttentionSpec) -> Graph:
    """The graph of a program; what its result does not depend on is left out."""
    builder = GraphBuilder()
    scope = {name: builder.input(name) for name in program.params}
    for name, node in scope.items():
        builder.names[node] = name
    for statement in reversed(list(live_statements(program.body))):
        node = _expr(statement.value, scope, builder)
        if isinstance(statement, ast.Return):
            return builder.finish(program.name, program.params, node)
        scope[statement.name] = node
        builder.names.setdefault(node, statement.name)
    raise InternalError(f"{program.name} returns nothing")


def _expr(expr: ast.Expr, scope: dict[str, Node], builder: GraphBuilder) -> Node:
    if isinstance(expr, ast.Name):
        return scope[expr.id]
    if isinstance(expr, ast.Number):
        return builder.number(expr.value)
    args = [_expr(arg, scope, builder) for arg in expr.args]
    attrs = {
        attr.name: int(attr.value.value)
        for attr in expr.attrs
        if isinstance(attr.value, ast.Number)
    }
    return builder.apply(expr.op, args, attrs)
