"""The `Builder` of operations over a `torch.fx.Graph`: calls, masks, positions."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from azc.diagnostics import InternalError
from azc.ops.contract import Fill, Operand, Place
from azc.shapes import N, Shape

if TYPE_CHECKING:
    from azc.lower.plan import Backend

__all__ = [
    "AddModule",
    "Arguments",
    "FxBuilder",
    "Padding",
    "adds_to",
    "fresh_name",
]

_SCORES = Shape(N, N)
Dimension = int | fx.Node
Number = float | fx.Node
Arguments = tuple[fx.Node | int | None, ...]
AddModule = Callable[[nn.Module, Arguments], fx.Node]
Extend = Callable[[fx.Node, int, bool, int | None], fx.Node]


@dataclass(frozen=True)
class Padding:
    """What is known of the padding of a batch.

    `real`: node, bool [B, N], True where a token is real; None as the graph runs where
    all are. `positions`: node, int64
    [B or 1, N], every token's index among the real ones; padding may have any, but no
    two tokens of a sequence the same. `order`: node, int64 [B, N], where the token of
    every position stands, or None as the graph runs: side by side. `inhabited`: every
    sequence has a real token. `finite`: what stands in padding is finite. `rows`:
    nodes of `real` and `positions` for the tokens that a model is called with, where
    these are the last of N alone. `places`: node, int64 [B or 1, N], where every token
    stands when neighbours stand side by side, if that is not at its position: of N
    tokens that are the last of more.
    """

    real: fx.Node
    positions: fx.Node
    order: fx.Node
    inhabited: bool
    finite: bool
    rows: tuple[fx.Node, fx.Node] | None = None
    places: fx.Node | None = None
    at: fx.Node | None = None

    @property
    def row_real(self) -> fx.Node:
        """`real` of the rows of values, bool [B, M]."""
        return self.real if self.rows is None else self.rows[0]

    @property
    def row_positions(self) -> fx.Node:
        """`positions` of the rows of values, int64 [B or 1, M]."""
        return self.positions if self.rows is None else self.rows[1]


Within = Callable[[int | None], Padding]


@cache
def named(target: str) -> Callable[..., Any]:
    """A function or a class by its dotted name."""
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


def _as_it_is(node: fx.Node, axis: int, square: bool, reach: int | None) -> fx.Node:
    return node


class FxBuilder:
    """Writes nodes into an fx graph; what is asked for twice is computed once.

    `sample` is a node [B, H, N, d] that sizes are read off where they are not given.
    `weight_of` gives the node of the current operation's weight by its name. `extend`
    makes of an operand's node, whose rows or columns (the axis −2 or −1) are the tokens
    that a model is called with, one of all tokens so far, or of those within a reach; it
    is told whether the columns of rows are tokens too. `within` gives what is known of
    these tokens. `module` adds a module, and a call of it. `backends`: what may serve a
    part of a program.
    """

    def __init__(
        self,
        graph: fx.Graph,
        padding: Padding,
        sample: fx.Node,
        heads: int | None = None,
        width: int | None = None,
        causal: bool = False,
        module: AddModule | None = None,
        extend: Extend = _as_it_is,
        within: Within | None = None,
        backends: Sequence[Backend] = (),
    ) -> None:
        self.graph = graph
        self.padding = padding
        self.sample = sample
        self._heads = heads
        self._width = width
        self.module: AddModule = _no_module if module is None else module
        self.backends = backends
        self.causal = causal
        self.extend = extend
        self.within: Within = within or (lambda reach: padding)
        self.weight_of: Callable[[str], fx.Node] = _no_weight
        self._made: dict[Hashable, fx.Node] = {}

    def call(self, target: str, *args: Any, **kwargs: Any) -> Any:
        """A call of a function by dotted name; one of azc is made at once where nothing
        is told as the graph runs.
        """
        function = named(target)
        if target.startswith("azc.") and not _has_node(args):
            return function(*args, **kwargs)
        key = (target, _key(args), _key(kwargs))
        if key not in self._made:
            self._made[key] = self.graph.call_function(function, args, kwargs)
        return self._made[key]

    def number(self, operator: str, *args: Number) -> Number:
        """A call of a function for numbers, made at once where all are known."""
        target = f"operator.{operator}"
        found: Number
        found = self.call(target, *args) if _has_node(args) else named(target)(*args)
        return found

    def method(self, name: str, *args: Any, **kwargs: Any) -> fx.Node:
        """A call of a method of the first argument."""
        key = (name, _key(args), _key(kwargs))
        if key not in self._made:
            self._made[key] = self.graph.call_method(name, args, kwargs)
        return self._made[key]

    def weight(self, name: str) -> fx.Node:
        """The current operation's weight."""
        return self.weight_of(name)

    def dropout(self, node: fx.Node, rate: float) -> fx.Node:
        """Dropout, in training."""
        return self.module(nn.Dropout(rate), (node,))

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
        return self.method("size", self.padding.positions, 1)

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

    def ranged(self, node: fx.Node) -> fx.Node:
        """The node in the type of the program's inputs, if that has float32's range, as
        bfloat16 has; else in at least float32.
        """
        kind = self.call("azc.lower.exact.ranged_type", self.narrow_type())
        return self.method("to", node, kind)

    # Where tokens stand

    def _as_column(self, node: fx.Node) -> fx.Node:
        """[B, N] as [B, 1, N, 1]."""
        key = (slice(None), None, slice(None), None)
        column: fx.Node = self.call("operator.getitem", node, key)
        return column

    def positions(self, like: fx.Node) -> fx.Node:
        """The index of every token among the real ones, [B or 1, 1, N, 1], in the type
        of the inputs but at least float32: bfloat16 can't count past 256.
        """
        return self.wide(self._as_column(self.padding.row_positions))

    def distance(self, like: fx.Node) -> fx.Node:
        """|i − j| for every two tokens, [B or 1, 1, N, N]."""
        every = self.wide(self._as_column(self.padding.positions))
        column = self.positions(like)
        row = self.method("transpose", every, -1, -2)
        node: fx.Node = self.call("torch.abs", self.call("torch.sub", column, row))
        return node

    def packed(self, node: fx.Node) -> fx.Node:
        """Neighbours side by side; the node is 0 in padding."""
        made: fx.Node = self.call("azc.lower.runtime.pack", node, self.padding.order)
        return made

    def unpacked(self, node: fx.Node) -> fx.Node:
        """Undoes `packed`."""
        padding = self.padding
        given = padding.places or padding.positions, padding.order
        made: fx.Node = self.call("azc.lower.runtime.unpack", node, *given)
        return made

    def newest(self, node: fx.Node) -> fx.Node:
        """The rows [B, H, M, c] of the tokens that a model is called with, of all."""
        if self.padding.rows is None:
            return node
        count = self.method("size", self.padding.row_positions, 1)
        start = self.number("neg", count)
        whole = slice(None)
        key = (whole, whole, slice(start, None))
        made: fx.Node = self.call("operator.getitem", node, key)
        return made

    # Absence

    def clear(self, node: fx.Node) -> fx.Node:
        """0 in the padding of a value [B, H, N, …], also where a sequence is padding
        alone.
        """
        gone = self.call("azc.lower.masks.padding", self.padding.row_real)
        gone = self.call("azc.lower.masks.column", gone)
        cleared: fx.Node = self.call("azc.lower.masks.filled", node, gone, 0.0)
        return cleared

    def _gone(
        self,
        operand: Operand,
        places: frozenset[Place],
        radius: int | None,
        spare: bool = False,
    ) -> fx.Node:
        """Where an entry is absent, for `azc.lower.masks.filled`; see `gone` there."""
        padding, whole = self.padding, operand.whole
        rows = whole and operand.shape.rows is N
        mine = padding.real if whole else padding.row_real
        positions = padding.positions if whole else padding.row_positions
        # The columns of a value [n, n] are all tokens so far.
        columns = padding.real if operand.shape.rows is N else mine
        if operand.shape.rows is not N:
            # What is broadcast over the rows of scores has none: these are the result's.
            mine, positions = padding.row_real, padding.row_positions
        beyond = bool(places & {"band", "future"})
        node: fx.Node = self.call(
            "azc.lower.masks.gone",
            mine if "rows" in places or (spare and beyond) else None,
            columns if "cols" in places or (spare and "rows" in places) else None,
            positions if beyond else None,
            padding.positions if beyond else None,
            padding.at if beyond and not rows else None,
            tuple(sorted(places)),
            radius if "band" in places else None,
            spare,
            padding.inhabited,
        )
        return node

    def fill(self, operand: Operand, fill: Fill) -> fx.Node:
        """The operand's node with a number in its absent entries."""
        # A softmax or a maximum over nothing would not be finite.
        spare = fill.value == -math.inf
        gone = self._gone(operand, fill.places, fill.radius, spare)
        node: fx.Node = self.call(
            "azc.lower.masks.filled", operand.node, gone, fill.value
        )
        return node

    def gone(self, operand: Operand) -> fx.Node | None:
        """What the operation omits of a row; None where nothing can be absent."""
        absent = operand.omits
        if absent is None:
            return None
        return self._gone(operand, absent.places, absent.radius)

    def so_far(self, operand: Operand, axis: int, reach: int | None) -> fx.Node:
        """The operand's node with the tokens so far along an axis, all or within reach."""
        return self.extend(operand.node, axis, operand.shape == _SCORES, reach)


def fresh_name(parent: nn.Module, module: nn.Module) -> str:
    """A name for a module that is put in: that of its class, and a number."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(module).__name__).lower()
    return f"{kind}_{len(list(parent.children()))}"


def adds_to(root: nn.Module, graph: fx.Graph) -> AddModule:
    """Adds modules to one whose graph is written, and calls of them to the graph."""

    def add(module: nn.Module, args: Arguments) -> fx.Node:
        name = fresh_name(root, module)
        root.add_module(name, module)
        return graph.call_module(name, args)

    return add


def _no_module(module: nn.Module, args: Arguments) -> fx.Node:
    raise InternalError("there is no place for a module")


def _no_weight(name: str) -> fx.Node:
    raise InternalError(f"no operation is being lowered that has a weight {name}")
