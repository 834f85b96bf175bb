"""What a checked file holds.

Program         = attentions, models and spaces by name, with warnings
AttentionSpec   = a program whose every value has a type
ModelSpec       = settings with all defaults filled in, layers with repeats expanded
LayerSpec       = AttentionUse | ConvUse, with heads, ffn and activation
SpaceSpec       = what may vary
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from azc.diagnostics import Diagnostic
from azc.shapes import Shape
from azc.source import Source
from azc.syntax import ast

__all__ = [
    "AttentionSpec",
    "AttentionUse",
    "ConvKind",
    "ConvUse",
    "LayerSpec",
    "ModelSpec",
    "Program",
    "SpaceSpec",
    "live_statements",
]

ConvKind = Literal["light", "dynamic", "depthwise"]


@dataclass(frozen=True)
class AttentionSpec:
    """A well-typed attention program; under another name it is the same.

    `bindings`: the type of every bound name, in order. The result is `[n, d]`.
    """

    name: str = field(compare=False)
    params: tuple[str, ...]
    node: ast.Attention = field(compare=False, repr=False)
    body: tuple[ast.Statement, ...] = field(repr=False)
    bindings: tuple[tuple[str, Shape], ...] = ()

    @cached_property
    def operations(self) -> Counter[str]:
        """How often each operation is written in it."""
        parts = (part for each in self.body for part in ast.expressions(each.value))
        return Counter(part.op for part in parts if isinstance(part, ast.Apply))


@dataclass(frozen=True)
class AttentionUse:
    """Token mixing by an attention program; `name` is what the model calls it."""

    name: str
    program: AttentionSpec


@dataclass(frozen=True)
class ConvUse:
    """Token mixing by a convolution layer of odd width `kernel`."""

    kernel: int
    kind: ConvKind


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
    kinds: tuple[ConvKind, ...]
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


def live_statements(body: tuple[ast.Statement, ...]) -> Iterator[ast.Statement]:
    """The statements that the result depends on, last first."""
    needed: set[str] = set()
    for statement in reversed(body):
        if isinstance(statement, ast.Bind) and statement.name not in needed:
            continue
        yield statement
        for expr in ast.expressions(statement.value):
            if isinstance(expr, ast.Name):
                needed.add(expr.id)
