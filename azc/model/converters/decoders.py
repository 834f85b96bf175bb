"""What GPT-2 and its kin have in common.

Codes: R022 a tensor of the weights does not match the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from azc.diagnostics import RunError

__all__ = ["FUSED", "decoder_settings", "no_pooler", "split_fused", "tie_output"]

FUSED = ".attention.fused."  # in the names of what holds queries, keys and values
_TOKENS, _OUTPUT = "embeddings.tokens.weight", "lm_head.weight"


def decoder_settings(
    config: PretrainedConfig, activation: str, eps: float, positions: str
) -> Mapping[str, Any]:
    """The settings of a decoder with norms before its branches, and one at the end."""
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
    """A classifier (`score`) reads the last token as it is there, pooled here."""
    if "classifier.weight" in loaded:
        yield f"the classifier has a pooler in the model, none in the {title}"


def split_fused(found: dict[str, torch.Tensor], groups: int, title: str) -> None:
    """Queries, keys and values out of what holds them, [groups · 3 · d, …], for each
    group of heads in turn.
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
    """An output matrix that is the embeddings' is not saved."""
    if config.tie_word_embeddings and _TOKENS in found:
        found.setdefault(_OUTPUT, found[_TOKENS])
