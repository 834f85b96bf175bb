"""BERT (Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from transformers import PretrainedConfig

from azc.model.converters.contract import SDPA, Architecture
from azc.model.converters.encoders import (
    bert_settings,
    beyond_encoder,
    classifies,
    drop_classifier,
    head_with_gelu,
    tie_head,
)

__all__ = ["BERT", "ENCODER_NAMES"]

# Names in the base model.
ENCODER_NAMES = (
    (r"embeddings\.word_embeddings\.", "embeddings.tokens."),
    (r"embeddings\.position_embeddings\.", "embeddings.positions."),
    (r"embeddings\.token_type_embeddings\.", "embeddings.token_types."),
    (r"embeddings\.LayerNorm\.", "embeddings.norm."),
    (r"encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.self\.query\.", ".attention.q_proj."),
    (r"\.attention\.self\.key\.", ".attention.k_proj."),
    (r"\.attention\.self\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.output."),
    (r"\.attention\.output\.LayerNorm\.", ".norm."),
    (r"\.intermediate\.dense\.", ".ffn.0.up."),
    (r"\.output\.LayerNorm\.", ".ffn.0.norm."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.ffn.0.down."),
    (r"^pooler\.dense\.", "pooler."),
)


def _unserved(config: PretrainedConfig, loaded: Collection[str]) -> Iterator[str]:
    yield from head_with_gelu(config.hidden_act, loaded, "BERT")
    yield from beyond_encoder(config, "BERT")


def _arrange(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    if not classifies(config, "BertForSequenceClassification"):
        drop_classifier(found)
    tie_head(found)


BERT = Architecture(
    title="BERT",
    prefix="bert.",
    names=(
        *ENCODER_NAMES,
        (r"^cls\.predictions\.transform\.dense\.", "head.dense."),
        (r"^cls\.predictions\.transform\.LayerNorm\.", "head.norm."),
        (r"^cls\.predictions\.decoder\.", "head.decoder."),
        (r"^cls\.predictions\.bias$", "head.bias"),
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
    ),
    ignored=r"position_ids$|token_type_ids$|^cls\.seq_relationship\.|^qa_outputs\.",
    attention=SDPA,
    settings=bert_settings,
    unserved=_unserved,
    arrange=_arrange,
)
