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
    """Return every operation of the language by name.

    Raises:
        InternalError: If an operation breaks the contract.
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
    """Return an operation of the language or of the compiler by its name.

    Raises:
        KeyError: If there is no such operation.
    """
    return _CORE.get(name) or load_ops()[name]


@cache
def signatures() -> Mapping[Shape, tuple[tuple[str, tuple[Shape, ...]], ...]]:
    """Return, for every type, the operations and operand types that produce it.

    The table is computed from the type rules by trying all operand types, so it can't
    disagree.
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
