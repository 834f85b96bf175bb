"""The `Builder` of operations over a `torch.fx.Graph`: calls, masks, positions."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import torch
from torch import fx

from azc.diagnostics import InternalError
from azc.ops.contract import Fill, Operand, Place

__all__ = ["FxBuilder", "Padding"]

Dimension = int | fx.Node


@dataclass(frozen=True)
class Padding:
    """What is known of the padding of a batch.

    `real`: node, bool [B, N], True where a token is real. `positions`: node, int64
    [B or 1, N], every token's index among the real ones; padding may have any, but no
    two tokens of a sequence the same. `order`: node, int64 [B, N], where the token of
    every position stands, or None as the graph runs: side by side. `inhabited`: every
    sequence has a real token. `finite`: what stands in padding is finite.
    """

    real: fx.Node
    positions: fx.Node
    order: fx.Node
    inhabited: bool
    finite: bool


@cache
def _function(target: str) -> Callable[..., Any]:
    if target == "getattr":
        return getattr
    module, _, name = target.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _has_node(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_node(item) for item in value)
    if isinstance(value, slice):
        return any(_has_node(x) for x in (value.start, value.stop, value.step))
    return isinstance(value, fx.Node)


def _key(value: Any) -> Hashable:
    """A key that tells arguments apart, 1 from 1.0 and from True too."""
    if isinstance(value, (list, tuple)):
        return (type(value), *(_key(item) for item in value))
    if isinstance(value, dict):
        return tuple((name, _key(item)) for name, item in value.items())
    if isinstance(value, slice):
        return ("slice", _key(value.start), _key(value.stop), _key(value.step))
    return (type(value), value)


class FxBuilder:
    """Writes nodes into an fx graph; what is asked for twice is computed once.

    `sample` is a node [B, H, N, d] that sizes are read off where they are not given.
    `weight_of` gives the node of the current operation's weight by its name.
    """

    def __init__(
        self,
        graph: fx.Graph,
        padding: Padding,
        sample: fx.Node,
        heads: int | None = None,
        width: int | None = None,
        dropout: Callable[[fx.Node], fx.Node] | None = None,
    ) -> None:
        self.graph = graph
        self.padding = padding
        self.sample = sample
        self._heads = heads
        self._width = width
        self._dropout = dropout
        self.weight_of: Callable[[str], fx.Node] = _no_weight
        self._made: dict[Hashable, fx.Node] = {}

    def call(self, target: str, *args: Any, **kwargs: Any) -> Any:
        """A call of a function by dotted name; Python numbers are folded at once."""
        function = _function(target)
        if target.startswith(("operator.", "azc.")) and not _has_node(args):
            return function(*args, **kwargs)
        key = (target, _key(args), _key(kwargs))
        if key not in self._made:
            self._made[key] = self.graph.call_function(function, args, kwargs)
        return self._made[key]

    def method(self, name: str, *args: Any, **kwargs: Any) -> fx.Node:
        """A call of a method of the first argument."""
        key = (name, _key(args), _key(kwargs))
        if key not in self._made:
            self._made[key] = self.graph.call_method(name, args, kwargs)
        return self._made[key]

    def weight(self, name: str) -> fx.Node:
        """The current operation's weight."""
        return self.weight_of(name)

    def dropout(self, node: fx.Node) -> fx.Node:
        """Attention dropout, where there is one."""
        return node if self._dropout is None else self._dropout(node)

    def _size(self, dim: int) -> fx.Node:
        return self.method("size", self.sample, dim)

    def heads(self) -> Dimension:
        """The number of heads."""
        return self._size(1) if self._heads is None else self._heads

    def width(self) -> Dimension:
        """The width of one head."""
        return self._size(-1) if self._width is None else self._width

    def tokens(self) -> fx.Node:
        """The length of the padded sequences."""
        return self._size(2)

    # Types

    def narrow_type(self) -> fx.Node:
        """The type of the program's inputs."""
        node: fx.Node = self.call("getattr", self.sample, "dtype")
        return node

    def wide_type(self) -> fx.Node:
        """The type of the program's inputs, but at least float32."""
        node: fx.Node = self.call(
            "torch.promote_types", self.narrow_type(), torch.float32
        )
        return node

    def wide(self, node: fx.Node) -> fx.Node:
        """The node in at least float32."""
        return self.method("to", node, self.wide_type())

    def narrow(self, node: fx.Node) -> fx.Node:
        """The node in the type of the program's inputs."""
        return self.method("to", node, self.narrow_type())

    # Where tokens stand

    def _as_column(self, node: fx.Node) -> fx.Node:
        """[B, N] as [B, 1, N, 1]."""
        key = (slice(None), None, slice(None), None)
        column: fx.Node = self.call("operator.getitem", node, key)
        return column

    def _as_row(self, node: fx.Node) -> fx.Node:
        """[B, N] as [B, 1, 1, N]."""
        key = (slice(None), None, None, slice(None))
        row: fx.Node = self.call("operator.getitem", node, key)
        return row

    def positions(self, like: fx.Node) -> fx.Node:
        """The index of every token among the real ones, [B or 1, 1, N, 1], in the type
        of the inputs but at least float32: bfloat16 can't count past 256.
        """
        return self.wide(self._as_column(self.padding.positions))

    def distance(self, like: fx.Node) -> fx.Node:
        """|i − j| for every two tokens, [B or 1, 1, N, N]."""
        column = self.positions(like)
        row = self.method("transpose", column, -1, -2)
        node: fx.Node = self.call("torch.abs", self.call("torch.sub", column, row))
        return node

    def packed(self, node: fx.Node) -> fx.Node:
        """Neighbours side by side; the node is 0 in padding."""
        made: fx.Node = self.call("azc.lower.runtime.pack", node, self.padding.order)
        return made

    def unpacked(self, node: fx.Node) -> fx.Node:
        """Undoes `packed`."""
        places = self.padding.positions, self.padding.order
        made: fx.Node = self.call("azc.lower.runtime.unpack", node, *places)
        return made

    # Absence

    def _padding(self) -> fx.Node:
        """bool [B, N], True in padding."""
        node: fx.Node = self.call("torch.logical_not", self.padding.real)
        return node

    def _unseen(self) -> fx.Node:
        """bool [B, N]: padding, but nothing in a sequence that is padding alone, so
        that no softmax is over nothing.
        """
        if self.padding.inhabited:
            return self._padding()
        some = self.call("torch.any", self.padding.real, -1, keepdim=True)
        node: fx.Node = self.call("torch.logical_and", self._padding(), some)
        return node

    def clear(self, node: fx.Node) -> fx.Node:
        """0 in the padding of a value [B, H, N, …], also where a sequence is padding
        alone.
        """
        gone = self._as_column(self._padding())
        cleared: fx.Node = self.call("torch.masked_fill", node, gone, 0.0)
        return cleared

    def _gone(
        self,
        places: frozenset[Place],
        radius: int | None,
        like: fx.Node,
        spare: bool = False,
    ) -> fx.Node:
        """bool, broadcasts over [B, H, r, c]: True where an entry is absent.

        With `spare` no row is all True: a sequence that is padding alone counts as
        real, and no window is laid over the rows of padding.
        """
        padding = self._unseen() if spare else self._padding()
        parts: list[fx.Node] = []
        if "rows" in places:
            parts.append(self._as_column(padding))
        if "cols" in places:
            parts.append(self._as_row(padding))
        if "band" in places:
            band = self.call("torch.gt", self.distance(like), radius)
            if spare:
                real = self._as_column(self.padding.real)
                band = self.call("torch.logical_and", band, real)
            parts.append(band)
        return reduce(lambda a, b: self.call("torch.logical_or", a, b), parts)

    def fill(self, operand: Operand, fill: Fill) -> fx.Node:
        """The operand's node with the number asked for in its absent entries."""
        places = fill.places
        if fill.value == 0.0:
            known = operand.state.zero
            # Of a wider band less is known.
            same = fill.radius == operand.state.radius
            places -= known if same else known - {"band"}
        node: fx.Node = operand.node
        if places:
            # A softmax or a maximum over nothing would not be finite.
            spare = fill.value == -math.inf
            gone = self._gone(places, fill.radius, node, spare)
            node = self.call("torch.masked_fill", node, gone, fill.value)
        return node

    def present(self, operand: Operand) -> fx.Node | None:
        """Which entries of a row are present; None where all of them are."""
        places = operand.state.places & {"cols", "band"}
        if not places:
            return None
        gone = self._gone(places, operand.state.radius, operand.node)
        node: fx.Node = self.call("torch.logical_not", gone)
        return node


def _no_weight(name: str) -> fx.Node:
    raise InternalError(f"no operation is being lowered that has a weight {name}")
