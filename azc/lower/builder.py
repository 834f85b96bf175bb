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
from azc.shapes import N

__all__ = ["FxBuilder", "Padding"]

Dimension = int | fx.Node


@dataclass(frozen=True)
class Padding:
    """What is known of the padding of a batch.

    `real`: node, bool [B, N], True where a token is real. `positions`: node, int64
    [B or 1, N], every token's index among the real ones; padding may have any, but no
    two tokens of a sequence the same. `order`: node, int64 [B, N], where the token of
    every position stands, or None as the graph runs: side by side. `inhabited`: every
    sequence has a real token. `finite`: what stands in padding is finite. `rows`:
    nodes of `real` and `positions` for the tokens that a model is called with, where
    these are the last of N alone.
    """

    real: fx.Node
    positions: fx.Node
    order: fx.Node
    inhabited: bool
    finite: bool
    rows: tuple[fx.Node, fx.Node] | None = None

    @property
    def row_real(self) -> fx.Node:
        """`real` of the rows of values, bool [B, M]."""
        return self.real if self.rows is None else self.rows[0]

    @property
    def row_positions(self) -> fx.Node:
        """`positions` of the rows of values, int64 [B or 1, M]."""
        return self.positions if self.rows is None else self.rows[1]


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
    `weight_of` gives the node of the current operation's weight by its name, `attends`
    says whether its value is [n, n]. `extend` makes of an operand's node, whose rows or
    columns (the axis −2 or −1) are the tokens that a model is called with, one of all
    tokens so far; it is told whether the columns of rows are tokens too.
    """

    def __init__(
        self,
        graph: fx.Graph,
        padding: Padding,
        sample: fx.Node,
        heads: int | None = None,
        width: int | None = None,
        dropout: Callable[[fx.Node], fx.Node] | None = None,
        causal: bool = False,
        extend: Callable[[fx.Node, int, bool], fx.Node] = lambda node, axis, square: (
            node
        ),
    ) -> None:
        self.graph = graph
        self.padding = padding
        self.sample = sample
        self._heads = heads
        self._width = width
        self._dropout = dropout
        self.causal = causal
        self.extend = extend
        self.attends = False
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
        if self._dropout is None or not self.attends:
            return node
        return self._dropout(node)

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
        return self.method("size", self.padding.real, 1)

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
        return self.wide(self._as_column(self.padding.row_positions))

    def distance(self, like: fx.Node, whole: bool = False) -> fx.Node:
        """|i − j| for every two tokens, [B or 1, 1, N, N]."""
        every = self.wide(self._as_column(self.padding.positions))
        column = every if whole else self.positions(like)
        row = self.method("transpose", every, -1, -2)
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

    def newest(self, node: fx.Node) -> fx.Node:
        """The rows [B, H, M, c] of the tokens that a model is called with, of all."""
        if self.padding.rows is None:
            return node
        count = self.method("size", self.padding.row_real, 1)
        start = self.call("operator.neg", count)
        whole = slice(None)
        key = (whole, whole, slice(start, None))
        made: fx.Node = self.call("operator.getitem", node, key)
        return made

    # Absence

    def _padding(self, real: fx.Node) -> fx.Node:
        """bool [B, N], True in padding."""
        node: fx.Node = self.call("torch.logical_not", real)
        return node

    def _unseen(self, real: fx.Node) -> fx.Node:
        """bool [B, N]: padding, but nothing in a sequence that is padding alone, so
        that no softmax is over nothing.
        """
        if self.padding.inhabited:
            return self._padding(real)
        some = self.call("torch.any", self.padding.real, -1, keepdim=True)
        node: fx.Node = self.call("torch.logical_and", self._padding(real), some)
        return node

    def clear(self, node: fx.Node) -> fx.Node:
        """0 in the padding of a value [B, H, N, …], also where a sequence is padding
        alone.
        """
        gone = self._as_column(self._padding(self.padding.row_real))
        cleared: fx.Node = self.call("torch.masked_fill", node, gone, 0.0)
        return cleared

    def _gone(
        self,
        operand: Operand,
        places: frozenset[Place],
        radius: int | None,
        spare: bool = False,
    ) -> fx.Node:
        """bool, broadcasts over [B, H, r, c]: True where an entry is absent.

        With `spare` no row is all True: a sequence that is padding alone counts as
        real, and neither a window nor the future is laid over the rows of padding.
        """
        padding = self._unseen if spare else self._padding
        mine = self.padding.real if operand.whole else self.padding.row_real
        parts: list[fx.Node] = []
        if "rows" in places:
            parts.append(self._as_column(padding(mine)))
        if "cols" in places:
            # The columns of a value [n, n] are all tokens so far.
            real = self.padding.real if operand.shape.rows is N else mine
            parts.append(self._as_row(padding(real)))
        beyond: list[fx.Node] = []
        if "band" in places:
            distance = self.distance(operand.node, operand.whole)
            beyond.append(self.call("torch.gt", distance, radius))
        if "future" in places:
            both = (mine, self.padding.real)
            beyond.append(self.call("azc.lower.runtime.future", *both))
        for each in beyond:
            if spare:
                each = self.call("torch.logical_and", each, self._as_column(mine))
            parts.append(each)
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
            gone = self._gone(operand, places, fill.radius, spare)
            node = self.call("torch.masked_fill", node, gone, fill.value)
        return node

    def present(self, operand: Operand) -> fx.Node | None:
        """Which entries of a row are present; None where all of them are."""
        places = operand.state.places - {"rows"}
        if not places:
            return None
        gone = self._gone(operand, places, operand.state.radius)
        node: fx.Node = self.call("torch.logical_not", gone)
        return node


def _no_weight(name: str) -> fx.Node:
    raise InternalError(f"no operation is being lowered that has a weight {name}")
