"""Compiled programs as models of transformers."""

from __future__ import annotations

from azc.model.bert import load_bert_weights
from azc.model.config import AzcConfig
from azc.model.modeling import (
    AzcForMaskedLM,
    AzcForSequenceClassification,
    AzcModel,
    AzcPreTrainedModel,
    build_model,
    register,
)

__all__ = [
    "AzcConfig",
    "AzcForMaskedLM",
    "AzcForSequenceClassification",
    "AzcModel",
    "AzcPreTrainedModel",
    "build_model",
    "load_bert_weights",
    "register",
]
