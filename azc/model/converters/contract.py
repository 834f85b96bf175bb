"""Descriptions of transformers' models (`Architecture`), and conversion of their weights.

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

# Scaled dot-product attention (Vaswani et al. 2017).
SDPA = "return softmax(scale(q @ k.T)) @ v"

# Names of activations in transformers and in azc.
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
# Settings that follow from the names and shapes of weights, and settings that only affect
# training. Settings without a default follow from others.
_INFERRED = frozenset(
    "vocab hidden max_length token_types bias tie_embeddings dropout"
    " attention_dropout".split()
)


@dataclass(frozen=True)
class Architecture:
    """A kind of model of transformers whose weights can be converted.

    Attributes:
        title: Its usual name.
        prefix: The prefix of the base model's names in a model with a head.
        names: Patterns of its parameters' names and their replacements, applied in
            order; layers keep their number.
        ignored: A pattern for buffers, and for heads that compiled models don't
            have.
        attention: The body of its attention program, on `q`, `k` and `v`.
        settings: Returns the settings of an equivalent compiled model that do not
            follow from the shapes of weights; missing ones have their defaults.
        unserved: Yields, in words, the features that no compiled model has, from
            the configuration and the parameters of heads that will be loaded.
        arrange: Converts renamed weights in place to the layout of compiled models.
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
    """Convert weights to the names and the layout of a compiled model.

    Warns if the model has another attention than the source.

    Args:
        architecture: The kind of the source.
        tensors: The source's weights by name, such as a projection, [D, D].
        config: The source's configuration.
        spec: The compiled model.
        own: The names of all parameters of the compiled model.

    Returns:
        The weights by new names, without the prefix of the base model.

    Raises:
        RunError: R022 if a tensor does not hold weights, R023 if weights are
            missing, R024 if the compiled model computes something else with these
            weights than the source.
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
    """Describe differences that don't show in the shapes of weights but change the
    function.
    """
    for name, (_, default) in SETTINGS.items():
        if default is None or name in _INFERRED:
            continue
        theirs = wanted.get(name, default)
        if name == "activation":
            theirs = _ACTIVATIONS.get(theirs, theirs)
        ours = {getattr(spec, name)}
        if name in LAYER_ARGUMENTS:
            ours = {getattr(each, name) for each in spec.layers}
        if ours != {theirs}:
            shown = ", ".join(map(_shown, sorted(ours)))
            yield f"{name} {shown} in the model, {_shown(theirs)} in the {title}"


def _shown(value: Any) -> str:
    """Format the value of a setting as in a program."""
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
            message = f"`{use.name}` differs from the attention of {title}"
            warnings.warn(message, stacklevel=4)
