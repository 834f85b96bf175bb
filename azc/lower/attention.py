"""Attention programs to fx: the graph node by node, and the stand-alone function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import fx, nn

from azc.facts.precision import wide_values
from azc.facts.presence import presence
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.lower.builder import FxBuilder, Padding
from azc.lower.compiled import CompiledModule
from azc.lower.runtime import order_of, positions_of, real_tokens
from azc.ops.contract import Attrs, Op, Operand, Place, State, Weight
from azc.ops.table import load_ops

__all__ = ["OperationWeight", "compile_graph", "lower_graph", "lower_operation"]

_ROWS: frozenset[Place] = frozenset(("rows",))


class OperationWeight(nn.Module):
    """One learned weight of an operation; calling it gives the tensor."""

    def __init__(self, weight: Weight, heads: int, width: int) -> None:
        super().__init__()
        self.spec = weight
        self.weight = nn.Parameter(torch.empty(weight.shape(heads, width)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Puts in the value that training starts from."""
        start = self.spec.init(np, tuple(self.weight.shape))
        with torch.no_grad():
            self.weight.copy_(torch.as_tensor(start, dtype=self.weight.dtype))

    def forward(self) -> torch.Tensor:
        """The weight, [heads or 1, d or 1, …]."""
        return self.weight


def lower_graph(
    graph: Graph,
    builder: FxBuilder,
    inputs: Mapping[str, fx.Node],
    weight: Callable[[str], fx.Node],
) -> fx.Node:
    """Writes a program into the builder's fx graph; the result's node [B, H, N, d].

    `inputs`: a node [B, H, N, d] by parameter. `weight`: the node of a learned weight
    by its name in the graph. The result is 0 in padding.
    """
    # What stands in padding may be anything, also in the gradient: cleared at once.
    cleared: frozenset[Place] = frozenset() if builder.padding.finite else _ROWS
    states = presence(graph, cleared)
    wide = wide_values(graph)
    done: dict[Node, Operand] = {}
    for node in graph.nodes:
        if node.op == INPUT:
            made = inputs[node.name]
            if cleared:
                made = builder.clear(made)
        elif node.op == NUMBER:
            made = _number(node.number, node in wide, builder)
        else:
            op = load_ops()[node.op]
            builder.weight_of = lambda name, node=node: weight(  # type: ignore[misc]
                f"{node.op}_{node.ordinal}_{name}"
            )
            operands = [done[arg] for arg in node.args]
            made = lower_operation(builder, op, operands, node.attrs, states[node])
        done[node] = Operand(made, states[node], node in wide)
        name = graph.names.get(node)
        if name and isinstance(made, fx.Node) and made.op != "placeholder":
            made._rename(name)
    result = done[graph.output]
    return builder.clear(builder.narrow(result.node) if result.wide else result.node)


def lower_operation(
    builder: FxBuilder,
    op: Op,
    operands: Sequence[Operand],
    attrs: Attrs,
    result: State,
) -> fx.Node:
    """Writes one operation: its operands filled where entries are absent, in the type
    that it computes in, and the result's node.
    """
    states = tuple(operand.state for operand in operands)
    taken = []
    for operand, fill in zip(operands, op.absence.fill(states, result), strict=True):
        node = operand.node if fill is None else builder.fill(operand, fill)
        if op.precision == "narrow" and operand.wide:
            node = builder.narrow(node)
        elif op.precision in ("wide", "inside") and not operand.wide:
            node = builder.wide(node)
        taken.append(Operand(node, operand.state, operand.wide))
    made: fx.Node = op.lower(builder, *taken, attrs=attrs)
    if op.precision == "inside" and not any(operand.wide for operand in operands):
        made = builder.narrow(made)
    return made


def _number(value: float, wide: bool, builder: FxBuilder) -> fx.Node:
    # In float32 first: float16 refuses what it can't hold instead of rounding it.
    made = builder.method(
        "new_full", builder.sample, (1, 1, 1, 1), value, dtype=builder.wide_type()
    )
    return made if wide else builder.narrow(made)


def compile_graph(
    graph: Graph,
    heads: int | None = None,
    width: int | None = None,
    inhabited: bool = False,
    finite: bool = False,
) -> fx.GraphModule:
    """The program as a function of tensors.

    The module takes a tensor [B, H, N, D] for every parameter, by name, and `mask`,
    bool [B, N], True = real (all real where it is left out), and gives [B, H, N, D], 0
    in padding. Padding may be anywhere and hold anything. `heads` and `width` are
    needed only to give the learned weights of operations a value for each head and
    feature; without them one kernel serves all. `inhabited` and `finite` promise what
    `Padding` says of a batch.
    """
    root = nn.Module()
    fx_graph = fx.Graph()
    inputs = {name: fx_graph.placeholder(name) for name in graph.inputs}
    mask = fx_graph.placeholder("mask", default_value=None)
    sample = next(iter(inputs.values()))
    real = fx_graph.call_function(real_tokens, (mask, inputs))
    positions = fx_graph.call_function(positions_of, (mask, real))
    order = fx_graph.call_function(order_of, (mask, positions))
    padding = Padding(real, positions, order, inhabited, finite)
    builder = FxBuilder(fx_graph, padding, sample, heads, width)
    nodes: dict[str, fx.Node] = {}
    for name, weight in graph.weights:
        root.add_module(name, OperationWeight(weight, heads or 1, width or 1))
        nodes[name] = fx_graph.call_module(name)
    output = lower_graph(graph, builder, inputs, nodes.__getitem__)
    fx_graph.output(output)
    module = CompiledModule(root, fx_graph, "Attention")
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return module
