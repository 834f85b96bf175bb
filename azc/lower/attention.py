"""Attention programs to fx: the graph node by node, and the stand-alone function."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import fx, nn

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.lower.builder import FxBuilder, Padding
from azc.lower.runtime import real_tokens
from azc.ops.contract import Operand, State, Weight
from azc.ops.table import load_ops

__all__ = ["OperationWeight", "compile_graph", "lower_graph"]


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
    done: dict[Node, Operand] = {}
    for node in graph.nodes:
        done[node] = _lower_node(node, graph, builder, inputs, weight, done)
        name = graph.names.get(node)
        made = done[node].node
        if name and isinstance(made, fx.Node) and made.op != "placeholder":
            made._rename(name)
    return builder.clear(done[graph.output].node)


def _lower_node(
    node: Node,
    graph: Graph,
    builder: FxBuilder,
    inputs: Mapping[str, fx.Node],
    weight: Callable[[str], fx.Node],
    done: Mapping[Node, Operand],
) -> Operand:
    if node.op == INPUT:
        state = State(node.shape, None, frozenset())
        made = Operand(inputs[node.name], state)
        if builder.padding.finite:
            return made
        # What stands in padding may be anything, also in the gradient: cleared at once.
        state = State(node.shape, None, frozenset(("rows",)))
        return Operand(builder.clear(made.node), state)
    if node.op == NUMBER:
        like = builder.sample
        # In float32 first: float16 refuses what it can't hold instead of rounding it.
        dtype = builder.wide_type(like)
        number = builder.method(
            "new_full", like, (1, 1, 1, 1), node.number, dtype=dtype
        )
        number = builder.method("to", number, like)
        return Operand(number, State(node.shape, None, frozenset()))
    op = load_ops()[node.op]
    operands = []
    for arg, fill in zip(node.args, op.absence.fill, strict=True):
        operand = done[arg]
        if fill is not None:
            operand = Operand(builder.fill(operand, fill), operand.state)
        operands.append(operand)
    builder.weight_of = lambda name: weight(f"{node.op}_{node.ordinal}_{name}")
    made_node = op.lower(builder, *operands, attrs=node.attrs)
    states = tuple(done[arg].state for arg in node.args)
    return Operand(made_node, op.absence.after(states, node.shape, node.attrs))


def compile_graph(
    graph: Graph, heads: int | None = None, width: int | None = None
) -> fx.GraphModule:
    """The program as a function of tensors.

    The module takes a tensor [B, H, N, D] for every parameter, by name, and `mask`,
    bool [B, N], True = real (all real where it is left out), and gives [B, H, N, D], 0
    in padding. Padding may be anywhere and hold anything. `heads` and `width` are
    needed only to give the learned weights of operations a value for each head and
    feature; without them one kernel serves all.
    """
    root = nn.Module()
    fx_graph = fx.Graph()
    inputs = {name: fx_graph.placeholder(name) for name in graph.inputs}
    mask = fx_graph.placeholder("mask", default_value=None)
    sample = next(iter(inputs.values()))
    real = fx_graph.call_function(real_tokens, (mask, sample))
    builder = FxBuilder(
        fx_graph,
        Padding(real, packed=False, finite=False),
        sample,
        heads,
        width,
    )
    nodes: dict[str, fx.Node] = {}
    for name, weight in graph.weights:
        root.add_module(name, OperationWeight(weight, heads or 1, width or 1))
        nodes[name] = fx_graph.call_module(name)
    output = lower_graph(graph, builder, inputs, nodes.__getitem__)
    fx_graph.output(output)
    module = fx.GraphModule(root, fx_graph, "Attention")
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return module
