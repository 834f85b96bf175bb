"""Operations that are written with a symbol: one table for the formatter and the tree.

Precedences are those of Python and of the grammar: a higher number binds tighter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ATOM", "OPERATORS", "POSTFIX", "PRODUCT", "SUM", "UNARY", "Operator"]

SUM, PRODUCT, UNARY, POSTFIX, ATOM = range(1, 6)


@dataclass(frozen=True)
class Operator:
    """Notation of an operation: its symbol, precedence and position."""

    symbol: str
    precedence: int
    fixity: Literal["prefix", "infix", "postfix"]

    @property
    def operands(self) -> int:
        """The number of operands of the symbol."""
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
