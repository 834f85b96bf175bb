"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from azc.model.converters.contract import SDPA, Architecture
from azc.model.converters.decoders import (
    FUSED,
    decoder_settings,
    no_pooler,
    split_fused,
    tie_output,
)

__all__ = ["GPT2"]

_MAPS = re.compile(r"\.(attention\.(fused|output)|ffn\.0\.(up|down))\.weight$")


def _settings(config: PretrainedConfig) -> Mapping[str, Any]:
    eps = config.layer_norm_epsilon
    return decoder_settings(config, config.activation_function, eps, "learned")


def _unserved(config: PretrainedConfig, loaded: Collection[str]) -> Iterator[str]:
    yield from no_pooler(loaded, "GPT-2")
    if not config.scale_attn_weights:
        yield "the GPT-2 does not scale its scores"
    if config.scale_attn_by_inverse_layer_idx:
        yield "the GPT-2 divides its scores by the number of the layer"
    if config.add_cross_attention:
        yield "the GPT-2 attends to a second sequence"


def _arrange(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    # In GPT-2, the weight of a linear map is [inner, outer].
    for name in [name for name in found if _MAPS.search(name)]:
        found[name] = found[name].transpose(0, -1)
    split_fused(found, 1, "GPT-2")
    tie_output(found, config)


GPT2 = Architecture(
    title="GPT-2",
    prefix="transformer.",
    names=(
        (r"^wte\.", "embeddings.tokens."),
        (r"^wpe\.", "embeddings.positions."),
        (r"^h\.", "encoder.layers."),
        (r"\.ln_1\.", ".norm."),
        (r"\.attn\.c_attn\.", FUSED),
        (r"\.attn\.c_proj\.", ".attention.output."),
        (r"\.ln_2\.", ".ffn.0.norm."),
        (r"\.mlp\.c_fc\.", ".ffn.0.up."),
        (r"\.mlp\.c_proj\.", ".ffn.0.down."),
        (r"^ln_f\.", "norm."),
        (r"^score\.", "classifier."),
    ),
    # The mask in old files, and heads for single tokens, answers and choices.
    ignored=(
        r"\.attn\.(masked_)?bias$|^(classifier|qa_outputs|multiple_choice_head)\."
    ),
    attention=SDPA,
    settings=_settings,
    unserved=_unserved,
    arrange=_arrange,
)
