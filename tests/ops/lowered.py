"""One operation on its own: lowered to torch, beside its reference on each sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from azc.facts.precision import wide_values
from azc.ir.graph import INPUT, Graph, GraphBuilder
from azc.lower.builder import FxBuilder, Padding, adds_to
from azc.lower.operation import lower_operation
from azc.lower.runtime import order_of, positions_of
from azc.ops import core
from azc.ops.contract import Fill, Frame, Op, Operand, Place, Sample, State, Value
from azc.ops.table import load_ops
from azc.passes.masks import Masks
from azc.shapes import D, N, Shape

WIDTH, HEADS = 4, 2

# Real tokens of each sequence of a batch: all, padded right, left, in holes, one alone.
ANYWHERE = torch.tensor(
    [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1],
        [1, 0, 1, 0, 1],
        [0, 0, 0, 1, 0],
    ]
).bool()
PACKED = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()

CASES = [(op, sample) for op in load_ops().values() for sample in op.samples]
CORE_CASES = [(op, sample) for op in core.OPS for sample in op.samples]


def case_id(case: tuple[Op, Sample]) -> str:
    op, sample = case
    shapes = "".join(str(shape).replace(", ", "") for shape in sample.shapes)
    given = {k: x.value if isinstance(x, Fill) else x for k, x in sample.attrs.items()}
    attrs = "".join(f"-{name}{value}" for name, value in given.items())
    return f"{op.name}{shapes}{attrs}"


def states(shapes: Sequence[Shape]) -> list[tuple[State, ...]]:
    """All that can be known of absent entries: nothing or 0, with a window or none."""
    each = []
    for i, shape in enumerate(shapes):
        found = []
        # Windows of two operands are of unlike widths.
        for radius in (None, 1 + i) if shape == Shape(N, N) else (None,):
            dirty = State(shape, radius, frozenset())
            found.append(dirty)
            if dirty.places:
                found.append(State(shape, radius, dirty.places))
        each.append(found)
    return list(product(*each))


def axes(shape: Shape, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows and which columns of a value are there: all but padding."""
    every = {N: real, D: torch.ones(WIDTH, dtype=torch.bool)}
    one = torch.ones(1, dtype=torch.bool)
    return every.get(shape.rows, one), every.get(shape.cols, one)


def present(state: State, real: torch.Tensor) -> torch.Tensor:
    """The present entries of a value of one sequence, bool [r, c]."""
    rows, cols = axes(state.shape, real)
    found = rows[:, None] & cols[None, :]
    if state.radius is not None:
        index = torch.cumsum(real, 0) - 1
        found = found & ((index[:, None] - index[None, :]).abs() <= state.radius)
    return found


def absent_places(state: State, real: torch.Tensor) -> Mapping[Place, torch.Tensor]:
    """The absent entries of one sequence by place; of a window, between real tokens."""
    rows, cols = axes(state.shape, real)
    inside = rows[:, None] & cols[None, :]
    return {
        "rows": ~rows[:, None].expand(inside.shape),
        "cols": ~cols[None, :].expand(inside.shape),
        "band": inside & ~present(state, real),
    }


@dataclass
class Lowered:
    """An operation as a torch function of its operands, mask and weights."""

    op: Op
    sample: Sample
    states: tuple[State, ...]
    module: fx.GraphModule

    @property
    def after(self) -> State:
        """What the compiler takes to be known of the result."""
        result = self.op.result(self.sample.shapes)
        return self.op.absence.after(self.states, result, self.sample.attrs)

    def __call__(
        self,
        operands: Sequence[torch.Tensor],
        real: torch.Tensor,
        weights: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        batch, tokens = real.shape
        like = operands[0].new_zeros(batch, HEADS, tokens, WIDTH)
        out = self.module(like, real, *operands, *weights)
        rows, cols = self.after.shape.sizes(tokens, WIDTH)
        assert out.shape[-2:] == (rows, cols), "not the shape that is declared"
        wide = torch.promote_types(operands[0].dtype, torch.float32)
        program = masked_program(self)
        stays = program.output in wide_values(program)
        assert out.dtype == (wide if stays else operands[0].dtype)
        return out.expand(batch, HEADS, rows, cols)


def lower(
    op: Op,
    sample: Sample,
    known: tuple[State, ...],
    packed: bool = False,
    sized: bool = False,
) -> Lowered:
    """The operation in a graph of its own, masked as in a program.

    `sized`: the compiler knows the number of heads and their width.
    """
    graph = fx.Graph()
    like, real = graph.placeholder("like"), graph.placeholder("real")
    sizes = (HEADS, WIDTH) if sized else (None, None)
    positions = graph.call_function(positions_of, (real, real))
    order = graph.call_function(order_of, (real, positions))
    padding = Padding(real, positions, order, inhabited=packed, finite=True)
    root = nn.Module()
    builder = FxBuilder(graph, padding, like, *sizes, module=adds_to(root, graph))
    made = Lowered(op, sample, known, fx.GraphModule(root, fx.Graph()))
    program = masked_program(made)
    wide = wide_values(program)
    done = {
        node: Operand(graph.placeholder(node.name), node.shape, wide=False)
        for node in program.nodes
        if node.op == INPUT
    }
    specs = op.weights(sample.attrs)
    weights = {spec.name: graph.placeholder(spec.name) for spec in specs}
    builder.weight_of = weights.__getitem__
    for node in program.nodes:
        if node.op != INPUT:
            operands = [done[arg] for arg in node.args]
            written = lower_operation(builder, node, operands, node in wide)
            done[node] = Operand(written, node.shape, node in wide)
    graph.output(done[program.output].node)
    made.module = fx.GraphModule(root, graph)
    return made


def masked_program(made: Lowered) -> Graph:
    """The operation alone, with the masks that the compiler puts in."""
    build = GraphBuilder()
    operands = [
        build.input(f"x{i}", state.shape) for i, state in enumerate(made.states)
    ]
    result = build.apply(made.op.name, operands, made.sample.attrs)
    bare = Graph(made.op.name, tuple(x.name for x in operands), result, {})
    facts = {**dict(zip(operands, made.states, strict=True)), result: made.after}
    return Masks(facts, {}, [result]).run(bare)


def reference(
    made: Lowered,
    operands: Sequence[torch.Tensor],
    real: torch.Tensor,
    head: int,
    weights: Sequence[torch.Tensor],
) -> Value:
    """The reference on the real tokens of one head of one sequence, operands [r, c]."""
    values = []
    for state, operand in zip(made.states, operands, strict=True):
        rows, cols = axes(state.shape, real)
        data = operand[rows][:, cols].double().numpy()
        values.append(Value(data, present(state, real)[rows][:, cols].numpy()))
    specs = made.op.weights(made.sample.attrs)
    own = {
        spec.name: weight[head].double().numpy()
        for spec, weight in zip(specs, weights, strict=True)
    }
    n = int(real.sum())
    frame = Frame(np, n, WIDTH, head, HEADS, own)
    with np.errstate(all="ignore"):
        value = made.op.reference(frame, *values, **made.sample.attrs)
    shape = made.after.shape.sizes(n, WIDTH)
    assert value.data.shape == value.present.shape == shape
    return value


def draw(
    made: Lowered,
    real: torch.Tensor,
    garbage: Sequence[float],
    positive: bool = False,
    size: float = 1.0,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Random operands [B, H, r, c] and weights in float64, of about the size given; in
    absent entries 0 where that is known, else one of `garbage`."""
    random = torch.Generator().manual_seed(0)
    batch, tokens = real.shape
    operands = []
    for state in made.states:
        shape = (batch, HEADS, *state.shape.sizes(tokens, WIDTH))
        data = torch.randn(shape, generator=random, dtype=torch.float64)
        if positive:
            data = data.abs() + 0.1
        data *= size
        chosen = torch.randint(len(garbage), shape, generator=random)
        junk = torch.tensor(garbage, dtype=torch.float64)[chosen]
        for b in range(batch):
            junk[b] = junk[b].masked_fill(present(state, real[b]), 0.0)
            data[b] = data[b].masked_fill(~present(state, real[b]), 0.0)
            for place, gone in absent_places(state, real[b]).items():
                if place in state.zero:
                    junk[b] = junk[b].masked_fill(gone, 0.0)
        operands.append(data + junk)
    specs = made.op.weights(made.sample.attrs)
    weights = [
        torch.randn(spec.shape(HEADS, WIDTH), generator=random, dtype=torch.float64)
        for spec in specs
    ]
    return operands, weights


def close(found: Any, wanted: Any, tolerance: float) -> None:
    """Within `tolerance` of the largest entry, not-a-numbers in the same places."""
    finite = wanted[np.isfinite(wanted)]
    scale = max(1.0, float(np.abs(finite).max(initial=0.0)))
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale)
