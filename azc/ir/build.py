"""Construction of the graph of a checked program."""

from __future__ import annotations

from azc.check.program import AttentionSpec
from azc.diagnostics import InternalError
from azc.ir.graph import Graph, GraphBuilder, Node
from azc.mixing.attention import live_statements
from azc.source import Span
from azc.syntax import ast

__all__ = ["build_graph"]


def build_graph(program: AttentionSpec) -> Graph:
    """Build the graph of a program, without the parts that its result does not depend
    on.
    """
    builder = GraphBuilder()
    scope: dict[str, Node] = {}
    for param in program.node.params:
        builder.span = _place(param)
        scope[param.name] = node = builder.input(param.name)
        builder.names[node] = param.name
    for statement in reversed(list(live_statements(program.body))):
        node = _expr(statement.value, scope, builder)
        if isinstance(statement, ast.Return):
            return builder.finish(program.name, program.params, node)
        scope[statement.name] = node
        builder.names.setdefault(node, statement.name)
    raise InternalError(f"{program.name} returns nothing")


def _expr(expr: ast.Expr, scope: dict[str, Node], builder: GraphBuilder) -> Node:
    def visit(part: ast.Expr, args: list[Node]) -> Node:
        builder.span = _place(part)
        if isinstance(part, ast.Name):
            return scope[part.id]
        if isinstance(part, ast.Number):
            return builder.number(part.value)
        attrs = {
            attr.name: int(attr.value.value)
            for attr in part.attrs
            if isinstance(attr.value, ast.Number)
        }
        return builder.apply(part.op, args, attrs)

    return ast.fold(expr, visit)


def _place(part: ast.Node) -> Span | None:
    return None if part.span is ast.NO_SPAN else part.span
