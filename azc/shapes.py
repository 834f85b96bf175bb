"""Symbolic dimensions: the types of values in an attention program.

dim   = n (tokens) | d (features of one head) | 1
shape = [rows, cols]
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product

__all__ = ["ALL_SHAPES", "ONE", "SCALAR", "TOKENS", "D", "Dim", "N", "Shape"]


class Dim(Enum):
    """One symbolic dimension."""

    N = "n"
    D = "d"
    ONE = "1"

    def __str__(self) -> str:
        return self.value


N, D, ONE = Dim.N, Dim.D, Dim.ONE


@dataclass(frozen=True)
class Shape:
    """The type `[rows, cols]` of a value."""

    rows: Dim
    cols: Dim

    def __str__(self) -> str:
        return f"[{self.rows}, {self.cols}]"

    @property
    def T(self) -> Shape:  # noqa: N802  (the field's name for it)
        """The transposed shape."""
        return Shape(self.cols, self.rows)

    def broadcast(self, other: Shape) -> Shape | None:
        """Return the shape of an elementwise result, or None if the shapes don't
        match.
        """
        rows = _meet(self.rows, other.rows)
        cols = _meet(self.cols, other.cols)
        return None if rows is None or cols is None else Shape(rows, cols)

    def sizes(self, n: int, d: int) -> tuple[int, int]:
        """Return the shape in numbers, for n tokens and a head width of d."""
        size = {N: n, D: d, ONE: 1}
        return size[self.rows], size[self.cols]


def _meet(a: Dim, b: Dim) -> Dim | None:
    if a is b or b is ONE:
        return a
    return b if a is ONE else None


SCALAR = Shape(ONE, ONE)
TOKENS = Shape(N, D)
ALL_SHAPES = tuple(Shape(rows, cols) for rows, cols in product(Dim, Dim))
