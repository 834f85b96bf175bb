"""Conversion of the weights of transformers' models, by `model_type`."""

from __future__ import annotations

from collections.abc import Mapping

from azc.model.converters.bert import BERT
from azc.model.converters.bloom import BLOOM
from azc.model.converters.contract import Architecture, Tensors, convert
from azc.model.converters.distilbert import DISTILBERT
from azc.model.converters.gpt2 import GPT2
from azc.model.converters.gpt_neox import GPT_NEOX
from azc.model.converters.roberta import ROBERTA

__all__ = ["ARCHITECTURES", "Architecture", "Tensors", "convert"]

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": BERT,
    "bloom": BLOOM,
    "distilbert": DISTILBERT,
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "roberta": ROBERTA,
}
