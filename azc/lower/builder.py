"""The implementation of `azc.ops.contract.Builder` for a `torch.fx.Graph`."""

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
    """Facts about the padding of a batch.

    A node whose value may be absent is None when the graph runs, not when it is written.

    Attributes:
        real: Mask of real tokens, bool [B, N]; None when the graph runs if all are real.
        positions: The index of every token among the real ones, int64 [B or 1, N]. The
            positions of padding are arbitrary, but no two tokens of a sequence have the
            same one.
        order: The index of the token at every position, int64 [B, N]; None when the
            graph runs if the real tokens of each sequence are known to be adjacent.
        inhabited: Whether every sequence is known to have a real token.
        finite: Whether padding is known to hold finite numbers.
        rows: `real` and `positions` of the M tokens that a model is called with; None
            if it is called with all N tokens.
        places: The place of every token once real tokens are adjacent, int64 [B or 1,
            N], if it is not its position: the N tokens are then the last of more.
        at: The indices of the M tokens among the N, int64 [M]; None if they are the
            last ones, also when the graph runs.
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
        """Mask of real tokens in the rows of values, bool [B, M]."""
        return self.real if self.rows is None else self.rows[0]

    @property
    def row_positions(self) -> fx.Node:
        """Positions of the tokens in the rows of values, int64 [B or 1, M]."""
        return self.positions if self.rows is None else self.rows[1]


Within = Callable[[int | None], Padding]


@cache
def named(target: str) -> Callable[..., Any]:
    """Import a function or a class by its dotted name."""
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
    """Return a key of arguments that is different for 1, 1.0 and True."""
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
    """A builder that writes nodes into an fx graph, and reuses nodes of equal calls.

    Args:
        graph: The graph.
        padding: The padding of its batches.
        sample: A node [B, H, N, d] from which the graph reads sizes that are not given.
        heads: The number of heads, None to read it from `sample`.
        width: The width of one head, None to read it from `sample`.
        causal: Whether later tokens are hidden from every token.
        module: Adds a module and returns the node of its call.
        extend: Extends an operand by earlier tokens. It takes the operand's node, the
            axis of its tokens (−2 or −1), whether its columns are tokens as well as its
            rows, and the number of earlier tokens, None for all.
        within: Returns the padding of the tokens that `extend` returns for a reach.
        backends: The backends that may compute parts of a program.

    Attributes:
        weight_of: Returns the node of a weight of the current operation by its name.
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
        """Call a function by its dotted name.

        A function of azc whose arguments are all known is called now.
        """
        function = named(target)
        if target.startswith("azc.") and not _has_node(args):
            return function(*args, **kwargs)
        key = (target, _key(args), _key(kwargs))
        if key not in self._made:
            self._made[key] = self.graph.call_function(function, args, kwargs)
        return self._made[key]

    def number(self, operator: str, *args: Number) -> Number:
        """Call a function of the module `operator` on numbers; compute it now if all
        are known.
        """
        target = f"operator.{operator}"
        found: Number
        found = self.call(target, *args) if _has_node(args) else named(target)(*args)
        return found

    def method(self, name: str, *args: Any, **kwargs: Any) -> fx.Node:
        """Call a method of the first argument."""
        key = (name, _key(args), _key(kwargs))
        if key not in self._made:
            self._made[key] = self.graph.call_method(name, args, kwargs)
        return self._made[key]

    def weight(self, name: str) -> fx.Node:
        """Return a weight of the current operation by its name."""
        return self.weight_of(name)

    def dropout(self, node: fx.Node, rate: float) -> fx.Node:
        """Apply dropout, in training."""
        return self.module(nn.Dropout(rate), (node,))

    def _size(self, dim: int) -> fx.Node:
        return self.method("size", self.sample, dim)

    def heads(self) -> Dimension:
        """Return the number of heads, an int if it is known."""
        return self._size(1) if self._heads is None else self._heads

    def width(self) -> Dimension:
        """Return the width of one head, an int if it is known."""
        return self._size(-1) if self._width is None else self._width

    def tokens(self) -> fx.Node:
        """Return the length N of the padded sequences."""
        return self.method("size", self.padding.positions, 1)

    # Types

    def narrow_type(self) -> fx.Node:
        """Return the type of the program's inputs."""
        node: fx.Node = self.call("getattr", self.sample, "dtype")
        return node

    def wide_type(self) -> fx.Node:
        """Return the type of the program's inputs, but at least float32."""
        node: fx.Node = self.call(
            "torch.promote_types", self.narrow_type(), torch.float32
        )
        return node

    def wide(self, node: fx.Node) -> fx.Node:
        """Convert a node to the type of the inputs, but at least float32."""
        return self.method("to", node, self.wide_type())

    def narrow(self, node: fx.Node) -> fx.Node:
        """Convert a node to the type of the program's inputs."""
        return self.method("to", node, self.narrow_type())

    def ranged(self, node: fx.Node) -> fx.Node:
        """Convert a node to the type of the program's inputs if that has the range of
        float32, as bfloat16 does; else to at least float32.
        """
        kind = self.call("azc.lower.exact.ranged_type", self.narrow_type())
        return self.method("to", node, kind)

    # Positions of tokens

    def _as_column(self, node: fx.Node) -> fx.Node:
        """Reshape [B, N] to [B, 1, N, 1]."""
        key = (slice(None), None, slice(None), None)
        column: fx.Node = self.call("operator.getitem", node, key)
        return column

    def positions(self, like: fx.Node) -> fx.Node:
        """Return the index of every token among the real ones, [B or 1, 1, N, 1].

        It has the type of the inputs, but at least float32: bfloat16 does not represent
        all integers above 256.
        """
        return self.wide(self._as_column(self.padding.row_positions))

    def distance(self, like: fx.Node) -> fx.Node:
        """Return |i − j| for all pairs of tokens, [B or 1, 1, N, N]."""
        every = self.wide(self._as_column(self.padding.positions))
        column = self.positions(like)
        row = self.method("transpose", every, -1, -2)
        node: fx.Node = self.call("torch.abs", self.call("torch.sub", column, row))
        return node

    def packed(self, node: fx.Node) -> fx.Node:
        """Move the real tokens of each sequence together, in a node that is 0 in
        padding.
        """
        made: fx.Node = self.call("azc.lower.runtime.pack", node, self.padding.order)
        return made

    def unpacked(self, node: fx.Node) -> fx.Node:
        """Undo `packed`."""
        padding = self.padding
        given = padding.places or padding.positions, padding.order
        made: fx.Node = self.call("azc.lower.runtime.unpack", node, *given)
        return made

    def newest(self, node: fx.Node) -> fx.Node:
        """Return the last M rows of a value, [B, H, M, c]: those of the tokens that a
        model is called with.
        """
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
        """Set the padding of a value [B, H, N, …] to 0, also in sequences that are only
        padding.
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
        """Return the mask of absent entries, which `azc.lower.masks.filled` takes; see
        `gone` there.
        """
        padding, whole = self.padding, operand.whole
        rows = whole and operand.shape.rows is N
        mine = padding.real if whole else padding.row_real
        positions = padding.positions if whole else padding.row_positions
        # The columns of a value [n, n] are all tokens so far.
        columns = padding.real if operand.shape.rows is N else mine
        if operand.shape.rows is not N:
            # A value without rows of tokens is broadcast over the rows of scores, so its
            # absent entries follow from the rows of the result.
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
        """Return the operand's node with a number in its absent entries."""
        # A softmax or a maximum over nothing would not be finite.
        spare = fill.value == -math.inf
        gone = self._gone(operand, fill.places, fill.radius, spare)
        node: fx.Node = self.call(
            "azc.lower.masks.filled", operand.node, gone, fill.value
        )
        return node

    def gone(self, operand: Operand) -> fx.Node | None:
        """Return a mask of the entries that the operation leaves out of a row; None if
        nothing can be absent.
        """
        absent = operand.omits
        if absent is None:
            return None
        return self._gone(operand, absent.places, absent.radius)

    def so_far(self, operand: Operand, axis: int, reach: int | None) -> fx.Node:
        """Return the operand's node extended by `reach` earlier tokens, None for all."""
        return self.extend(operand.node, axis, operand.shape == _SCORES, reach)


def fresh_name(parent: nn.Module, module: nn.Module) -> str:
    """Return an unused name for a child module: its class in snake case and a number."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(module).__name__).lower()
    return f"{kind}_{len(list(parent.children()))}"


def adds_to(root: nn.Module, graph: fx.Graph) -> AddModule:
    """Return a function that adds a module to `root`, and a call of it to `graph`."""

    def add(module: nn.Module, args: Arguments) -> fx.Node:
        name = fresh_name(root, module)
        root.add_module(name, module)
        return graph.call_module(name, args)

    return add


def _no_module(module: nn.Module, args: Arguments) -> fx.Node:
    raise InternalError("this builder has no function to add a module")


def _no_weight(name: str) -> fx.Node:
    raise InternalError(f"weight {name} is read, but no operation is being lowered")
