"""Floating point operations of programs and models, counted from the graph."""

from __future__ import annotations

from azc.check.params import gated
from azc.check.program import AttentionUse, LayerSpec, ModelSpec
from azc.ir.build import build_graph
from azc.ir.graph import INPUT, NUMBER, Graph
from azc.ops.contract import Sizes
from azc.ops.table import load_ops

__all__ = ["graph_flops", "layer_flops", "model_flops"]


def graph_flops(graph: Graph, n: int, d: int) -> int:
    """Floating point operations of one head on one sequence of n tokens."""
    sizes = Sizes(n, d)
    total = 0
    for node in graph.nodes:
        if node.op not in (INPUT, NUMBER):
            shapes = tuple(arg.shape for arg in node.args)
            total += load_ops()[node.op].cost(sizes, shapes, node.attrs).flops
    return total


def layer_flops(model: ModelSpec, layer: LayerSpec, n: int) -> int:
    """Floating point operations of one layer on one sequence of n tokens, forward; a
    multiply-add counts two. Norms, residuals and biases are not counted.
    """
    hidden, mixing = model.hidden, layer.mixing
    if isinstance(mixing, AttentionUse):
        projections = 2 * n * hidden * hidden * (len(mixing.program.params) + 1)
        graph = build_graph(mixing.program)
        total = projections + layer.heads * graph_flops(graph, n, hidden // layer.heads)
    else:
        total = 2 * n * hidden * (3 * hidden + mixing.kernel) + 4 * n * hidden
        if mixing.kind == "dynamic":
            total += 2 * n * hidden * layer.heads * mixing.kernel
    matrices = 3 if gated(layer.activation) else 2
    return total + sum(2 * n * hidden * width * matrices for width in layer.ffn)


def model_flops(model: ModelSpec, n: int) -> int:
    """Floating point operations of all layers on one sequence of n tokens, forward;
    embeddings and heads are not counted.
    """
    return sum(layer_flops(model, layer, n) for layer in model.layers)
