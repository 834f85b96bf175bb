"""What BERT and its kin have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

__all__ = [
    "bert_settings",
    "beyond_encoder",
    "classifies",
    "drop_classifier",
    "encoder_settings",
    "head_with_gelu",
    "tie_head",
]


def encoder_settings(
    config: PretrainedConfig, activation: str, eps: float
) -> Mapping[str, Any]:
    """The settings of an encoder with norms behind its residuals."""
    return {
        "heads": config.num_attention_heads,
        "activation": activation,
        "norm": "layer_norm",
        "norm_eps": eps,
        "residual": "post",
        "positions": "learned",
        "causal": False,
    }


def bert_settings(config: PretrainedConfig) -> Mapping[str, Any]:
    """As `encoder_settings`, from a configuration like BERT's."""
    return encoder_settings(config, config.hidden_act, config.layer_norm_eps)


def classifies(config: PretrainedConfig, kind: str) -> bool:
    """Whether a `classifier` is one of sequences, as that of a model of this `kind` is;
    those of tokens and of choices have the same name.
    """
    return config.architectures in (None, [], [kind])


def drop_classifier(found: dict[str, torch.Tensor]) -> None:
    """Leaves out a classifier, for another task or of another kind."""
    for name in ("classifier.weight", "classifier.bias"):
        found.pop(name, None)


def beyond_encoder(config: PretrainedConfig, title: str) -> Iterator[str]:
    """What a configuration may ask for that is not in an encoder with learned positions."""
    if config.is_decoder or config.add_cross_attention:
        yield f"the {title} is a decoder"
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        yield f"the {title} has positions of type {positions}"


def head_with_gelu(
    activation: str, loaded: Collection[str], title: str
) -> Iterator[str]:
    """Ours of the masked-lm has gelu, whatever the layers have."""
    if "head.dense.weight" in loaded and activation not in ("gelu", "gelu_python"):
        yield (
            f"the masked-lm's head has gelu in the model, {activation} in the {title}"
        )


def tie_head(found: dict[str, torch.Tensor]) -> None:
    """What a masked-lm's head shares with other weights is not saved with it."""
    bias = found.pop("head.bias", None)
    if "head.dense.weight" not in found:
        return
    if bias is not None:
        found.setdefault("head.decoder.bias", bias)
    if "embeddings.tokens.weight" in found:
        found.setdefault("head.decoder.weight", found["embeddings.tokens.weight"])
