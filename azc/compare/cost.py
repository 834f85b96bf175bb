"""Floating point operations of layers and models, as they are compiled."""

from __future__ import annotations

from azc.check.params import gated
from azc.check.program import AttentionUse, LayerSpec, ModelSpec
from azc.ir.cost import graph_flops
from azc.passes.pipeline import program_graph

__all__ = ["layer_flops", "model_flops"]


def layer_flops(model: ModelSpec, layer: LayerSpec, n: int) -> int:
    """Count the floating point operations of one layer, forward, on one sequence.

    A multiply-add counts as two; norms, residuals and biases are not counted.

    Args:
        model: The model.
        layer: One of its layers.
        n: The number of tokens.
    """
    hidden, mixing = model.hidden, layer.mixing
    if isinstance(mixing, AttentionUse):
        graph = program_graph(mixing.program)
        total = layer.heads * graph_flops(graph, n, hidden // layer.heads)
    else:
        total = mixing.flops(model.sizes(layer), n)
    total += sum(2 * n * inner * outer for inner, outer in mixing.linears(hidden))
    matrices = 3 if gated(layer.activation) else 2
    return total + sum(2 * n * hidden * width * matrices for width in layer.ffn)


def model_flops(model: ModelSpec, n: int) -> int:
    """Count the floating point operations of all layers, forward, on one sequence of n
    tokens.

    Embeddings and heads are not counted.
    """
    return sum(layer_flops(model, layer, n) for layer in model.layers)
