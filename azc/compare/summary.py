"""Summaries of models: composition and cost, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from azc.check.params import (
    embedding_parameters,
    head_parameters,
    layer_parameters,
    model_parameters,
)
from azc.check.program import (
    AttentionUse,
    LayerSpec,
    ModelSpec,
)
from azc.compare.cost import layer_flops
from azc.compare.expression import Expression, express
from azc.numbers import count
from azc.passes.pipeline import program_graph

__all__ = ["LayerSummary", "ModelSummary", "summarise"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer. `flops` are floating point operations for one token, forward."""

    layer: LayerSpec
    mixing: str
    expression: Expression | None
    parameters: int
    flops: float


@dataclass(frozen=True)
class ModelSummary:
    """A model with its costs for sequences of `tokens` tokens.

    `parameters` are those of the base model: embeddings, layers and pooler. A masked
    language model has `head_parameters` in addition, and no pooler. `flops` are
    floating point operations of all layers for one token, forward.
    """

    model: ModelSpec
    tokens: int
    layers: tuple[LayerSummary, ...]
    embedding_parameters: int
    pooler_parameters: int
    head_parameters: int
    parameters: int
    flops: float

    def __str__(self) -> str:
        return (
            f"{self.model.name}: {count(len(self.layers), 'layer')},"
            f" {self.parameters:,} parameters, {self.flops:,.0f} FLOPs per token at"
            f" {count(self.tokens, 'token')}"
        )


def summarise(model: ModelSpec, tokens: int) -> ModelSummary:
    """Summarise the layers of a model as they are compiled, with their costs."""
    done: dict[int, LayerSummary] = {}
    layers = []
    for layer in model.layers:
        if id(layer) not in done:
            done[id(layer)] = _layer(model, layer, tokens)
        layers.append(done[id(layer)])
    total = model_parameters(model)
    embeddings = embedding_parameters(model)
    return ModelSummary(
        model=model,
        tokens=tokens,
        layers=tuple(layers),
        embedding_parameters=embeddings,
        pooler_parameters=total - embeddings - sum(each.parameters for each in layers),
        head_parameters=head_parameters(model),
        parameters=total,
        flops=sum(each.flops for each in layers),
    )


def _layer(model: ModelSpec, layer: LayerSpec, tokens: int) -> LayerSummary:
    expression = None
    if isinstance(layer.mixing, AttentionUse):
        expression = express(program_graph(layer.mixing.program))
    return LayerSummary(
        layer=layer,
        mixing=layer.mixing.text,
        expression=expression,
        parameters=layer_parameters(model, layer),
        flops=layer_flops(model, layer, tokens) / tokens,
    )
