"""What a checked file holds.

Program         = attentions, models and spaces by name, with warnings
AttentionSpec   = a program whose every value has a type
ModelSpec       = settings with all defaults filled in, layers with repeats expanded
LayerSpec       = AttentionUse | ConvUse (`azc.mixing`), with heads, ffn and activation
SpaceSpec       = what may vary
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
    """One layer. `ffn`: widths of its feed-forward networks, one after the other."""

    mixing: AttentionUse | ConvUse
    heads: int
    ffn: tuple[int, ...]
    activation: str
    node: ast.Layer = field(compare=False, repr=False)

    @property
    def kind(self) -> Hashable:
        """The same for layers of one model that are alike. Programs are told apart by
        identity: a file has each once, and to compare large ones takes long.
        """
        mixing = self.mixing
        what = mixing if isinstance(mixing, ConvUse) else id(mixing.program)
        return what, self.heads, self.ffn, self.activation


@dataclass(frozen=True)
class ModelSpec:
    """A model with every setting (LANGUAGE: models) and its layers."""

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
        """What one of its layers has of it."""
        return LayerSizes(self.hidden, layer.heads, self.bias, self.causal)


@dataclass(frozen=True)
class SpaceSpec:
    """What may vary in a search. Ranges have both ends in.

    `inputs`, `ops`, `size`: of attention programs; None where they may not change.
    `kernels`, `kinds`: of convolution layers; empty where those of the start stay.
    `layer`: values that the arguments of a layer may take; widths of stacked
    feed-forward networks are a tuple. `draws`: how many times as often as by itself a
    search draws an operation or a width of convolution, for those that a person favours;
    0 for those that are put in no more, whatever may stay. No text has it.
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
    """A checked file: what it declares and what it imports, by local name.

    `declared`: the names that the file itself declares; the others are imports.
    """

    source: Source
    path: Path | None
    file: ast.File = field(repr=False)
    attentions: Mapping[str, AttentionSpec]
    models: Mapping[str, ModelSpec]
    spaces: Mapping[str, SpaceSpec]
    declared: frozenset[str]
    warnings: tuple[Diagnostic, ...]
