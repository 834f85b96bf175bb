"""Weights of transformers' models under the names of compiled ones, by `model_type`."""

from __future__ import annotations

from collections.abc import Mapping

from azc.model.converters.bert import BERT
from azc.model.converters.contract import Architecture, Tensors, convert

__all__ = ["ARCHITECTURES", "Architecture", "Tensors", "convert"]

ARCHITECTURES: Mapping[str, Architecture] = {"bert": BERT}
