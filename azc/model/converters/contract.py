"""What is known of a model of transformers, and what makes its weights ours.

Codes: R022 a tensor of the weights does not match the model; R024 the weights belong to
a model that computes something else.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig

from azc.check.models import LAYER_ARGUMENTS, SETTINGS
from azc.check.program import AttentionUse, ModelSpec
from azc.check.resolve import check_source
from azc.compare.match import Interner
from azc.diagnostics import RunError
from azc.passes.pipeline import program_graph
from azc.source import Source

__all__ = ["SDPA", "Architecture", "Tensors", "convert"]

Tensors = Mapping[str, torch.Tensor]

# That of Vaswani et al. 2017.
SDPA = "return softmax(scale(q @ k.T)) @ v"

# transformers' names of activations, and ours.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}
# Settings that the names and shapes of weights tell, as they do what follows from others
# (of no default), and those that act in training alone.
_TOLD = frozenset(
    "vocab hidden max_length token_types bias tie_embeddings dropout"
    " attention_dropout".split()
)


@dataclass(frozen=True)
class Architecture:
    """A kind of model of transformers, whose weights can be converted.

    `title`: what people call it. `prefix`: that of the base model's names in a model with
    a head. `names`: patterns of its parameters' names, and ours, one after the other;
    layers keep their number. `ignored`: names of buffers, and of heads for what compiled
    models do not do. `attention`: the body of its program, of `q`, `k` and `v`.

    `settings`: of a model that computes the same, as far as shapes of weights do not tell
    it; those that are not named are as by default. `unserved`: in words, what no model of
    the language computes, from the configuration and the heads' parameters that are to be
    loaded. `arrange`: makes weights under our names ours, in their place.
    """

    title: str
    prefix: str
    names: tuple[tuple[str, str], ...]
    ignored: str
    attention: str
    settings: Callable[[PretrainedConfig], Mapping[str, Any]]
    unserved: Callable[[PretrainedConfig, Collection[str]], Iterator[str]]
    arrange: Callable[[dict[str, torch.Tensor], PretrainedConfig], None]


def convert(
    architecture: Architecture,
    tensors: Tensors,
    config: PretrainedConfig,
    spec: ModelSpec,
    own: Collection[str],
) -> dict[str, torch.Tensor]:
    """Weights under our names, those of the base model without prefix.

    `own`: the names of all parameters of the model. Raises `RunError`: R022 for what
    holds no weights, R023 for those that are missing, and R024 where the model computes
    something else with these weights than the source. Warns where its attention is another.
    """
    title = architecture.title
    found = {
        _ours(name, architecture): _weight(name, tensor, title)
        for name, tensor in tensors.items()
        if not re.search(architecture.ignored, name)
    }
    unlike = list(_unlike(spec, architecture.settings(config), title))
    unlike += architecture.unserved(config, found.keys() & own)
    if unlike:
        raise RunError("R024", f"not the same architecture: {'; '.join(unlike)}")
    architecture.arrange(found, config)
    _warn_of_other_programs(spec, architecture)
    return found


def _ours(name: str, architecture: Architecture) -> str:
    name = name.removeprefix(architecture.prefix)
    for pattern, replacement in architecture.names:
        name = re.sub(pattern, replacement, name)
    return name


def _weight(name: str, tensor: torch.Tensor, title: str) -> torch.Tensor:
    if not tensor.is_floating_point():
        message = f"{name} of the {title} is of type {tensor.dtype}"
        raise RunError("R022", message)
    return tensor


def _unlike(spec: ModelSpec, wanted: Mapping[str, Any], title: str) -> Iterator[str]:
    """What no shape of a weight tells, and makes another function of the same weights."""
    for name, (_, default) in SETTINGS.items():
        if default is None or name in _TOLD:
            continue
        theirs = wanted.get(name, default)
        if name == "activation":
            theirs = _ACTIVATIONS.get(theirs, theirs)
        ours = {getattr(spec, name)}
        if name in LAYER_ARGUMENTS:
            ours = {getattr(each, name) for each in spec.layers}
        if ours != {theirs}:
            told = ", ".join(map(_told, sorted(ours)))
            yield f"{name} {told} in the model, {_told(theirs)} in the {title}"


def _told(value: Any) -> str:
    """A value of a setting as programs have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _warn_of_other_programs(spec: ModelSpec, architecture: Architecture) -> None:
    title = architecture.title
    text = Source(title, f"attention theirs(q, k, v) {{ {architecture.attention} }}")
    interner = Interner()
    key = interner.key(program_graph(check_source(text).attentions["theirs"]))
    mixing = (each.mixing for each in spec.layers)
    uses = {id(use.program): use for use in mixing if isinstance(use, AttentionUse)}
    for use in uses.values():
        if interner.key(program_graph(use.program)) != key:
            message = f"`{use.name}` is another attention than {title}'s"
            warnings.warn(message, stacklevel=4)
