"""Generation of new expressions of a wanted type, well-typed by construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from azc.ops.contract import Attribute
from azc.ops.table import load_ops, signatures
from azc.search.mutate.context import Context
from azc.search.mutate.sense import idle_types
from azc.shapes import ALL_SHAPES, TOKENS, Shape
from azc.syntax import ast

__all__ = ["Grower", "Grown", "attribute_values", "draw_attrs", "rows_for"]

Row = tuple[str, tuple[Shape, ...]]  # an operation and the types of its operands

_LEAF = 0.75  # probability of a name, if there is one of the type
_RADIUS = (1, 2, 4, 8, 16, 32)
_KERNEL = (3, 5, 7, 9)
_VALUES: Mapping[str, tuple[int, ...]] = {"radius": _RADIUS, "kernel": _KERNEL}
_OTHER = (1, 2, 3, 4, 8, 16)  # for an attribute without a list of its own


@lru_cache(maxsize=64)
def rows_for(ops: frozenset[str]) -> Mapping[Shape, tuple[Row, ...]]:
    """Return, for every type, the operations among `ops` that produce it and have an
    effect.
    """
    found = {
        shape: tuple(row for row in rows if row[0] in ops and not idle_types(*row))
        for shape, rows in signatures().items()
    }
    return MappingProxyType(found)


# Attributes


def attribute_values(attribute: Attribute) -> list[int]:
    """Return the values that are drawn for an attribute."""
    listed = _VALUES.get(attribute.name, _OTHER)
    low, high = attribute.minimum, attribute.maximum
    found = [v for v in listed if low <= v <= high and (v % 2 or not attribute.odd)]
    return found or [low]


def draw_attrs(op: str, context: Context) -> tuple[ast.Attr, ...]:
    """Draw a value for every attribute of an operation."""
    return tuple(
        ast.Attr(each.name, ast.Number(str(context.pick(attribute_values(each)))))
        for each in load_ops()[op].attrs
    )


# Growing


@dataclass(frozen=True)
class Grown:
    """A new expression, and the inputs of the space that it needs as new parameters."""

    expr: ast.Expr
    inputs: frozenset[str]


class Grower:
    """Generator of expressions.

    It uses the names in scope, the inputs of the space that are not parameters yet, and
    operations drawn by priority.
    """

    def __init__(
        self,
        context: Context,
        ops: frozenset[str],
        scope: Mapping[str, Shape],
        inputs: Sequence[str],
    ) -> None:
        self.context = context
        self.rows = rows_for(ops)
        self.inputs = tuple(inputs)
        self.leaves: dict[Shape, list[str]] = {shape: [] for shape in ALL_SHAPES}
        for name, shape in scope.items():
            self.leaves[shape].append(name)
        self.leaves[TOKENS].extend(inputs)
        self.least = self._least()

    def _least(self) -> dict[Shape, int]:
        """Compute the minimum number of operations for each type that can be
        produced.
        """
        least = {shape: 0 for shape, names in self.leaves.items() if names}
        changed = True
        while changed:
            changed = False
            for shape, rows in self.rows.items():
                for _, operands in rows:
                    if not all(each in least for each in operands):
                        continue
                    cost = 1 + sum(least[each] for each in operands)
                    if cost < least.get(shape, cost + 1):
                        least[shape] = cost
                        changed = True
        return least

    def fits(self, shapes: Sequence[Shape], budget: int) -> bool:
        """Return whether all these types can be produced with `budget` operations."""
        if any(shape not in self.least for shape in shapes):
            return False
        return sum(self.least[shape] for shape in shapes) <= budget

    def grow(self, shape: Shape, budget: int) -> Grown:
        """Generate an expression of a type that `fits` the budget."""
        names = self.leaves[shape]
        options: dict[str, list[tuple[Shape, ...]]] = {}
        for op, operands in self.rows[shape]:
            if self.fits(operands, budget - 1):
                options.setdefault(op, []).append(operands)
        if names and (not options or self.context.chance(_LEAF)):
            name = self.context.pick(names)
            new = frozenset([name] if name in self.inputs else [])
            return Grown(ast.Name(name), new)
        op = self.context.draw(options)
        operands = self._cheap(options[op])
        left = budget - 1
        args: list[ast.Expr] = []
        inputs = set[str]()
        for place, operand in enumerate(operands):
            others = sum(self.least[each] for each in operands[place + 1 :])
            part = self.grow(operand, left - others)
            left -= sum(isinstance(e, ast.Apply) for e in ast.expressions(part.expr))
            args.append(part.expr)
            inputs |= part.inputs
        expr = ast.Apply(op, tuple(args), draw_attrs(op, self.context))
        return Grown(expr, frozenset(inputs))

    def _cheap(self, options: Sequence[tuple[Shape, ...]]) -> tuple[Shape, ...]:
        """Draw operand types; those that need fewer operations are more likely."""
        weights = [2.0 ** -sum(self.least[each] for each in o) for o in options]
        return self.context.rng.choices(options, weights)[0]
