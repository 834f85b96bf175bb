"""Semantic differences of models and programs, independent of their text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from azc.check.models import LAYER_ARGUMENTS, SETTINGS
from azc.check.program import (
    AttentionSpec,
    AttentionUse,
    ConvUse,
    LayerSpec,
    ModelSpec,
)
from azc.compare.align import align
from azc.compare.match import Interner, ProgramDiff, match_graphs, operations
from azc.compare.summary import ModelSummary, summarise
from azc.ir.graph import Graph
from azc.passes.pipeline import program_graph

__all__ = [
    "Amount",
    "Change",
    "LayerDiff",
    "ModelDiff",
    "compare_models",
    "compare_programs",
]

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Change:
    """A setting of a model or an argument of a layer with another value."""

    name: str
    old: object
    new: object


@dataclass(frozen=True)
class Amount(Generic[_Number]):
    """A count before and after; 0 where there is no layer."""

    old: _Number
    new: _Number

    @property
    def change(self) -> _Number:
        """The increase; negative for a decrease."""
        return self.new - self.old


@dataclass(frozen=True)
class LayerDiff:
    """One layer of the old model, of the new one, or of both.

    `old` and `new` are its indices, from 0, and `old_mixing` and `new_mixing` its token
    mixing; they are None where the model lacks the layer. `changes` holds the changed
    `mixing` (from an attention program to a convolution or back), the `kernel` and
    `kind` of a convolution, and the layer's own arguments. `program` is the difference
    of the attention programs. `flops` are for one token.
    """

    status: Literal["same", "added", "removed", "changed"]
    old: int | None
    new: int | None
    old_mixing: str | None
    new_mixing: str | None
    changes: tuple[Change, ...]
    program: ProgramDiff | None
    parameters: Amount[int]
    flops: Amount[float]


@dataclass(frozen=True)
class ModelDiff:
    """The differences of two models in settings and layers; costs are as in
    `ModelSummary`.
    """

    old: ModelSummary
    new: ModelSummary
    settings: tuple[Change, ...]
    layers: tuple[LayerDiff, ...]

    @property
    def same(self) -> bool:
        """True if both are the same architecture, under any name."""
        return not self.settings and all(each.status == "same" for each in self.layers)

    @property
    def parameters(self) -> Amount[int]:
        """Parameters of the base model."""
        return Amount(self.old.parameters, self.new.parameters)

    @property
    def flops(self) -> Amount[float]:
        """Floating point operations of all layers for one token, forward."""
        return Amount(self.old.flops, self.new.flops)

    def __str__(self) -> str:
        lines = [f"{each.name}: {each.old} -> {each.new}" for each in self.settings]
        for each in self.layers:
            if each.status != "same":
                sides = ((each.old, each.old_mixing), (each.new, each.new_mixing))
                words = [f"{i + 1}: {mixing}" for i, mixing in sides if i is not None]
                lines.append(f"layer {each.status}, {' -> '.join(words)}")
        lines.append(f"parameters: {self.old.parameters:,} -> {self.new.parameters:,}")
        lines.append(f"FLOPs per token: {self.old.flops:,.0f} -> {self.new.flops:,.0f}")
        return "\n".join(lines)


def compare_programs(old: AttentionSpec, new: AttentionSpec) -> ProgramDiff:
    """Compare two attention programs as they are compiled."""
    return match_graphs(program_graph(old), program_graph(new))


def compare_models(old: ModelSpec, new: ModelSpec, tokens: int) -> ModelDiff:
    """Compare two models, and their costs for sequences of `tokens` tokens.

    Layers are aligned so that as little as possible is added, removed and changed.
    """
    before, after = summarise(old, tokens), summarise(new, tokens)
    compare = _Layers(old, new)
    pairs = align(len(old.layers), len(new.layers), compare.cost, compare.least())
    layers = tuple(_layer_diff(compare, before, after, i, j) for i, j in pairs)
    return ModelDiff(before, after, _settings(old, new), layers)


def _settings(old: ModelSpec, new: ModelSpec) -> tuple[Change, ...]:
    changes = []
    for name in SETTINGS:
        before, after = getattr(old, name), getattr(new, name)
        follows = (
            name == "ffn" and before == (4 * old.hidden,) and after == (4 * new.hidden,)
        )
        if before != after and not follows:
            changes.append(Change(name, before, after))
    return tuple(changes)


def _layer_diff(
    compare: _Layers,
    before: ModelSummary,
    after: ModelSummary,
    i: int | None,
    j: int | None,
) -> LayerDiff:
    old = before.layers[i] if i is not None else None
    new = after.layers[j] if j is not None else None
    changes: tuple[Change, ...] = ()
    program = None
    status: Literal["same", "added", "removed", "changed"] = "added"
    if i is not None and j is not None:
        pair = compare.old[i], compare.new[j]
        changes, program = compare.changes(*pair), compare.program(*pair)
        status = "changed" if changes or program else "same"
    elif old:
        status = "removed"
    return LayerDiff(
        status=status,
        old=i,
        new=j,
        old_mixing=old.mixing if old else None,
        new_mixing=new.mixing if new else None,
        changes=changes,
        program=program,
        parameters=Amount(old.parameters if old else 0, new.parameters if new else 0),
        flops=Amount(old.flops if old else 0.0, new.flops if new else 0.0),
    )


@dataclass(frozen=True)
class _Layer:
    """The properties of a layer that decide the cost of pairing it.

    `arguments` holds the layer's own arguments, each with whether it equals the model's
    setting. `operations` counts the operations of the attention program, and `key`
    identifies it; both are None for a convolution.
    """

    mixing: AttentionUse | ConvUse
    arguments: tuple[tuple[object, bool], ...]
    key: tuple[object, ...] | None
    operations: Counter[str] | None
    kind: int  # equal for layers that cost the same in any pair


class _Layers:
    """Comparison of the layers of two models; each kind of pair is compared once."""

    OTHER = (
        17  # the cost of an attention program in the place of a convolution, or back
    )

    def __init__(self, old: ModelSpec, new: ModelSpec) -> None:
        self.intern = Interner()
        self.graphs: dict[int, tuple[Graph, tuple[object, ...]]] = {}
        self.kinds: dict[Hashable, int] = {}
        self.costs: dict[tuple[int, int], int] = {}
        self.unlike: dict[tuple[object, object], int] = {}
        self.programs: dict[tuple[object, object], ProgramDiff] = {}
        self.old, self.new = self.read(old), self.read(new)

    def graph(self, program: AttentionSpec) -> tuple[Graph, tuple[object, ...]]:
        """Return the graph of a program, and the key that equal programs share."""
        if id(program) not in self.graphs:
            graph = program_graph(program)
            self.graphs[id(program)] = graph, self.intern.key(graph)
        return self.graphs[id(program)]

    def read(self, model: ModelSpec) -> list[_Layer]:
        """Return the layers of a model; layers that `repeat` repeats are read once."""
        done: dict[int, _Layer] = {}
        for layer in model.layers:
            if id(layer) not in done:
                done[id(layer)] = self.layer(model, layer)
        return [done[id(layer)] for layer in model.layers]

    def layer(self, model: ModelSpec, layer: LayerSpec) -> _Layer:
        mixing = layer.mixing
        values = [(getattr(layer, n), getattr(model, n)) for n in LAYER_ARGUMENTS]
        arguments = tuple((value, value == models) for value, models in values)
        key = ops = None
        what: Hashable = mixing
        if isinstance(mixing, AttentionUse):
            graph, key = self.graph(mixing.program)
            ops = operations(graph)
            what = mixing.name, key
        kind = self.kinds.setdefault((what, arguments), len(self.kinds))
        return _Layer(mixing, arguments, key, ops, kind)

    def cost(self, i: int, j: int) -> int:
        """Return the cost of pairing two layers: 0 if they are equal, and always less
        than removing one and adding the other.
        """
        old, new = self.old[i], self.new[j]
        kinds = old.kind, new.kind
        if kinds not in self.costs:
            self.costs[kinds] = self._cost(old, new)
        return self.costs[kinds]

    def _cost(self, old: _Layer, new: _Layer) -> int:
        changed = len(self.changes(old, new))
        if (old.key is None) != (new.key is None):
            return self.OTHER
        if old.key is None:
            return 3 * changed
        if old.key == new.key:
            return changed
        renamed = old.mixing.text != new.mixing.text
        return 4 + renamed + self.difference(old, new) + min(changed, 3)

    def difference(self, old: _Layer, new: _Layer) -> int:
        """Return how much the operations of two programs differ, from 0 to 9."""
        assert old.operations is not None
        assert new.operations is not None
        keys = old.key, new.key
        if keys not in self.unlike:
            a, b = old.operations, new.operations
            both = sum(min(times, b[op]) for op, times in a.items() if op in b)
            self.unlike[keys] = _unlike(both, a.total() + b.total())
        return self.unlike[keys]

    def least(self) -> list[int]:
        """Return a lower bound on the cost of each old layer in any pair."""
        known = {layer.key for layer in self.new if layer.key is not None}
        convolutions = {each.mixing for each in self.new if each.key is None}
        most: Counter[str] = Counter()
        for ops in {layer.kind: layer.operations for layer in self.new}.values():
            for op, times in (ops or Counter()).items():
                most[op] = max(most[op], times)

        def bound(layer: _Layer) -> int:
            if layer.operations is None:
                found = 0 if layer.mixing in convolutions else 3
                return found if convolutions else self.OTHER
            if layer.key in known or not known:
                return 0 if known else self.OTHER
            # At best, the other program has only the operations that both have.
            both = sum((layer.operations & most).values())
            return 4 + _unlike(both, layer.operations.total() + both)

        found = {layer.kind: layer for layer in self.old}
        bounds = {kind: bound(layer) for kind, layer in found.items()}
        return [bounds[layer.kind] for layer in self.old]

    def program(self, old: _Layer, new: _Layer) -> ProgramDiff | None:
        """Return the difference of the layers' attention programs, or None."""
        if not isinstance(old.mixing, AttentionUse):
            return None
        if not isinstance(new.mixing, AttentionUse) or old.key == new.key:
            return None
        keys = old.key, new.key
        if keys not in self.programs:
            programs = old.mixing.program, new.mixing.program
            graphs = [self.graph(each)[0] for each in programs]
            self.programs[keys] = match_graphs(*graphs)
        return self.programs[keys]

    def changes(self, old: _Layer, new: _Layer) -> tuple[Change, ...]:
        """Return the other changes of a layer, except those that only follow a setting
        of the model.
        """
        found = []
        if type(old.mixing) is not type(new.mixing):
            found.append(Change("mixing", old.mixing.text, new.mixing.text))
        if isinstance(old.mixing, ConvUse) and isinstance(new.mixing, ConvUse):
            for name in ("kernel", "kind"):
                before, after = getattr(old.mixing, name), getattr(new.mixing, name)
                if before != after:
                    found.append(Change(name, before, after))
        pairs = zip(LAYER_ARGUMENTS, old.arguments, new.arguments, strict=True)
        for name, (value, follows), (other, follows_too) in pairs:
            if value != other and not (follows and follows_too):
                found.append(Change(name, value, other))
        return tuple(found)


def _unlike(both: int, total: int) -> int:
    """Return how few of `total` operations of two programs are in both, from 0 to 9."""
    return round(9 * (1 - 2 * both / max(1, total)))
