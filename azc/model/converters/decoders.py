"""Shared parts of the converters of GPT-2 and similar decoders.

Codes: R022 a tensor of the weights does not match the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from azc.diagnostics import RunError

__all__ = ["FUSED", "decoder_settings", "no_pooler", "split_fused", "tie_output"]

FUSED = ".attention.fused."  # in names of weights that hold queries, keys and values
_TOKENS, _OUTPUT = "embeddings.tokens.weight", "lm_head.weight"


def decoder_settings(
    config: PretrainedConfig, activation: str, eps: float, positions: str
) -> Mapping[str, Any]:
    """Return the settings of a decoder with a norm before each branch and one at the
    end.
    """
    return {
        "heads": config.num_attention_heads,
        "activation": activation,
        "norm": "layer_norm",
        "norm_eps": eps,
        "residual": "pre",
        "positions": positions,
        "causal": True,
    }


def no_pooler(loaded: Collection[str], title: str) -> Iterator[str]:
    """Report a classifier (`score`): it reads the last token directly, compiled ones
    pool it.
    """
    if "classifier.weight" in loaded:
        yield f"the classifier has a pooler in the model, none in the {title}"


def split_fused(found: dict[str, torch.Tensor], groups: int, title: str) -> None:
    """Split weights [groups · 3 · d, …] into queries, keys and values, group by group
    of heads.

    Args:
        found: The weights by name, changed in place.
        groups: The number of groups of heads.
        title: The name of the source in messages.

    Raises:
        RunError: R022, if a weight can't be split.
    """
    for name in [name for name in found if FUSED in name]:
        fused = found.pop(name)
        rows = len(fused) if fused.dim() else 0
        if rows == 0 or rows % (3 * groups):
            message = f"{name} of the {title} is {list(fused.shape)}, which does not"
            raise RunError("R022", f"{message} divide into queries, keys and values")
        parts = fused.unflatten(0, (groups, 3, rows // (3 * groups))).unbind(1)
        for part, each in zip("qkv", parts, strict=True):
            ours = name.replace(FUSED, f".attention.{part}_proj.")
            found[ours] = each.flatten(0, 1)


def tie_output(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    """Add an output matrix [V, D] that is tied to the embeddings and so was not
    saved.
    """
    if config.tie_word_embeddings and _TOKENS in found:
        found.setdefault(_OUTPUT, found[_TOKENS])
