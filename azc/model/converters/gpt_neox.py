"""GPT-NeoX (Black et al. 2022), with sequential branches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from azc.model.converters.contract import Architecture
from azc.model.converters.decoders import (
    FUSED,
    decoder_settings,
    no_pooler,
    split_fused,
    tie_output,
)
from azc.ops.defs.places import ROPE_BASE

__all__ = ["GPT_NEOX"]


def _settings(config: PretrainedConfig) -> Mapping[str, Any]:
    return decoder_settings(config, config.hidden_act, config.layer_norm_eps, "none")


def _unserved(config: PretrainedConfig, loaded: Collection[str]) -> Iterator[str]:
    yield from no_pooler(loaded, "GPT-NeoX")
    if config.use_parallel_residual:
        yield "the GPT-NeoX has parallel branches in its layers"
    if not config.attention_bias:
        yield "the GPT-NeoX has no biases in its attention"
    rope = config.rope_parameters
    part, base = rope.get("partial_rotary_factor", 1.0), rope["rope_theta"]
    if part != 1.0:
        yield f"rope rotates all features in the model, {part} of them in the GPT-NeoX"
    if base != ROPE_BASE:
        yield f"rope has base {ROPE_BASE:g} in the model, {base} in the GPT-NeoX"
    if rope["rope_type"] != "default":
        yield f"the GPT-NeoX has rope of type {rope['rope_type']}"


def _arrange(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    split_fused(found, config.num_attention_heads, "GPT-NeoX")
    tie_output(found, config)


GPT_NEOX = Architecture(
    title="GPT-NeoX",
    prefix="gpt_neox.",
    names=(
        (r"^embed_in\.", "embeddings.tokens."),
        (r"^layers\.", "encoder.layers."),
        (r"\.input_layernorm\.", ".norm."),
        (r"\.attention\.query_key_value\.", FUSED),
        (r"\.attention\.dense\.", ".attention.output."),
        (r"\.post_attention_layernorm\.", ".ffn.0.norm."),
        (r"\.mlp\.dense_h_to_4h\.", ".ffn.0.up."),
        (r"\.mlp\.dense_4h_to_h\.", ".ffn.0.down."),
        (r"^final_layer_norm\.", "norm."),
        (r"^embed_out\.", "lm_head."),  # in old files
        (r"^score\.", "classifier."),
    ),
    ignored=(
        r"\.attention\.(masked_)?bias$|rotary_emb\.inv_freq$|^(classifier|qa_outputs)\."
    ),
    attention="return softmax(scale(rope(q) @ rope(k).T)) @ v",
    settings=_settings,
    unserved=_unserved,
    arrange=_arrange,
)
