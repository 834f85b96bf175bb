"""BLOOM (Le Scao et al. 2022).

Codes: R022 a tensor of the weights does not match the model; R023 the weights lack a
tensor of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PretrainedConfig

from azc.diagnostics import RunError
from azc.model.converters.contract import Architecture
from azc.model.converters.decoders import (
    FUSED,
    decoder_settings,
    no_pooler,
    split_fused,
    tie_output,
)

__all__ = ["BLOOM"]

_TOKENS = "embeddings.tokens.weight"


def _settings(config: PretrainedConfig) -> Mapping[str, Any]:
    # BLOOM always uses the tanh form of GELU.
    return decoder_settings(config, "gelu_new", config.layer_norm_epsilon, "none")


def _unserved(config: PretrainedConfig, loaded: Collection[str]) -> Iterator[str]:
    yield from no_pooler(loaded, "BLOOM")
    if config.apply_residual_connection_post_layernorm:
        yield "the BLOOM has residual connections after its norms"


def _arrange(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    split_fused(found, config.num_attention_heads, "BLOOM")
    tie_output(found, config)
    _norm_tokens(found, config.layer_norm_epsilon)


def _norm_tokens(found: dict[str, torch.Tensor], eps: float) -> None:
    """Apply the norm of the embeddings, which compiled models lack, to the embedding
    table: nothing is added to the embeddings before the norm.
    """
    weight = found.pop("embeddings.norm.weight", None)
    bias = found.pop("embeddings.norm.bias", None)
    tokens = found.get(_TOKENS)
    if tokens is None:
        return  # reported later as missing
    if weight is None or bias is None:
        message = "the BLOOM has no weights for word_embeddings_layernorm"
        raise RunError("R023", message)
    width = tokens.shape[-1:]
    if weight.shape != width or bias.shape != width:
        message = (
            "word_embeddings_layernorm of the BLOOM differs in width from its tokens"
        )
        raise RunError("R022", message)
    # Compute at least in float32, the type that compiled weights may have.
    kind = torch.promote_types(tokens.dtype, torch.float32)
    weight, bias = weight.to(kind), bias.to(kind)
    found[_TOKENS] = F.layer_norm(tokens.to(kind), tuple(width), weight, bias, eps)


BLOOM = Architecture(
    title="BLOOM",
    prefix="transformer.",
    names=(
        (r"^word_embeddings\.", "embeddings.tokens."),
        (r"^word_embeddings_layernorm\.", "embeddings.norm."),
        (r"^h\.", "encoder.layers."),
        (r"\.input_layernorm\.", ".norm."),
        (r"\.self_attention\.query_key_value\.", FUSED),
        (r"\.self_attention\.dense\.", ".attention.output."),
        (r"\.post_attention_layernorm\.", ".ffn.0.norm."),
        (r"\.mlp\.dense_h_to_4h\.", ".ffn.0.up."),
        (r"\.mlp\.dense_4h_to_h\.", ".ffn.0.down."),
        (r"^ln_f\.", "norm."),
        (r"^score\.", "classifier."),
    ),
    ignored=r"^(classifier|qa_outputs)\.",
    attention="return softmax(alibi(scale(q @ k.T))) @ v",
    settings=_settings,
    unserved=_unserved,
    arrange=_arrange,
)
