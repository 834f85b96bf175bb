"""The difference of two models or programs by what they mean, not by their text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        """How much more there is."""
        return self.new - self.old


@dataclass(frozen=True)
class LayerDiff:
    """One layer of the old model, of the new one, or of both.

    `old` and `new` are its places, from 0, and `old_mixing` and `new_mixing` its token
    mixing; None where it is not there. `changes`: of `mixing` from an attention program
    to a convolution or back, of a convolution's `kernel` and `kind`, of the layer's own
    arguments. `program`: what changed in the attention program. `flops`: for one token.
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
    """Two models, setting by setting and layer by layer; costs as in `ModelSummary`."""

    old: ModelSummary
    new: ModelSummary
    settings: tuple[Change, ...]
    layers: tuple[LayerDiff, ...]

    @property
    def same(self) -> bool:
        """Whether the two are one architecture, whatever they are called."""
        return not self.settings and all(each.status == "same" for each in self.layers)

    @property
    def parameters(self) -> Amount[int]:
        """Parameters of the base model."""
        return Amount(self.old.parameters, self.new.parameters)

    @property
    def flops(self) -> Amount[float]:
        """Floating point operations of all layers for one token, forward."""
        return Amount(self.old.flops, self.new.flops)


def compare_programs(old: AttentionSpec, new: AttentionSpec) -> ProgramDiff:
    """What changed from one attention program to another, as they are compiled."""
    return match_graphs(program_graph(old), program_graph(new))


def compare_models(old: ModelSpec, new: ModelSpec, tokens: int) -> ModelDiff:
    """What changed from one model to another, and in the costs for `tokens` tokens.

    Layers are lined up so that as little as possible is added, removed and changed.
    """
    before, after = summarise(old, tokens), summarise(new, tokens)
    compare = _Layers(old, new)
    layers = tuple(
        _layer_diff(compare, before, after, i, j)
        for i, j in _line_up(len(old.layers), len(new.layers), compare.cost)
    )
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
    if old and new:
        changes = compare.changes(old.layer, new.layer)
        program = compare.program(old.layer, new.layer)
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


class _Layers:
    """Compares layers of two models, each pair once."""

    ALONE = 20  # what it costs to add or remove a layer

    def __init__(self, old: ModelSpec, new: ModelSpec) -> None:
        self.old, self.new = old, new
        self.intern = Interner()
        self.graphs: dict[int, tuple[Graph, tuple[object, ...]]] = {}
        self.costs: dict[tuple[int, int], int] = {}

    def graph(self, program: AttentionSpec) -> tuple[Graph, tuple[object, ...]]:
        """The graph of a program, and what it has in common with equal ones."""
        if id(program) not in self.graphs:
            graph = program_graph(program)
            self.graphs[id(program)] = graph, self.intern.key(graph)
        return self.graphs[id(program)]

    def cost(self, i: int, j: int) -> int:
        """How unlike two layers are: 0 if equal, less than removing one and adding the
        other in any case.
        """
        old, new = self.old.layers[i], self.new.layers[j]
        key = (id(old), id(new))
        if key not in self.costs:
            self.costs[key] = self._cost(old, new)
        return self.costs[key]

    def _cost(self, old: LayerSpec, new: LayerSpec) -> int:
        changed = len(self.changes(old, new))
        if not isinstance(old.mixing, AttentionUse):
            other = isinstance(new.mixing, AttentionUse)
            return 17 if other else 3 * changed
        if not isinstance(new.mixing, AttentionUse):
            return 17
        (a, key_a), (b, key_b) = map(
            self.graph, (old.mixing.program, new.mixing.program)
        )
        if key_a == key_b:
            return changed
        ops_a, ops_b = operations(a), operations(b)
        total = ops_a.total() + ops_b.total()
        unlike = 1 - 2 * (ops_a & ops_b).total() / max(1, total)
        renamed = old.mixing.name != new.mixing.name
        return 4 + renamed + round(9 * unlike) + min(changed, 3)

    def program(self, old: LayerSpec, new: LayerSpec) -> ProgramDiff | None:
        """The difference of their attention programs, if there is one."""
        if not isinstance(old.mixing, AttentionUse):
            return None
        if not isinstance(new.mixing, AttentionUse):
            return None
        (a, key_a), (b, key_b) = map(
            self.graph, (old.mixing.program, new.mixing.program)
        )
        return None if key_a == key_b else match_graphs(a, b)

    def changes(self, old: LayerSpec, new: LayerSpec) -> tuple[Change, ...]:
        """What else changed, but what only follows a setting of the model."""
        found = []
        if type(old.mixing) is not type(new.mixing):
            found.append(Change("mixing", old.mixing.text, new.mixing.text))
        if isinstance(old.mixing, ConvUse) and isinstance(new.mixing, ConvUse):
            for name in ("kernel", "kind"):
                before, after = getattr(old.mixing, name), getattr(new.mixing, name)
                if before != after:
                    found.append(Change(name, before, after))
        for name in LAYER_ARGUMENTS:
            before, after = getattr(old, name), getattr(new, name)
            inherited = before == getattr(self.old, name) and after == getattr(
                self.new, name
            )
            if before != after and not inherited:
                found.append(Change(name, before, after))
        return tuple(found)


def _line_up(
    rows: int, cols: int, cost: Callable[[int, int], int]
) -> Iterator[tuple[int | None, int | None]]:
    """Pairs of places, from the first to the last, at the least cost in all.

    Like the edit distance of two words; None stands for a layer that is not there.
    """
    start = 0
    while start < min(rows, cols) and cost(start, start) == 0:
        yield start, start
        start += 1
    end = 0
    while end < min(rows, cols) - start and cost(rows - end - 1, cols - end - 1) == 0:
        end += 1
    yield from _distance(range(start, rows - end), range(start, cols - end), cost)
    for i in range(end, 0, -1):
        yield rows - i, cols - i


def _distance(
    rows: range, cols: range, cost: Callable[[int, int], int]
) -> list[tuple[int | None, int | None]]:
    alone = _Layers.ALONE
    table = [[alone * j for j in range(len(cols) + 1)]]
    for i, row in enumerate(rows):
        line = [alone * (i + 1)]
        for j, col in enumerate(cols):
            paired = table[i][j] + cost(row, col)
            line.append(min(paired, table[i][j + 1] + alone, line[j] + alone))
        table.append(line)
    found: list[tuple[int | None, int | None]] = []
    i, j = len(rows), len(cols)
    while i or j:
        here = table[i][j]
        if i and j and here == table[i - 1][j - 1] + cost(rows[i - 1], cols[j - 1]):
            i, j = i - 1, j - 1
            found.append((rows[i], cols[j]))
        elif j and here == table[i][j - 1] + alone:
            j -= 1
            found.append((None, cols[j]))
        else:
            i -= 1
            found.append((rows[i], None))
    return found[::-1]
