"""The configuration: the program's text, and what transformers wants to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from transformers import PretrainedConfig

from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.diagnostics import UsageError
from azc.source import Source

__all__ = ["AzcConfig", "spec_of"]


def _settled(spec: ModelSpec) -> dict[str, tuple[Any, str]]:
    """What transformers calls the sizes of a model: their values, and the settings of
    the program that they are.
    """
    return {
        "hidden_size": (spec.hidden, "hidden"),
        "num_hidden_layers": (len(spec.layers), "layers"),
        "num_attention_heads": (spec.heads, "heads"),
        "intermediate_size": (spec.ffn[0], "ffn"),
        "max_position_embeddings": (spec.max_length, "max_length"),
        "type_vocab_size": (spec.token_types, "token_types"),
    }


def _settled_unnamed(spec: ModelSpec) -> dict[str, tuple[Any, str]]:
    """As `_settled`, of what BERT's configuration has beside sizes."""
    return {
        "hidden_act": (spec.activation, "activation"),
        "hidden_dropout_prob": (spec.dropout, "dropout"),
        "attention_probs_dropout_prob": (spec.attention_dropout, "attention_dropout"),
        "layer_norm_eps": (spec.norm_eps, "norm_eps"),
    }


def _refuse_others(spec: ModelSpec, given: Mapping[str, Any]) -> None:
    """Raises `UsageError` for what the program settles otherwise."""
    settled = _settled(spec) | _settled_unnamed(spec)
    for name, (value, setting) in settled.items():
        if given.get(name, value) != value:
            raise UsageError(
                "U013",
                f"{name} is {given[name]} in the configuration, and the program's"
                f" `{setting}` makes it {value}",
                f"change `{setting}` in the program: its sizes are the model's",
            )


class AzcConfig(PretrainedConfig):
    """The configuration of a compiled model.

    `program`: a self-contained azg text; `model`: the name of the model in it. All
    sizes are read from the program; `vocab_size` alone may be overridden, by
    `resize_token_embeddings`. `initializer_range` is the standard deviation of fresh
    weights, 0.02·√(768 / hidden) if it is not given. Raises `DiagnosticError` for a
    text that does not check, and `UsageError` for a size that is not the program's.
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
        if program:
            spec = _read(program, model)
            _refuse_others(spec, kwargs)
            for name in _settled_unnamed(spec):
                kwargs.pop(name, None)
            self.vocab_size = vocab_size or spec.vocab
            self.initializer_range = initializer_range or _deviation(spec.hidden)
            kwargs |= {name: value for name, (value, _) in _settled(spec).items()}
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
    """The checked model that a configuration stands for. Raises as `AzcConfig` does: an
    attribute of it may have been set since.
    """
    spec = _read(config.program, config.model)
    _refuse_others(spec, vars(config))
    vocab = config.vocab_size or spec.vocab
    return spec if vocab == spec.vocab else replace(spec, vocab=vocab)
