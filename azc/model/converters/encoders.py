"""Shared parts of the converters of BERT and similar encoders."""

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
    """Return the settings of an encoder with norms after its residuals."""
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
    """Return `encoder_settings` for a configuration like BERT's."""
    return encoder_settings(config, config.hidden_act, config.layer_norm_eps)


def classifies(config: PretrainedConfig, kind: str) -> bool:
    """Return whether `classifier` is a sequence classifier, like that of models of this
    `kind`.

    Classifiers of tokens and of choices have the same name.
    """
    return config.architectures in (None, [], [kind])


def drop_classifier(found: dict[str, torch.Tensor]) -> None:
    """Remove a classifier, weight [C, D] and bias [C], for another task or of another
    kind.
    """
    for name in ("classifier.weight", "classifier.bias"):
        found.pop(name, None)


def beyond_encoder(config: PretrainedConfig, title: str) -> Iterator[str]:
    """Report features of a configuration that an encoder with learned positions
    lacks.
    """
    if config.is_decoder or config.add_cross_attention:
        yield f"the {title} is a decoder"
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        yield f"the {title} has positions of type {positions}"


def head_with_gelu(
    activation: str, loaded: Collection[str], title: str
) -> Iterator[str]:
    """Report an activation other than GELU in a masked-lm head: compiled heads always
    use GELU.
    """
    if "head.dense.weight" in loaded and activation not in ("gelu", "gelu_python"):
        yield (
            f"the masked-lm's head has gelu in the model, {activation} in the {title}"
        )


def tie_head(found: dict[str, torch.Tensor]) -> None:
    """Add the weights of a masked-lm head, [V, D] and [V], that are tied to others and
    so were not saved.
    """
    bias = found.pop("head.bias", None)
    if "head.dense.weight" not in found:
        return
    if bias is not None:
        found.setdefault("head.decoder.bias", bias)
    if "embeddings.tokens.weight" in found:
        found.setdefault("head.decoder.weight", found["embeddings.tokens.weight"])
