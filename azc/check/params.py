"""Parameter counts of a model, computed from its program alone."""

from __future__ import annotations

from collections import Counter

from azc.check.program import LayerSpec, ModelSpec
from azc.mixing.contract import Mixing

__all__ = [
    "gated",
    "head_parameters",
    "layer_parameters",
    "model_parameters",
]


def gated(activation: str) -> bool:
    """Return whether a feed-forward network with this activation has a gate (Shazeer
    2020).
    """
    return activation in ("geglu", "swiglu")


def _linear(model: ModelSpec, inner: int, outer: int) -> int:
    return inner * outer + (outer if model.bias else 0)


def _norm(model: ModelSpec) -> int:
    biased = model.bias and model.norm == "layer_norm"
    return model.hidden * (2 if biased else 1)


def _mixing(model: ModelSpec, layer: LayerSpec) -> int:
    mixing: Mixing = layer.mixing
    linears = sum(_linear(model, *sizes) for sizes in mixing.linears(model.hidden))
    return linears + mixing.own_parameters(model.sizes(layer))


def layer_parameters(model: ModelSpec, layer: LayerSpec) -> int:
    """Count the parameters of one layer: token mixing, feed-forward networks, norms."""
    total = _mixing(model, layer) + _norm(model)
    for width in layer.ffn:
        inner = (2 if gated(layer.activation) else 1) * _linear(
            model, model.hidden, width
        )
        total += inner + _linear(model, width, model.hidden) + _norm(model)
    return total


def embedding_parameters(model: ModelSpec) -> int:
    """Count the parameters of the embeddings, with their norm (post) or the final one
    (pre).
    """
    positions = model.max_length if model.positions == "learned" else 0
    return (model.vocab + positions + model.token_types) * model.hidden + _norm(model)


def model_parameters(model: ModelSpec) -> int:
    """Count the parameters of the base model with its pooler, like those of BERT."""
    hidden = model.hidden
    # `repeat` repeats the same layer object, which is counted once.
    distinct = {id(layer): layer for layer in model.layers}
    times = Counter(map(id, model.layers))
    return (
        embedding_parameters(model)
        + sum(times[i] * layer_parameters(model, each) for i, each in distinct.items())
        + hidden * hidden
        + hidden
    )


def head_parameters(model: ModelSpec) -> int:
    """Count the parameters of a language modelling head.

    They are the output matrix, unless it is tied to the embedding, and for a masked
    model also transform, norm and output bias.
    """
    hidden = model.hidden
    own = 0 if model.tie_embeddings else model.vocab * hidden
    if model.causal:
        return own
    norm = hidden * (2 if model.norm == "layer_norm" else 1)
    return hidden * hidden + hidden + norm + model.vocab + own
