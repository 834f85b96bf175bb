"""DistilBERT (Sanh et al. 2019)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from azc.model.converters.contract import SDPA, Architecture
from azc.model.converters.encoders import (
    classifies,
    drop_classifier,
    encoder_settings,
    head_with_gelu,
    tie_head,
)

__all__ = ["DISTILBERT"]

_EPS = 1e-12  # of all its norms; the configuration has no setting for it


def _settings(config: PretrainedConfig) -> Mapping[str, Any]:
    return encoder_settings(config, config.activation, _EPS)


def _unserved(config: PretrainedConfig, loaded: Collection[str]) -> Iterator[str]:
    yield from head_with_gelu(config.activation, loaded, "DistilBERT")
    if "classifier.weight" in loaded and classifies(
        config, "DistilBertForSequenceClassification"
    ):
        yield "the classifier's pooler has tanh in the model, relu in the DistilBERT"


def _arrange(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    drop_classifier(found)
    tie_head(found)


DISTILBERT = Architecture(
    title="DistilBERT",
    prefix="distilbert.",
    names=(
        (r"^embeddings\.word_embeddings\.", "embeddings.tokens."),
        (r"^embeddings\.position_embeddings\.", "embeddings.positions."),
        (r"^embeddings\.LayerNorm\.", "embeddings.norm."),
        (r"^transformer\.layer\.", "encoder.layers."),
        (r"\.attention\.([qkv])_lin\.", r".attention.\1_proj."),
        (r"\.attention\.out_lin\.", ".attention.output."),
        (r"\.sa_layer_norm\.", ".norm."),
        (r"\.ffn\.lin1\.", ".ffn.0.up."),
        (r"\.ffn\.lin2\.", ".ffn.0.down."),
        (r"\.output_layer_norm\.", ".ffn.0.norm."),
        (r"^vocab_transform\.", "head.dense."),
        (r"^vocab_layer_norm\.", "head.norm."),
        (r"^vocab_projector\.", "head.decoder."),
    ),
    ignored=r"position_ids$|^pre_classifier\.|^qa_outputs\.",
    attention=SDPA,
    settings=_settings,
    unserved=_unserved,
    arrange=_arrange,
)
