"""Compiled programs as models of transformers."""

from __future__ import annotations

from azc.model.config import AzcConfig
from azc.model.modeling import (
    AzcForMaskedLM,
    AzcForSequenceClassification,
    AzcModel,
    AzcPreTrainedModel,
    build_model,
    register,
)
from azc.model.weights import load_weights

__all__ = [
    "AzcConfig",
    "AzcForMaskedLM",
    "AzcForSequenceClassification",
    "AzcModel",
    "AzcPreTrainedModel",
    "build_model",
    "load_weights",
    "register",
]
