"""Values of causal programs that change with every token, computed for many moments at
once.

A moment is the time at which a token arrives. The body of a region is a graph over tensors
with an axis of moments, [B, H, T, r, c]. At moment t, the row of a stream is a matrix with
one row, and in a stream that is read as a whole the tokens after t are absent. The body runs
for a few moments at a time, so that memory stays linear in the number of tokens; states, such
as sums, are carried from run to run. A graph that must work for all lengths (under
`torch.compile`, in an export) runs the body once for all moments.

Masks are inserted while a body is written, by the rule of `azc.passes.masks`. The pass itself
can't do it: in a body the row of a stream has another type than the stream, and the absent
tokens differ from moment to moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from azc.facts.time import is_read_by_row
from azc.ir.graph import NUMBER, GraphBuilder, Node
from azc.lower.builder import FxBuilder, Padding, adds_to
from azc.lower.compiled import CompiledModule, finished
from azc.lower.operation import lower_number, lower_operation
from azc.lower.runtime import taken
from azc.lower.scans import index_of_rows, moments_of
from azc.lower.schedule import Region, Running, running
from azc.ops.axes import Time
from azc.ops.contract import Operand, Place, State
from azc.ops.table import operation
from azc.passes.masks import masked
from azc.shapes import ONE, D, N, Shape

__all__ = ["Moments", "Reading", "write_region"]

ENTRIES = 2**23  # approximate limit of the numbers of a value in one run of a body
ROWS = 128  # moments in one run if no value has more numbers than a row

# The way a region reads a stream or its transpose: row by row, or whole at every moment.
Reading = Literal["rows", "whole"]
# Functions that make states which are only multiplied with rows, and functions that
# multiply, by the kind of state.
_STATES = {"sum": "chunkwise.product_sum", "softmax": "softmaxes.softmax_mean"}
_READ = {"sum": "chunkwise.read_sum", "softmax": "softmaxes.read_mean"}
_PLACES = ("real", "positions", "sample", "at", "row_real", "leading")


@dataclass(frozen=True)
class Size:
    """The kinds of values in a region that are larger than rows.

    Attributes:
        whole: Whether it has matrices with a row or a column for each token.
        square: Whether it has states [d, d].
        keeps: Whether it has softmaxes or maxima, whose backward pass stores many times
            the memory of the rows.
    """

    whole: bool
    square: bool
    keeps: bool

    @property
    def is_large(self) -> bool:
        """True if the backward pass should compute runs again, not store their values."""
        return self.whole or self.square or self.keeps

    def moments(self, rows: int, tokens: int, width: int) -> int:
        """Return the number of moments in a run of the body.

        Args:
            rows: B · H.
            tokens: The number of tokens so far.
            width: The head width.
        """
        if not self.whole and not self.square:
            return ROWS
        entries = max(tokens if self.whole else 1, width) * width
        most = max(1, ENTRIES // max(1, rows * entries))
        return min(ROWS, most) if self.keeps else most


class Moments(nn.Module):
    """A region as a module.

    Args:
        name: The name of its states in the cache.
        body: The graph of the body.
        readings: The way in which each operand is read.
        carries: The number of states.
        size: The kinds of values in the region.
    """

    def __init__(
        self,
        name: str,
        body: fx.GraphModule,
        readings: tuple[Reading, ...],
        carries: int,
        size: Size,
    ) -> None:
        super().__init__()
        self.name = name
        self.body = body
        self.readings = readings
        self.carries = carries
        self.size = size

    def forward(
        self,
        real: torch.Tensor | None,
        positions: torch.Tensor,
        sample: torch.Tensor,
        cache: Any,
        *operands: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Compute the outputs for the last M of N tokens.

        Args:
            real: Mask of real tokens, bool [B, N]; None if all are real.
            positions: The index of every token among the real ones, int64 [B or 1, N].
            sample: An input of the program, [B, H, M, d].
            cache: The layer's cache, which holds the states; None without one.
            *operands: The operands: [B, H, M, c] if read row by row, [B, H, N, c] if
                whole, [B, H, c, N] if whole and transposed.

        Returns:
            The outputs, [B, H, M, c] each.
        """
        batch, heads, count, width = sample.shape
        past = positions.shape[1] - count
        row_real = leading = None
        if real is None:
            at = torch.arange(past, past + count, device=positions.device)[None]
        else:
            real = real | ~real.any(-1, keepdim=True)
            at, leading = moments_of(real, positions, count)
            row_real = real[:, past:]
            index = index_of_rows(at - past)
            operands = tuple(
                x if kind == "whole" else taken(x, index)
                for x, kind in zip(operands, self.readings, strict=True)
            )
        runs, step = 1, None
        # A compiled graph must work for all lengths, so it has a single run.
        if not torch.compiler.is_compiling():
            step = self.size.moments(batch * heads, past + count, width)
            runs = -(-count // step)
        pieces = [
            *(_pieces(x, 1, step, runs) for x in (at, row_real, leading)),
            *(
                _pieces(x, 2, step if kind == "rows" else None, runs)
                for x, kind in zip(operands, self.readings, strict=True)
            ),
        ]
        run: Callable[..., Any] = self.body
        if runs > 1 and self.size.is_large and torch.is_grad_enabled():
            run = partial(checkpoint, self.body, use_reentrant=False)
        carried: tuple[Any, ...] = (None,) * self.carries
        if cache is not None:
            carried = cache.carried(self.name, self.carries)
        every = (real, positions, sample[:, :, :1])
        parts: list[tuple[torch.Tensor, ...]] = []
        for where, given in (
            (each[:3], each[3:]) for each in zip(*pieces, strict=True)
        ):
            found = run(*every, *where, *carried, *given)
            parts.append(found[: len(found) - self.carries])
            carried = found[len(found) - self.carries :]
        if cache is not None:
            cache.carry(self.name, carried)
        if runs == 1:
            return parts[0]
        return tuple(torch.cat(each, 2) for each in zip(*parts, strict=True))


def _pieces(
    x: torch.Tensor | None, axis: int, step: int | None, runs: int
) -> Sequence[torch.Tensor | None]:
    """Split a tensor into the arguments of runs: `step` moments each along an axis, or,
    for None, the same tensor for each run.
    """
    return [x] * runs if x is None or step is None else x.split(step, axis)


@dataclass(frozen=True)
class _Places:
    """The placeholders of a body that describe its moments; see `azc.lower.scans`."""

    real: fx.Node
    positions: fx.Node
    sample: fx.Node
    at: fx.Node
    row_real: fx.Node
    leading: fx.Node


class _MomentBuilder(FxBuilder):
    """A builder for values with an axis of moments, [B, H, T, r, c]."""

    def __init__(
        self,
        graph: fx.Graph,
        places: _Places,
        root: nn.Module,
        like: FxBuilder,
    ) -> None:
        padding = Padding(places.real, places.positions, places.at, True, True)
        super().__init__(
            graph,
            padding,
            places.sample,
            like._heads,
            like._width,
            causal=True,
            module=adds_to(root, graph),
        )
        self.places = places

    def _gone(
        self,
        operand: Operand,
        places: frozenset[Place],
        radius: int | None,
        spare: bool = False,
    ) -> fx.Node:
        """Return the mask of absent entries, bool, broadcasts over [B, H, T, r, c].

        Every row has a present entry, because every moment is that of a real token.
        """
        where = (self.places.real, self.places.positions, self.places.at)
        by_row = operand.shape.rows is not N
        node: fx.Node = self.call(
            "azc.lower.scans.gone_at", *where, tuple(sorted(places)), radius, by_row
        )
        return node


def write_region(
    region: Region,
    time: Mapping[Node, Time],
    states: Mapping[Node, State],
    wide: frozenset[Node],
    builder: FxBuilder,
) -> tuple[Moments, list[tuple[Node, Reading]]]:
    """Write a region as a module.

    Args:
        region: The region.
        time: The times of the values of the program.
        states: Facts about the absent entries of its values.
        wide: The values that are in float32 if the inputs have a narrower type.
        builder: The builder of the program.

    Returns:
        The module, and its operands: streams and transposes, each with the way in which
        it is read.
    """
    writer = _Writer(region, time, states, wide, builder)
    return writer.write()


class _Writer:
    """A writer of the body of one region."""

    def __init__(
        self,
        region: Region,
        time: Mapping[Node, Time],
        states: Mapping[Node, State],
        wide: frozenset[Node],
        like: FxBuilder,
    ) -> None:
        self.region, self.time, self.states, self.wide = region, time, states, wide
        self.root, self.graph = nn.Module(), fx.Graph()
        nodes = {name: self.graph.placeholder(name) for name in _PLACES}
        self.builder = _MomentBuilder(
            self.graph,
            _Places(**nodes),
            self.root,
            like,
        )
        found = ((node, running(node, time)) for node in region.nodes)
        self.running = {node: known for node, known in found if known is not None}
        self.unmade = self._read_alone()
        # States that are only multiplied with rows, in their chunkwise form.
        self.products: dict[Node, fx.Node] = {}
        self.carried = {
            node: self.graph.placeholder(f"carried_{i}")
            for i, node in enumerate(self.running)
        }
        self.carry: dict[Node, fx.Node] = {}
        # The values at a moment are a graph of their own, into which masks are inserted.
        self.body = GraphBuilder()
        self.states_at: dict[Node, State] = {}
        self.lowered: dict[Node, Operand] = {}
        self.done: dict[Node, Node] = {}  # values of the body by those of the program
        self.taken: dict[tuple[Node, Reading], fx.Node] = {}

    def _read_alone(self) -> frozenset[Node]:
        """Return the states that are only multiplied with rows, which need not be formed."""
        found = {node for node, known in self.running.items() if known.kind in _READ}
        for node in self.region.nodes:
            for place, arg in enumerate(node.args):
                product = node.op == "matmul" and node.shape.rows is N and place == 1
                if not product:
                    found.discard(arg)
        return frozenset(found)

    def write(self) -> tuple[Moments, list[tuple[Node, Reading]]]:
        # Placeholders come first in a graph.
        for node in self.region.nodes:
            if node in self.running:
                for term in self.running[node].terms:
                    self.taken.setdefault((term, "rows"), None)  # type: ignore[arg-type]
                continue
            for place, arg in enumerate(node.args):
                if arg not in self.region.nodes:
                    self.taken.setdefault((arg, self.reading(node, place)), None)  # type: ignore[arg-type]
        for i, key in enumerate(self.taken):
            self.taken[key] = self.graph.placeholder(f"operand_{i}")
        for node in self.region.nodes:
            if node in self.unmade:
                self.products[node] = self.product(node)
            else:
                self.done[node] = self.value(node)
        b = self.builder
        outputs = [
            b.method("squeeze", self.lowered[self.done[node]].node, -2)
            for node in self.region.outputs
        ]
        carries = [self.carry[node] for node in self.running]
        self.graph.output((*outputs, *carries))
        body = finished(CompiledModule, self.root, self.graph, "Moments")
        keys = list(self.taken)
        readings = tuple(reading for _, reading in keys)
        name = "_".join(node.name or str(node.index) for node in self.region.outputs)
        size = self.size("whole" in readings)
        return Moments(name, body, readings, len(self.running), size), keys

    def size(self, whole: bool) -> Size:
        """Return the kinds of values in the region."""
        made = [node for node in self.region.nodes if node not in self.unmade]
        kinds = {known.kind for known in self.running.values()}
        square = any(node.shape == Shape(D, D) for node in made)
        return Size(whole, square, bool(kinds & {"softmax", "weights", "max"}))

    def reading(self, node: Node, place: int) -> Reading:
        return "rows" if is_read_by_row(node, place) else "whole"

    def value(self, node: Node) -> Node:
        """Write a value at every moment, [B, H, T, r, c]; return its node in the body."""
        b = self.builder
        if node.op == NUMBER:
            made = lower_number(node.number, node in self.wide, b, dims=5)
            return self.given(node, Operand(made, node.shape, node in self.wide))
        if node in self.running:
            return self.given(node, self.state_so_far(node, self.running[node]))
        if len(node.args) > 1 and node.args[1] in self.unmade:
            return self.given(node, self.product_with_state(node))
        shape = node.shape
        if shape.rows is N:
            shape = Shape(ONE, shape.cols)
        args = [self.operand(node, i) for i in range(len(node.args))]
        known = tuple(self.states_at[arg] for arg in args)
        after = operation(node.op).absence.after(known, shape, node.attrs)
        value = masked(self.body, node, args, known, after)
        for each in (*value.args, value):
            if each not in self.lowered:  # a mask, or the value
                operands = [self.lowered[arg] for arg in each.args]
                wide = node in self.wide if each is value else operands[0].wide
                written = lower_operation(b, each, operands, wide)
                self.lowered[each] = Operand(written, each.shape, wide)
        self.states_at[value] = after
        return value

    def given(
        self,
        node: Node,
        operand: Operand,
        state: State | None = None,
        reading: Reading | None = None,
    ) -> Node:
        """Add a value to the body as an input of it.

        Args:
            node: The value in the program.
            operand: The value at every moment.
            state: Facts about its absent entries; None if none are known.
            reading: The way in which it is read, None if it is computed in the region.
        """
        made = self.body.input(f"{node.index} {reading}", operand.shape)
        self.lowered[made] = operand
        self.states_at[made] = state or State(operand.shape, None, frozenset())
        return made

    def operand(self, node: Node, place: int) -> Node:
        """Return the node in the body of an operand of a value."""
        arg = node.args[place]
        if arg in self.done:
            return self.done[arg]
        reading = self.reading(node, place)
        taken = self.taken[arg, reading]
        state = self.states[arg]
        if reading == "rows":  # [B, H, T, c]
            made = self.builder.method("unsqueeze", taken, 3)
            shape, zero = Shape(ONE, arg.shape.cols), state.zero
            future = arg.shape.cols is N and not {"cols", "future"} <= zero
            known: frozenset[Place] = frozenset() if future else zero & {"cols", "band"}
            state = State(shape, state.radius, known)
        else:
            made = self.builder.method("unsqueeze", taken, 2)
            state = replace(state, zero=frozenset())
        operand = Operand(made, state.shape, arg in self.wide)
        return self.given(arg, operand, state, reading)

    def rows_of(self, node: Node) -> list[fx.Node]:
        """Return the rows that each token adds to a state, in float32 or wider."""
        b = self.builder
        terms = self.running[node].terms
        rows = [(self.taken[term, "rows"], term in self.wide) for term in terms]
        return [made if wide else b.wide(made) for made, wide in rows]

    def product(self, node: Node) -> fx.Node:
        """Write a state that is only multiplied with rows, in the chunkwise form of
        `azc.lower.chunkwise` or `azc.lower.softmaxes`.
        """
        b, places = self.builder, self.builder.places
        name = _STATES[self.running[node].kind]
        left, *right = self.rows_of(node)
        given = [left, right[0] if right else None, places.row_real]
        if self.running[node].kind == "softmax":
            given.append(places.leading)
        made: fx.Node = b.call(f"azc.lower.{name}", *given, self.carried[node])
        self.carry[node] = b.call("getattr", made, "last")
        return made

    def product_with_state(self, node: Node) -> Operand:
        """Multiply a row with a state that is in chunkwise form."""
        b = self.builder
        query, state = self.lowered[self.operand(node, 0)], node.args[1]
        row = query.node if query.wide else b.wide(query.node)
        name = _READ[self.running[state].kind]
        made = b.call(f"azc.lower.{name}", row, self.products[state], b.places.leading)
        wide = node in self.wide
        return Operand(
            made if wide else b.narrow(made), Shape(ONE, node.shape.cols), wide
        )

    def state_so_far(self, node: Node, known: Running) -> Operand:
        """Write a state of the tokens so far at every moment, and what is carried on."""
        b, places = self.builder, self.builder.places
        rows = self.rows_of(node)
        where = (places.row_real, places.leading, self.carried[node])
        if known.kind in ("softmax", "weights"):
            outer = known.kind == "softmax"
            both = b.call("azc.lower.softmaxes.running_softmax", *rows, *where, outer)
        elif known.kind == "max":
            both = b.call("azc.lower.scans.running_max", *rows, *where)
        else:
            terms = b.method("unsqueeze", rows[0], -1)
            if len(rows) > 1:
                terms = b.call("torch.mul", terms, b.method("unsqueeze", rows[1], -2))
            both = b.call("azc.lower.scans.running_sum", terms, *where)
        made = b.call("operator.getitem", both, 0)
        self.carry[node] = b.call("operator.getitem", both, 1)
        if known.kind == "mean":
            count = b.call(
                "azc.lower.scans.running_count", places.real, places.at, made
            )
            made = b.call("torch.div", made, count)
        if node not in self.wide:
            made = b.narrow(made)
        return Operand(made, node.shape, node in self.wide)
