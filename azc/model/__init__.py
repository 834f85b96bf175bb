"""Compiled programs as models of transformers."""

from __future__ import annotations

from azc.model.cache import AzcCache
from azc.model.config import AzcConfig
from azc.model.modeling import AzcModel, AzcPreTrainedModel
from azc.model.tasks import (
    AzcForCausalLM,
    AzcForMaskedLM,
    AzcForSequenceClassification,
    build_model,
    default_task,
    register,
)
from azc.model.weights import load_weights

__all__ = [
    "AzcCache",
    "AzcConfig",
    "AzcForCausalLM",
    "AzcForMaskedLM",
    "AzcForSequenceClassification",
    "AzcModel",
    "AzcPreTrainedModel",
    "build_model",
    "default_task",
    "load_weights",
    "register",
]
