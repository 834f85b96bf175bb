"""The table of operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from azc.diagnostics import InternalError
from azc.ops import core
from azc.ops.contract import Op
from azc.ops.defs import binary, elementwise, places, products, rows
from azc.shapes import ALL_SHAPES, Shape

__all__ = ["load_ops", "operation", "signatures"]

_MODULES = (elementwise, rows, binary, products, places)
_CORE = {op.name: op for op in core.OPS}


@cache
def load_ops() -> Mapping[str, Op]:
    """Every operation of the language by name. Raises `InternalError` where one breaks
    the contract.
    """
    found: dict[str, Op] = {}
    for module in _MODULES:
        for op in module.OPS:
            if op.name in found or op.name in _CORE:
                raise InternalError(f"two operations are called {op.name}")
            if not op.samples:
                raise InternalError(f"the operation {op.name} has no samples")
            found[op.name] = op
    return MappingProxyType(found)


@cache
def operation(name: str) -> Op:
    """The operation of a value in a graph: one of the language, or the compiler's own.

    Raises `KeyError` for any other name.
    """
    return _CORE.get(name) or load_ops()[name]


@cache
def signatures() -> Mapping[Shape, tuple[tuple[str, tuple[Shape, ...]], ...]]:
    """For every type, the operations and operand types that give it.

    Derived from the type rules by trying all operand types, so it can't disagree.
    """
    from itertools import product

    from azc.ops.contract import TypeFault

    table: dict[Shape, list[tuple[str, tuple[Shape, ...]]]] = {
        shape: [] for shape in ALL_SHAPES
    }
    for op in load_ops().values():
        for shapes in product(ALL_SHAPES, repeat=len(op.operands)):
            try:
                table[op.result(shapes)].append((op.name, shapes))
            except TypeFault:
                continue
    return MappingProxyType({shape: tuple(rows) for shape, rows in table.items()})
