"""Lowering of attention programs to fx, as part of a layer or as a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import fx, nn

from azc.facts.precision import wide_values
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.lower.builder import FxBuilder, Padding, adds_to
from azc.lower.compiled import CompiledModule, finished
from azc.lower.dot_product import DotProduct
from azc.lower.masks import real_tokens
from azc.lower.modules import OwnStart
from azc.lower.moments import write_region
from azc.lower.operation import lower_number, lower_operation
from azc.lower.plan import BACKENDS, Backend, prepared
from azc.lower.runtime import order_of, positions_of
from azc.lower.scaled import ScaledDotProduct
from azc.lower.schedule import Region
from azc.ops.axes import Time
from azc.ops.contract import Operand, Weight
from azc.ops.core import FILL, SO_FAR
from azc.ops.table import operation
from azc.shapes import N

__all__ = ["OperationWeight", "compile_graph", "lower_graph"]


class OperationWeight(OwnStart):
    """A learned weight of an operation; calling the module returns the tensor."""

    def __init__(
        self, weight: Weight, heads: int, width: int, causal: bool = False
    ) -> None:
        super().__init__()
        self.spec = weight
        self.causal = causal
        self.weight = nn.Parameter(torch.empty(weight.shape(heads, width)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to the value that training starts from."""
        start = self.spec.init(np, tuple(self.weight.shape), self.causal)
        with torch.no_grad():
            self.weight.copy_(torch.as_tensor(start, dtype=self.weight.dtype))

    def forward(self) -> torch.Tensor:
        """Return the weight, [heads or 1, d or 1, …]."""
        return self.weight


def lower_graph(
    graph: Graph,
    builder: FxBuilder,
    inputs: Mapping[str, fx.Node],
    weight: Callable[[str], fx.Node],
    cache: fx.Node | None = None,
) -> fx.Node:
    """Write a program into the fx graph of a builder.

    Args:
        graph: The program.
        builder: The builder.
        inputs: The nodes [B, H, N, d] of the parameters, by name.
        weight: Returns the node of a learned weight by its name in `graph`.
        cache: The node of the layer's cache in a causal model, None without one.

    Returns:
        The node of the result, [B, H, N, d], which is 0 in padding.
    """
    return _Writer(graph, builder, inputs, weight, cache).write()


class _Writer:
    """A writer of the values of one program, in the order of its plan."""

    def __init__(
        self,
        graph: Graph,
        builder: FxBuilder,
        inputs: Mapping[str, fx.Node],
        weight: Callable[[str], fx.Node],
        cache: fx.Node | None,
    ) -> None:
        self.builder = builder
        self.inputs, self.weight = inputs, weight
        self.cache = cache
        # Padding may hold values that are not finite, which would reach gradients as
        # well. So inputs are cleared before anything reads them.
        self.clears = not builder.padding.finite
        self.prepared = prepared(graph, builder.causal, builder.backends, self.clears)
        self.wide = wide_values(self.prepared.graph)
        self.done: dict[Node, Operand] = {}

    def write(self) -> fx.Node:
        for step in self.prepared.plan.steps:
            if isinstance(step, Region):
                self.region(step)
            elif isinstance(step, DotProduct):
                self.keep(step.output, self.dot_product(step))
            else:
                self.keep(step, self.value(step))
        result = self.done[self.prepared.graph.output]
        narrow = self.builder.narrow(result.node) if result.wide else result.node
        return self.builder.clear(narrow)

    def keep(self, node: Node, made: fx.Node) -> None:
        whole = node.op == SO_FAR
        if node.op == FILL:
            whole = self.done[node.args[0]].whole
        self.done[node] = Operand(made, node.shape, node in self.wide, whole)
        name = self.prepared.graph.names.get(node)
        if name == "self":  # modules are called on it
            return
        if name and isinstance(made, fx.Node) and made.op != "placeholder":
            made._rename(name)

    def value(self, node: Node) -> fx.Node:
        """Lower a value of whole sequences; return its node, [B, H, r, c]."""
        builder = self.builder
        builder.padding = builder.within(self.prepared.reach(node))
        if node.op == INPUT:
            made = self.inputs[node.name]
            return builder.clear(made) if self.clears else made
        if node.op == NUMBER:
            return lower_number(node.number, node in self.wide, builder)
        builder.weight_of = lambda name: self.weight(f"{node.op}_{node.ordinal}_{name}")
        operands = [self.done[arg] for arg in node.args]
        made = lower_operation(builder, node, operands, node in self.wide)
        if builder.causal and operation(node.op).reach(node.attrs) is not None:
            made = builder.newest(made)
        return made

    def so_far(self, operand: Operand, axis: int, reach: int | None) -> Operand:
        """Extend an operand by `reach` earlier tokens, None for all, along `axis`."""
        node = self.builder.so_far(operand, axis, reach)
        return replace(operand, node=node, whole=True)

    def dot_product(self, step: DotProduct) -> fx.Node:
        """Lower a value to `scaled_dot_product_attention`; return its node, [B, H, M, c]."""
        builder = self.builder
        padding = builder.within(step.radius)
        parts = (step.query, step.key, step.value)
        exact = any(self.done[node].wide for node in parts)
        given = []
        for node, whole in zip(parts, (False, True, True), strict=True):
            operand = self.done[node]
            turned = node is step.key and step.turned
            if builder.causal and whole:
                axis = -1 if turned else -2
                operand = self.so_far(operand, axis, step.radius)
            made = builder.ranged(operand.node) if exact else operand.node
            if turned:
                made = builder.method("transpose", made, -1, -2)
            given.append(made)
        module = ScaledDotProduct(step, builder.causal, padding.inhabited, exact)
        places = (
            padding.real,
            padding.row_real,
            padding.positions,
            padding.row_positions,
            padding.at,
            builder.width(),
        )
        made = builder.module(module, (*given, *places))
        if not exact:
            return made
        wide = step.output in self.wide
        return builder.wide(made) if wide else builder.narrow(made)

    def region(self, region: Region) -> None:
        """Lower a region, whose values are computed moment by moment.

        A region expects the new tokens to be the last ones along every axis of tokens.
        """
        builder = self.builder
        places = builder.padding = builder.within(None)
        time, states = self.prepared.time, self.prepared.states
        module, taken = write_region(region, time, states, self.wide, builder)
        given: list[fx.Node | None] = []
        for node, reading in taken:
            operand = self.done[node]
            turned = time[node] is Time.MIRROR
            if reading == "whole":
                axis = -1 if turned else -2
                made = self.in_order(self.so_far(operand, axis, None).node, axis)
                given.append(self.columns_in_order(node, made) if not turned else made)
            elif turned:
                given.append(builder.method("transpose", operand.node, -1, -2))
            else:
                given.append(self.columns_in_order(node, operand.node))
        sample = next(iter(self.inputs.values()))
        where = (self.in_order(each, 1) for each in (places.real, places.positions))
        made = builder.module(module, (*where, sample, self.cache, *given))
        for i, node in enumerate(region.outputs):
            found = builder.call("operator.getitem", made, i)
            self.keep(node, self.columns_in_order(node, found, back=True))

    def in_order(self, node: fx.Node, axis: int, back: bool = False) -> fx.Node:
        """Roll a value so that the new tokens come last along `axis`, or `back`."""
        at = self.builder.padding.at
        if at is None:
            return node
        made: fx.Node = self.builder.call(
            "azc.lower.runtime.in_order", node, at, axis, back
        )
        return made

    def columns_in_order(
        self, value: Node, node: fx.Node, back: bool = False
    ) -> fx.Node:
        """Roll the columns of a value as `in_order` does, if they are tokens."""
        return self.in_order(node, -1, back) if value.shape.cols is N else node


def compile_graph(
    graph: Graph,
    heads: int | None = None,
    width: int | None = None,
    inhabited: bool = False,
    finite: bool = False,
    causal: bool = False,
    backends: Sequence[Backend] = BACKENDS,
) -> fx.GraphModule:
    """Compile a program to a module that is a function of tensors.

    The module takes a tensor [B, H, N, D] for every parameter, by name, and `mask`,
    bool [B, N], which is True at real tokens; without it, all tokens are real. It
    returns a tensor [B, H, N, D], which is 0 in padding. Padding may be anywhere and
    hold anything.

    Args:
        graph: The program.
        heads: The number of heads, needed only for learned weights of operations that
            have a value for each head. Without it, all heads share one value.
        width: The width of one head, needed likewise for weights with a value for each
            feature.
        inhabited: Promise that every sequence has a real token.
        finite: Promise that padding holds finite numbers.
        causal: Hide later tokens from every token.
        backends: The backends that may compute parts of the program, in place of plain
            code.

    Raises:
        TimeFault: If the program has no causal meaning and `causal` is set.
    """
    root = nn.Module()
    fx_graph = fx.Graph()
    inputs = {name: fx_graph.placeholder(name) for name in graph.inputs}
    mask = fx_graph.placeholder("mask", default_value=None)
    sample = next(iter(inputs.values()))
    real = fx_graph.call_function(real_tokens, (mask, inputs))
    positions = fx_graph.call_function(positions_of, (real, sample))
    order = fx_graph.call_function(order_of, (real, positions))
    padding = Padding(real, positions, order, inhabited, finite)
    builder = FxBuilder(
        fx_graph,
        padding,
        sample,
        heads,
        width,
        causal=causal,
        module=adds_to(root, fx_graph),
        backends=backends,
    )
    nodes: dict[str, fx.Node] = {}
    for name, weight in graph.weights:
        root.add_module(name, OperationWeight(weight, heads or 1, width or 1, causal))
        nodes[name] = fx_graph.call_module(name)
    output = lower_graph(graph, builder, inputs, nodes.__getitem__)
    fx_graph.output(output)
    return finished(CompiledModule, root, fx_graph, "Attention")
