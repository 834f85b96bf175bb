"""The configuration: the program's text, and the attributes that transformers expects.

Codes: U010 the program of a configuration does not declare this model; U013 a size in a
configuration differs from its program; U014 the configuration is invalid.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PretrainedConfig

from azc.check.flatten import with_setting
from azc.check.models import VOCAB
from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.diagnostics import UsageError
from azc.saved import AUTO_MAP, remove_links, write_card, write_loader
from azc.source import Source

__all__ = ["AzcConfig", "program_with", "spec_of"]

MAX_LABELS = 1_000_000  # transformers keeps a name for each

_Test = Callable[[Any], bool]


def _kind(kind: type | tuple[type, ...]) -> _Test:
    return lambda value: isinstance(value, kind)


def _whole(low: int, high: int) -> tuple[_Test, str]:
    def is_one(value: Any) -> bool:
        found = isinstance(value, Integral) and not isinstance(value, bool)
        return found and low <= int(value) <= high

    return is_one, f"a whole number from {low:,} to {high:,}"


def _is_size(value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0


def _is_dtype(value: Any) -> bool:
    found = getattr(torch, value, None) if isinstance(value, str) else value
    return isinstance(found, torch.dtype) and found.is_floating_point


def _is_labels(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return len(value) > 0 and all(str(key).isdigit() for key in value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_DTYPE = (_is_dtype, "a type of floating point numbers")
_PROBLEMS = (
    "regression",
    "single_label_classification",
    "multi_label_classification",
)
# Values that azc reads, or that transformers accepts and fails with later or silently.
_WANTED: Mapping[str, tuple[_Test, str]] = {
    "program": (_kind(str), "the text of a program"),
    "model": (_kind(str), "the name of a model"),
    "vocab_size": _whole(VOCAB.low, VOCAB.high),
    "initializer_range": (_is_size, "a number from 0"),
    "num_labels": _whole(1, MAX_LABELS),
    "id2label": (_is_labels, "a map from numbers to labels"),
    "label2id": (_kind(Mapping), "a map from labels to numbers"),
    "problem_type": (
        lambda value: value in _PROBLEMS,
        f"one of {', '.join(_PROBLEMS)}",
    ),
    "pad_token_id": _whole(-1, VOCAB.high),
    "tie_word_embeddings": (_kind(bool), "true or false"),
    "architectures": (_is_names, "a list of names"),
    "dtype": _DTYPE,
    "torch_dtype": _DTYPE,
    "auto_map": (_kind(Mapping), "a map from Auto classes to classes"),
    "quantization_config": (
        lambda value: isinstance(value, Mapping) or hasattr(value, "to_dict"),
        "a map of settings",
    ),
}
_NEEDED = ("program", "model", "num_labels", "tie_word_embeddings")


def _check(name: str, value: object) -> None:
    """Check a value of a configuration.

    Raises:
        UsageError: If it can't be used.
    """
    if callable(getattr(PretrainedConfig, name, None)):
        raise _fault(f"{name} can't be set")
    if name not in _WANTED or (value is None and name not in _NEEDED):
        return
    is_fine, wanted = _WANTED[name]
    if not is_fine(value):
        raise _fault(f"{name} must be {wanted}; got {shortened(value)}")


def _fault(message: str) -> UsageError:
    return UsageError("U014", f"the configuration can't be used: {message}")


def _settled(spec: ModelSpec) -> dict[str, tuple[Any, str]]:
    """Return transformers' names of the sizes of a model, each with its value and its
    setting in the program.
    """
    return {
        "vocab_size": (spec.vocab, "vocab"),
        "hidden_size": (spec.hidden, "hidden"),
        "num_hidden_layers": (len(spec.layers), "layers"),
        "num_attention_heads": (spec.heads, "heads"),
        "intermediate_size": (spec.ffn[0], "ffn"),
        "max_position_embeddings": (spec.max_length, "max_length"),
        "type_vocab_size": (spec.token_types, "token_types"),
    }


def _settled_unnamed(spec: ModelSpec) -> dict[str, tuple[Any, str]]:
    """Return the same as `_settled` for the attributes of BERT's configuration that are
    not sizes.
    """
    return {
        "hidden_act": (spec.activation, "activation"),
        "hidden_dropout_prob": (spec.dropout, "dropout"),
        "attention_probs_dropout_prob": (spec.attention_dropout, "attention_dropout"),
        "layer_norm_eps": (spec.norm_eps, "norm_eps"),
    }


def _refuse_others(spec: ModelSpec, given: Mapping[str, Any]) -> None:
    """Check that a configuration agrees with its program.

    Raises:
        UsageError: If it does not.
    """
    settled = _settled(spec) | _settled_unnamed(spec)
    for name, (value, setting) in settled.items():
        if given.get(name, value) != value:
            help_ = (
                f"change `{setting}` in the program, which defines the model's sizes"
            )
            if setting == "vocab":
                help_ += ", or call resize_token_embeddings of the model"
            raise UsageError(
                "U013",
                f"{name} is {given[name]} in the configuration, but {value} in the"
                f" program (`{setting}`)",
                help_,
            )


class AzcConfig(PretrainedConfig):
    """The configuration of a compiled model.

    All sizes are read from the program; `resize_token_embeddings` changes the program.

    Args:
        program: A self-contained azg text.
        model: The name of the model in it.
        vocab_size: The size of the vocabulary; if set, it must equal that of the
            program.
        initializer_range: The standard deviation of fresh weights; by default
            0.02·√(768 / hidden).
        **kwargs: Arguments of `PretrainedConfig`.

    Raises:
        DiagnosticError: If the text has errors.
        UsageError: If another value can't be used.
    """

    model_type = "azc"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    def __init__(
        self,
        program: str = "",
        model: str = "",
        vocab_size: int | None = None,
        initializer_range: float | None = None,
        **kwargs: Any,
    ) -> None:
        for name, value in kwargs.items():
            _check(name, value)
        self.program = program
        self.model = model
        self.initializer_range = (
            0.02 if initializer_range is None else initializer_range
        )
        self.vocab_size = vocab_size
        if program != "":
            spec = spec_of(self)
            _refuse_others(spec, kwargs)
            for name in _settled_unnamed(spec):
                kwargs.pop(name, None)
            self.vocab_size = spec.vocab
            if initializer_range is None:
                self.initializer_range = _deviation(spec.hidden)
            kwargs |= {name: value for name, (value, _) in _settled(spec).items()}
            kwargs.setdefault("tie_word_embeddings", spec.tie_embeddings)
            if spec.causal:
                kwargs.setdefault("is_decoder", True)
                # transformers keeps it only for generation.
                remembers = kwargs.pop("use_cache", None)
                self.use_cache = True if remembers is None else bool(remembers)
        # Any id may be a token of the text. The tokenizer knows which one is padding.
        kwargs.setdefault("pad_token_id", None)
        kwargs["auto_map"] = _auto_map(kwargs.get("auto_map") or {})
        try:
            super().__init__(**kwargs)
        except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:
            # transformers' own checks raise many kinds of errors.
            raise _fault(" ".join(str(error).split())) from error

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Write `config.json` and the module it names, for programs that do not import
        azc.

        With a model, also write a model card, unless there is one that azc did not
        write.
        """
        # transformers has its own setting for this.
        ties = self.tie_word_embeddings
        if self.program and spec_of(self).tie_embeddings != ties:
            self.program = program_with(self, "tie_embeddings", ties)
        folder = Path(save_directory)
        remove_links(folder, weights=False)
        super().save_pretrained(save_directory, *args, **kwargs)
        write_loader(folder)
        if self.program and self.architectures:
            write_card(folder, self.model, self.program, self.architectures[0])

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Register a subclass like transformers does, which copies its module into
        saved folders.

        Classes of azc itself need no copy.
        """
        if not cls.__module__.startswith("azc."):
            super().register_for_auto_class(auto_class)  # type: ignore[no-untyped-call]


def _auto_map(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes that load a folder, by Auto class.

    They are azc's, through the module saved with them, and those that a subclass has
    added.
    """
    # transformers prepends a repository's name to classes that it reads from there.
    own = {n for n, each in AUTO_MAP.items() if str(given.get(n)).endswith(each)}
    return {**AUTO_MAP, **{n: each for n, each in given.items() if n not in own}}


def _deviation(hidden: int) -> float:
    """Return BERT's 0.02 at its width of 768, scaled by 1/√hidden for other widths.

    Narrow models that start from 0.02 take hundreds of steps to leave the unigram
    plateau.
    """
    return float(0.02 * (768 / hidden) ** 0.5)


def _source(program: str) -> Source:
    return Source("config.json: program", program, own=True)


@lru_cache(maxsize=256)
def _read(program: str, model: str) -> ModelSpec:
    found = check_source(_source(program)).models
    if model not in found:
        known = ", ".join(found) or "none"
        message = f"the program of the configuration has no model `{model}`"
        raise UsageError("U010", message, f"it has: {known}")
    return found[model]


def spec_of(config: AzcConfig) -> ModelSpec:
    """Return the checked model of a configuration.

    Raises the errors of `AzcConfig`, because attributes may be set after the
    configuration is created.
    """
    for name in ("program", "model", "vocab_size", "initializer_range"):
        _check(name, getattr(config, name))
    if not config.program:
        raise _fault("it has no program")
    spec = _read(config.program, config.model)
    unknown = {"vocab_size"} if config.vocab_size is None else set()
    _refuse_others(spec, {n: x for n, x in vars(config).items() if n not in unknown})
    return spec


def program_with(config: AzcConfig, setting: str, value: int | bool) -> str:
    """Return the program of a configuration with a changed setting of its model.

    Raises:
        DiagnosticError: If the language does not allow such a model.
    """
    return with_setting(_source(config.program), config.model, setting, value)
