"""The operations that are written with a symbol: one table for printing and reading.

Precedence is Python's, and that of the grammar: a higher number binds tighter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from azc.syntax import ast

__all__ = ["ATOM", "OPERATORS", "SUM", "Operator", "operator", "precedence"]

SUM, PRODUCT, UNARY, POSTFIX, ATOM = range(1, 6)


@dataclass(frozen=True)
class Operator:
    """How an operation is written: its symbol, how tight it binds, where it stands."""

    symbol: str
    precedence: int
    fixity: Literal["prefix", "infix", "postfix"]

    @property
    def operands(self) -> int:
        """How many operands the symbol takes."""
        return 2 if self.fixity == "infix" else 1


OPERATORS = {
    "add": Operator("+", SUM, "infix"),
    "sub": Operator("-", SUM, "infix"),
    "mul": Operator("*", PRODUCT, "infix"),
    "div": Operator("/", PRODUCT, "infix"),
    "matmul": Operator("@", PRODUCT, "infix"),
    "neg": Operator("-", UNARY, "prefix"),
    "transpose": Operator(".T", POSTFIX, "postfix"),
}


def operator(node: ast.Node) -> Operator | None:
    """The operator that `node` is written with, or None if it is a call or no call."""
    if not isinstance(node, ast.Apply) or node.attrs:
        return None
    found = OPERATORS.get(node.op)
    return found if found and found.operands == len(node.args) else None


def precedence(node: ast.Node) -> int:
    """How tight `node` binds as it is written."""
    found = operator(node)
    return found.precedence if found else ATOM
