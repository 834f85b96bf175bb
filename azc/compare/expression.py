"""Graphs as expressions of the language, for readers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import count

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.syntax import ast
from azc.syntax.format import format_expr

__all__ = ["Expression", "express", "number_text"]

_DEEPEST = 16  # levels of one expression; deeper parts get names


@dataclass(frozen=True)
class Expression:
    """The result of a program as an expression, with names for parts that are used
    twice.
    """

    bindings: tuple[tuple[str, str], ...]
    result: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines `name = part` for the named parts, and the result."""
        return (*(f"{name} = {text}" for name, text in self.bindings), self.result)

    def __str__(self) -> str:
        return "; ".join(self.lines)


def number_text(value: float) -> str:
    """Format a constant as a person writes it: `10` for 10.0, `1e-6` for 1e-06."""
    if value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return re.sub(r"e([+-])0*", r"e\1", repr(value)).replace("e+", "e")


def express(graph: Graph) -> Expression:
    """Write a graph as one expression, with names for parts that are used twice."""
    uses = _uses(graph)
    fresh = (f"t{i}" for i in count(1))
    taken = {*graph.inputs, *graph.names.values()}
    done: dict[Node, ast.Expr] = {}
    bindings: list[tuple[str, str]] = []
    for node in graph.nodes:
        expr = _expr(node, done)
        shared = uses[node] > 1 and (expr.depth > 2 or bool(node.weights))
        shared = shared and node.op != "transpose"
        if node is not graph.output and (shared or expr.depth > _DEEPEST):
            name = graph.names.get(node)
            if name is None:
                name = next(each for each in fresh if each not in taken)
            bindings.append((name, format_expr(expr)))
            expr = ast.Name(name)
        done[node] = expr
    return Expression(tuple(bindings), format_expr(done[graph.output]))


def _uses(graph: Graph) -> Counter[Node]:
    """Count how often each node is written; uses of a transpose count for its
    operand.
    """
    uses = Counter({graph.output: 1})
    for node in reversed(graph.nodes):
        for arg in node.args:
            uses[arg] += uses[node] if node.op == "transpose" else 1
    return uses


def _expr(node: Node, done: dict[Node, ast.Expr]) -> ast.Expr:
    if node.op == INPUT:
        return ast.Name(node.name)
    if node.op == NUMBER:
        return ast.Number(number_text(node.number))
    attrs = (ast.Attr(k, ast.Number(str(v))) for k, v in node.attrs.items())
    return ast.Apply(node.op, tuple(done[arg] for arg in node.args), tuple(attrs))
