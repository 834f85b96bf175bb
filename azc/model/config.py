"""The configuration: the program's text, and what transformers wants to know of it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from transformers import PretrainedConfig

from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.diagnostics import UsageError
from azc.source import Source

__all__ = ["AzcConfig", "spec_of"]

# transformers makes an empty configuration to tell what differs from the defaults.
_DERIVED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


class AzcConfig(PretrainedConfig):
    """The configuration of a compiled model.

    `program`: a self-contained azg text; `model`: the name of the model in it. All
    sizes are read from the program; `vocab_size` alone may be overridden, by
    `resize_token_embeddings`. `initializer_range` is the standard deviation of fresh
    weights, 0.02·√(768 / hidden) if it is not given. Raises `DiagnosticError` for a
    text that does not check.
    """

    model_type = "azc"

    def __init__(
        self,
        program: str = "",
        model: str = "",
        vocab_size: int | None = None,
        initializer_range: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.program = program
        self.model = model
        self.initializer_range = initializer_range or 0.02
        self.vocab_size = vocab_size
        for name in _DERIVED:
            kwargs.pop(name, None)
        if program:
            spec = _read(program, model)
            self.vocab_size = vocab_size or spec.vocab
            self.initializer_range = initializer_range or _deviation(spec.hidden)
            self.hidden_size = spec.hidden
            self.num_hidden_layers = len(spec.layers)
            self.num_attention_heads = spec.heads
            self.intermediate_size = spec.ffn[0]
            self.max_position_embeddings = spec.max_length
            self.type_vocab_size = spec.token_types
            kwargs.setdefault("tie_word_embeddings", spec.tie_embeddings)
        kwargs.setdefault("pad_token_id", 0)
        super().__init__(**kwargs)


def _deviation(hidden: int) -> float:
    """BERT's 0.02 at its width of 768, and as 1/√hidden elsewhere: narrow models that
    start from 0.02 take hundreds of steps to leave the unigram plateau.
    """
    return float(0.02 * (768 / hidden) ** 0.5)


@lru_cache(maxsize=256)
def _read(program: str, model: str) -> ModelSpec:
    found = check_source(Source("config.json: program", program)).models
    if model not in found:
        known = ", ".join(found) or "none"
        message = f"the program of the configuration has no model `{model}`"
        raise UsageError("U010", message, f"it has: {known}")
    return found[model]


def spec_of(config: AzcConfig) -> ModelSpec:
    """The checked model that a configuration stands for."""
    spec = _read(config.program, config.model)
    vocab = config.vocab_size or spec.vocab
    return spec if vocab == spec.vocab else replace(spec, vocab=vocab)
