"""A graph as an expression of the language, for people to read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import count

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.syntax import ast
from azc.syntax.format import format_expr

__all__ = ["Expression", "express", "number_text"]

_DEEPEST = 16  # levels of one expression; what is deeper gets a name


@dataclass(frozen=True)
class Expression:
    """What a program returns, with a name for each part that is used twice."""

    bindings: tuple[tuple[str, str], ...]
    result: str

    @property
    def lines(self) -> tuple[str, ...]:
        """`name = part` for each part that has a name, and the result."""
        return (*(f"{name} = {text}" for name, text in self.bindings), self.result)

    def __str__(self) -> str:
        return "; ".join(self.lines)


def number_text(value: float) -> str:
    """A constant as one writes it: `10` for 10.0, `1e-6` for 1e-06."""
    if value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return re.sub(r"e([+-])0*", r"e\1", repr(value)).replace("e+", "e")


def express(graph: Graph) -> Expression:
    """The graph written out in one expression, but for parts that are used twice."""
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
    """How often each node is written; what a transpose is used for, its operand is."""
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
