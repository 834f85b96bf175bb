"""The contents of a checked file.

Program         = attentions, models and spaces by name, with warnings
AttentionSpec   = a program whose every value has a type
ModelSpec       = settings with all defaults filled in, layers with repeats expanded
LayerSpec       = AttentionUse | ConvUse (`azc.mixing`), with heads, ffn and activation
SpaceSpec       = the models that a search may reach
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from azc.diagnostics import Diagnostic
from azc.mixing.attention import AttentionSpec, AttentionUse
from azc.mixing.contract import LayerSizes
from azc.mixing.convolution import ConvUse
from azc.source import Source
from azc.syntax import ast

__all__ = [
    "AttentionSpec",
    "AttentionUse",
    "ConvUse",
    "LayerSpec",
    "ModelSpec",
    "Program",
    "SpaceSpec",
]


@dataclass(frozen=True)
class LayerSpec:
    """One layer. `ffn` holds the widths of its feed-forward networks, in order."""

    mixing: AttentionUse | ConvUse
    heads: int
    ffn: tuple[int, ...]
    activation: str
    node: ast.Layer = field(compare=False, repr=False)

    @property
    def kind(self) -> Hashable:
        """A key that is equal for equal layers of one model.

        Programs are compared by identity: a file has each program once, and comparing
        large ones takes long.
        """
        mixing = self.mixing
        what = mixing if isinstance(mixing, ConvUse) else id(mixing.program)
        return what, self.heads, self.ffn, self.activation


@dataclass(frozen=True)
class ModelSpec:
    """A model with a value for every setting (LANGUAGE: models), and its layers."""

    name: str
    vocab: int
    hidden: int
    heads: int
    ffn: tuple[int, ...]
    activation: str
    norm: str
    norm_eps: float
    residual: str
    positions: str
    max_length: int
    token_types: int
    dropout: float
    attention_dropout: float
    causal: bool
    bias: bool
    tie_embeddings: bool
    layers: tuple[LayerSpec, ...]
    node: ast.Model = field(compare=False, repr=False)

    def sizes(self, layer: LayerSpec) -> LayerSizes:
        """Return the sizes that the token mixing of a layer depends on."""
        return LayerSizes(self.hidden, layer.heads, self.bias, self.causal)


@dataclass(frozen=True)
class SpaceSpec:
    """A search space. Ranges include both ends.

    `inputs`, `ops` and `size` limit attention programs; they are None where programs
    may not change. `kernels` and `kinds` limit convolution layers; they are empty where
    the start's convolutions are kept. `layer` holds the values that arguments of a
    layer may take; widths of stacked feed-forward networks are a tuple. `draws` holds
    factors on how often a search draws an operation or a convolution width: 0 means
    that it is never added, though it may stay. A person sets them during a search; they
    are not part of the text.
    """

    name: str
    start: ModelSpec
    depth: tuple[int, int]
    inputs: tuple[str, ...] | None
    ops: frozenset[str] | None
    size: tuple[int, int]
    kernels: tuple[int, ...]
    kinds: tuple[str, ...]
    layer: Mapping[str, tuple[int | str | tuple[int, ...], ...]]
    node: ast.Space = field(compare=False, repr=False)
    draws: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Program:
    """A checked file: its declarations and imports, by local name.

    `declared` holds the names that the file itself declares; the others are imports.
    """

    source: Source
    path: Path | None
    file: ast.File = field(repr=False)
    attentions: Mapping[str, AttentionSpec]
    models: Mapping[str, ModelSpec]
    spaces: Mapping[str, SpaceSpec]
    declared: frozenset[str]
    warnings: tuple[Diagnostic, ...]
