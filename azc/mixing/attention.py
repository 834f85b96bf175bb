"""Token mixing by an attention program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from azc.mixing.contract import LayerSizes
from azc.ops.contract import Weight
from azc.ops.table import load_ops
from azc.shapes import Shape
from azc.syntax import ast

__all__ = ["AttentionSpec", "AttentionUse", "live_statements"]


@dataclass(frozen=True)
class AttentionSpec:
    """A well-typed attention program; its name does not affect equality.

    `bindings` holds the type of every bound name, in order. The result is `[n, d]`.
    """

    name: str = field(compare=False)
    params: tuple[str, ...]
    node: ast.Attention = field(compare=False, repr=False)
    body: tuple[ast.Statement, ...] = field(repr=False)
    bindings: tuple[tuple[str, Shape], ...] = ()

    @property
    def applied(self) -> Iterator[ast.Apply]:
        """All operations written in the program."""
        return _applied(self.body)

    @cached_property
    def operations(self) -> Counter[str]:
        """The number of times each operation is written in the program."""
        return Counter(part.op for part in self.applied)

    @cached_property
    def live_operations(self) -> Counter[str]:
        """The same counts for operations that the result depends on."""
        return Counter(part.op for part in _live(self))

    @property
    def weights(self) -> list[Weight]:
        """The learned weights of the operations that the result depends on."""
        ops = load_ops()
        found: list[Weight] = []
        for expr in _live(self):
            attrs = {
                attr.name: int(attr.value.value)
                for attr in expr.attrs
                if isinstance(attr.value, ast.Number)
            }
            found.extend(ops[expr.op].weights(attrs))
        return found


@dataclass(frozen=True)
class AttentionUse:
    """Token mixing by an attention program; `name` is its name in the model."""

    name: str
    program: AttentionSpec

    @property
    def text(self) -> str:
        """The text in a model."""
        return self.name

    @property
    def features(self) -> frozenset[str]:
        """The operations that the result depends on."""
        return frozenset(self.program.live_operations)

    @property
    def headed(self) -> bool:
        """True: the number of heads matters."""
        return True

    def linears(self, hidden: int) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the projections of the parameters and of the result."""
        return ((hidden, hidden),) * (len(self.program.params) + 1)

    def own_parameters(self, sizes: LayerSizes) -> int:
        """Count the weights of the program's operations."""
        heads, width = sizes.heads, sizes.hidden // sizes.heads
        return sum(prod(each.shape(heads, width)) for each in self.program.weights)


def live_statements(body: tuple[ast.Statement, ...]) -> Iterator[ast.Statement]:
    """Iterate over the statements that the result depends on, the last first."""
    needed: set[str] = set()
    for statement in reversed(body):
        if isinstance(statement, ast.Bind) and statement.name not in needed:
            continue
        yield statement
        for expr in ast.expressions(statement.value):
            if isinstance(expr, ast.Name):
                needed.add(expr.id)


def _live(spec: AttentionSpec) -> Iterator[ast.Apply]:
    return _applied(live_statements(spec.body))


def _applied(statements: Iterable[ast.Statement]) -> Iterator[ast.Apply]:
    for statement in statements:
        for expr in ast.expressions(statement.value):
            if isinstance(expr, ast.Apply):
                yield expr
