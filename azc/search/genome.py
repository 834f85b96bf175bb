"""Candidates of a search as self-contained programs, and their identity.

Codes: U101 the file has no declaration of this name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, islice, permutations, product

from azc.check.models import SETTINGS
from azc.check.program import (
    AttentionSpec,
    AttentionUse,
    LayerSpec,
    ModelSpec,
    Program,
    SpaceSpec,
)
from azc.check.resolve import check_source
from azc.diagnostics import UsageError
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.mixing.convolution import conv_feature
from azc.passes.pipeline import program_graph
from azc.search.functional import program_function
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file

__all__ = ["COMMUTATIVE", "Genome", "program_key", "space_features"]

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum"})
_ORDERS = 120  # maximum number of parameter orders that are tried for a key


@dataclass(frozen=True, eq=False)
class Genome:
    """A checked program file and the name of the candidate's model in it."""

    program: Program
    model: str

    @classmethod
    def from_text(cls, text: str, model: str) -> Genome:
        """Create a genome from a text.

        Raises:
            DiagnosticError: If the text is not a valid program.
            UsageError: U101, if it has no such model.
        """
        program = check_source(Source(f"{model}.azg", text, own=True))
        if model not in program.models:
            raise UsageError("U101", f"{program.source.name} has no model `{model}`")
        return cls(program, model)

    @classmethod
    def from_file(cls, file: ast.File, model: str) -> Genome:
        """Create a genome from a syntax tree, by way of its text.

        So mutants are checked like any other program. Raises as `from_text`.
        """
        return cls.from_text(format_file(file), model)

    @cached_property
    def text(self) -> str:
        """The canonical text of the file."""
        return format_file(self.program.file)

    @property
    def spec(self) -> ModelSpec:
        """The checked model."""
        return self.program.models[self.model]

    @property
    def node(self) -> ast.Model:
        """The model as written."""
        return self.spec.node

    @cached_property
    def key(self) -> str:
        """A key that is equal for genomes of the same function class.

        It does not depend on how programs and parameters are named, ordered and split
        into statements.
        """
        return _model_key(self.spec, program_key)

    @cached_property
    def function(self) -> str:
        """A key that is also equal for programs that are written differently.

        Equal programs have the same values, see `azc.search.functional`.
        """
        causal = self.spec.causal

        def key(program: AttentionSpec) -> str:
            return program_function(program, causal).key

        return _model_key(self.spec, key)

    @cached_property
    def faults(self) -> dict[str, str]:
        """The reasons why programs can't be trained, by their keys; empty if all
        can.
        """
        found: dict[str, str] = {}
        for layer in self.spec.layers:
            if isinstance(layer.mixing, AttentionUse):
                program = layer.mixing.program
                fault = program_function(program, self.spec.causal).fault
                if fault is not None:
                    found[program_key(program)] = fault
        return found

    @cached_property
    def features(self) -> frozenset[str]:
        """The features that priorities are learned for.

        They are the operations in the attention programs, and "conv K" for every width
        of the convolution layers.
        """
        return frozenset().union(*(each.mixing.features for each in self.spec.layers))


def space_features(space: SpaceSpec) -> tuple[str, ...]:
    """Return all features that a search can vary in models of the space."""
    return (*sorted(space.ops or ()), *map(conv_feature, space.kernels))


# Keys


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _model_key(model: ModelSpec, key: Callable[[AttentionSpec], str]) -> str:
    lines = [
        *(f"{name} {getattr(model, name)!r}" for name in SETTINGS),
        *(_layer_key(layer, key) for layer in model.layers),
    ]
    return _digest("\n".join(lines))


def _layer_key(layer: LayerSpec, key: Callable[[AttentionSpec], str]) -> str:
    mixing = layer.mixing
    if isinstance(mixing, AttentionUse):
        what = key(mixing.program)
    else:
        what = f"conv {mixing.kernel} {mixing.kind}"
    heads = layer.heads if mixing.headed else 0
    return f"{what} {heads} {layer.ffn} {layer.activation}"


@lru_cache(maxsize=4096)
def program_key(program: AttentionSpec) -> str:
    """Return a key that does not depend on the names of parameters.

    Each parameter is a learned projection of its own, so `q @ k.T` and `k @ q.T` are
    the same class of functions. Names, statements, the order of the operands of a sum,
    and everything that the compiler's passes remove are ignored, too.
    """
    graph = program_graph(program)
    twins = _twins(graph)
    return min(_graph_key(graph, twins, named) for named in _namings(graph, twins))


def _namings(graph: Graph, twins: Mapping[Node, int]) -> Iterator[dict[str, str]]:
    """Yield names for the parameters that depend only on their roles in the graph.

    There is one naming, or several if some parameters have the same role.
    """
    inputs = [node.name for node in graph.nodes if node.op == INPUT]

    def part(name: str) -> str:
        marks = {other: "x" if other == name else "o" for other in inputs}
        return _graph_key(graph, twins, marks)

    parts = {name: part(name) for name in inputs}
    ordered = sorted(inputs, key=parts.__getitem__)
    alike = [list(group) for _, group in groupby(ordered, parts.__getitem__)]
    orders = product(*(permutations(group) for group in alike))
    for order in islice(orders, _ORDERS):
        names = [name for group in order for name in group]
        yield {name: str(place) for place, name in enumerate(names)}


def _graph_key(
    graph: Graph, twins: Mapping[Node, int], named: Mapping[str, str]
) -> str:
    keys: dict[Node, str] = {}
    for node in graph.nodes:
        if node.op == INPUT:
            words = [INPUT, named[node.name]]
        elif node.op == NUMBER:
            words = [NUMBER, repr(node.number)]
        else:
            args = [keys[arg] for arg in node.args]
            if node.op in COMMUTATIVE:
                args.sort()
            attrs = [f"{name}={value}" for name, value in sorted(node.attrs.items())]
            words = [node.op, *args, *attrs, str(twins.get(node, 0))]
        keys[node] = _digest(" ".join(words))
    return keys[graph.output]


def _twins(graph: Graph) -> dict[Node, int]:
    """Number the operations that have the same operands and differ only in their
    learned weights.
    """
    counts: dict[object, int] = {}
    found: dict[Node, int] = {}
    for node in graph.nodes:
        if node.weights:
            alike = (node.op, node.args, tuple(sorted(node.attrs.items())))
            found[node] = counts.get(alike, 0)
            counts[alike] = found[node] + 1
    return found
