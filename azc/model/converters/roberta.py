"""RoBERTa (Liu et al. 2019)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from transformers import PretrainedConfig

from azc.model.converters.bert import ENCODER_NAMES
from azc.model.converters.contract import SDPA, Architecture
from azc.model.converters.encoders import (
    bert_settings,
    beyond_encoder,
    tie_head,
)

__all__ = ["ROBERTA"]

_POSITIONS = "embeddings.positions.weight"


def _unserved(config: PretrainedConfig, loaded: Collection[str]) -> Iterator[str]:
    yield from beyond_encoder(config, "RoBERTa")
    if config.pad_token_id is None:
        yield "the RoBERTa's positions begin after pad_token_id, which is not set"


def _arrange(found: dict[str, torch.Tensor], config: PretrainedConfig) -> None:
    # The rows before are for padding, or unused.
    if _POSITIONS in found:
        found[_POSITIONS] = found[_POSITIONS][config.pad_token_id + 1 :]
    tie_head(found)


ROBERTA = Architecture(
    title="RoBERTa",
    prefix="roberta.",
    names=(
        *ENCODER_NAMES,
        (r"^lm_head\.dense\.", "head.dense."),
        (r"^lm_head\.layer_norm\.", "head.norm."),
        (r"^lm_head\.decoder\.", "head.decoder."),
        (r"^lm_head\.bias$", "head.bias"),
        # The classifier's first layer is the pooler of compiled models, with the same tanh.
        (r"^classifier\.dense\.", "pooler."),
        (r"^classifier\.out_proj\.", "classifier."),
    ),
    # A classifier of one layer is for single tokens, or for choices.
    ignored=(
        r"position_ids$|token_type_ids$|^qa_outputs\.|^classifier\.(weight|bias)$"
    ),
    attention=SDPA,
    settings=bert_settings,
    unserved=_unserved,
    arrange=_arrange,
)
