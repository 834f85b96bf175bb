"""What a program computes, by its values: two texts that are one function are known.

Many mutants compute what a program already scored computes, in a way that no rewriting
finds (`softmax(x - amax(x))`, `q + q` for `2 * q`). Their values on fixed random inputs
tell; those of the interpreter, in float64 with the range of float32, which models are
trained in.

Two programs with equal keys agree on sequences of several lengths, among them one longer
than any window or convolution in them reaches, at several widths (odd ones too), heads
and sizes of their inputs, to seven digits of the largest entry. What differs only beyond
(`maximum(x, -1e6)`, say, and x) is one function here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby, islice, permutations, product
from typing import Any

from azc.check.program import AttentionSpec
from azc.ir.graph import INPUT, NUMBER, Graph, GraphBuilder, Node
from azc.ir.run import NarrowInterpreter
from azc.passes.pipeline import program_graph

__all__ = ["Function", "graph_function", "program_function"]

_DIGITS = 7  # of the largest entry; what differs by less is rounding
_NOISE = 1e-13  # what is left where all that was there has cancelled
_ORDERS = 120  # orders of parameters tried for the one that the key is made of
_FAR = 48  # what reaches farther is looked at in small
_NEAR = 16  # what reaches as far as this stays what it is then
_LONG = 9  # the longest sequence looked at, unless something reaches beyond


@dataclass(frozen=True)
class _Probe:
    """Where a program is looked at: a sequence, a head, normal inputs of a spread."""

    length: int
    width: int
    head: int
    heads: int
    spread: float


# Projections of normed layers: as they begin (about 0.5), as they become, and beyond the
# thresholds of operations. √d is irrational in most: `scale` is no number. A token alone,
# and two, and (in `graph_function`) heads of two features: a maximum over many is hardly
# ever below 0.
_PROBES: tuple[_Probe, ...] = (
    _Probe(7, 4, 1, 3, 1.0),
    _Probe(4, 5, 0, 2, 0.3),
    _Probe(5, 3, 2, 4, 8.0),
    _Probe(1, 8, 0, 1, 1.0),
    _Probe(2, 7, 3, 5, 3.0),
)


_USUAL = 3  # the first of them are texts in small


@dataclass(frozen=True)
class Function:
    """`key`: equal for programs with the same values on the same inputs, however the
    parameters are called and ordered: each is a learned projection of its own. `fault`:
    why there is nothing to train, None where there is.
    """

    key: str
    fault: str | None


@lru_cache(maxsize=8192)
def program_function(program: AttentionSpec, causal: bool = False) -> Function:
    """What an attention program computes; in a `causal` model, token by token."""
    return graph_function(program_graph(program), causal)


def graph_function(graph: Graph, causal: bool = False) -> Function:
    """What a graph computes."""
    import numpy as np

    graph, numbers = _in_small(graph, causal)
    farthest = max(_reaches(graph, causal), default=0)
    probes = (*_PROBES, _Probe(max(farthest + 2, _LONG), 2, 0, 1, 1.0))
    looked = _Looked(graph, causal, probes)
    live = _live(looked)
    values, key = _smallest(looked, live)
    fault = None
    # What is finite for one token or two alone is not so in a text.
    if not any(np.isfinite(each).all() for each in values[:_USUAL]):
        fault = "it gives NaN or infinite values"
    elif all(slot.kind for slot in live):
        fault = "it gives the same whatever its inputs are"
    return Function(_digest_of(f"{numbers} {key}".encode()), fault)


# Reach


def _reach(node: Node, causal: bool) -> int:
    """How many tokens away a window or a convolution sees."""
    taps = node.attrs.get("kernel", 1) - 1
    radius: int = node.attrs.get("radius", taps if causal else taps // 2)
    return radius


def _reaches(graph: Graph, causal: bool) -> list[int]:
    """Those of a graph, each once, in order."""
    return sorted({_reach(node, causal) for node in graph.nodes} - {0})


def _in_small(graph: Graph, causal: bool) -> tuple[Graph, tuple[int, ...]]:
    """The program with smaller windows and convolutions where some reach very far, and
    how far they do: one that reaches farther than another still does.
    """
    reaches = _reaches(graph, causal)
    if not reaches or reaches[-1] <= _FAR:
        return graph, ()
    far = [reach for reach in reaches if reach > _NEAR]
    smaller = {reach: _NEAR + 1 + place for place, reach in enumerate(far)}
    builder = GraphBuilder()
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op == INPUT:
            new[node] = builder.input(node.name)
        elif node.op == NUMBER:
            new[node] = builder.number(node.number)
        else:
            reach = _reach(node, causal)
            reach = smaller.get(reach, reach)
            sizes = {"radius": reach, "kernel": (reach if causal else 2 * reach) + 1}
            attrs = {name: sizes.get(name, old) for name, old in node.attrs.items()}
            args = [new[arg] for arg in node.args]
            new[node] = builder.apply(node.op, args, attrs, node.ordinal)
    return builder.finish(graph.name, graph.inputs, new[graph.output]), tuple(far)


# Parameters and weights


@dataclass(frozen=True)
class _Slot:
    """A parameter, or a learned weight: those of one `kind` may change places, because
    each has values of its own. A weight's kind is its shape.
    """

    name: str
    kind: str


_Draws = Mapping[_Slot, int]  # which fixed random numbers each has


def _slots(graph: Graph) -> list[_Slot]:
    """All that the values may depend on."""
    inputs = [node.name for node in graph.nodes if node.op == INPUT]
    weights = [_Slot(name, str(weight.axes)) for name, weight in graph.weights]
    return [*(_Slot(name, "") for name in inputs), *weights]


@dataclass(frozen=True)
class _Looked:
    """A program, whether it is of a causal model, and where it is looked at."""

    graph: Graph
    causal: bool
    probes: tuple[_Probe, ...]

    def values(self, probe: _Probe, draws: _Draws) -> Any:
        """The result; what has no numbers of its own plays no part, so that any will do."""
        length, width = probe.length, probe.width
        inputs = {
            name: _normal(draws.get(_Slot(name, ""), -1), length, width) * probe.spread
            for name in self.graph.inputs
        }
        weights = {
            name: _normal(
                draws.get(_Slot(name, str(weight.axes)), -1),
                *weight.shape(probe.heads, width),
            )
            for name, weight in self.graph.weights
        }
        return NarrowInterpreter(self.graph, self.causal)(
            head=probe.head, heads=probe.heads, weights=weights, **inputs
        )


def _live(looked: _Looked) -> dict[_Slot, str]:
    """What the values depend on; of each, what marks its part in the program, whatever
    it is called and wherever it stands.
    """
    slots = _slots(looked.graph)
    alike = dict.fromkeys(slots, 1)
    base = looked.values(looked.probes[0], alike)
    live = {}
    for slot in slots:
        values = looked.values(looked.probes[0], {**alike, slot: 0})
        # What is alike may cancel, and some come in far from 0 alone.
        if _differ(base, values) or _tells(looked, slots, slot):
            live[slot] = _digest(values)
    return live


def _tells(looked: _Looked, slots: list[_Slot], slot: _Slot) -> bool:
    """Whether the values depend on a slot where each has numbers of its own."""
    own = {each: place for place, each in enumerate(slots)}
    other = {**own, slot: len(own)}
    return any(
        _differ(looked.values(probe, own), looked.values(probe, other))
        for probe in looked.probes
    )


def _differ(one: Any, other: Any) -> bool:
    import numpy as np

    both = np.stack([one, other])
    largest = np.abs(both[np.isfinite(both)]).max(initial=0.0)
    room = 1e-9 * largest + _NOISE
    with np.errstate(all="ignore"):
        return not np.allclose(one, other, rtol=0.0, atol=room, equal_nan=True)


# Keys


def _smallest(looked: _Looked, live: Mapping[_Slot, str]) -> tuple[list[Any], str]:
    """The values with parameters and weights in an order that names have no part in, and
    their digest.
    """

    def part(slot: _Slot) -> tuple[str, str]:
        return slot.kind, live[slot]

    groups = [list(group) for _, group in groupby(sorted(live, key=part), part)]
    found = []
    for order in islice(product(*map(permutations, groups)), _ORDERS):
        draws = {slot: place for place, slot in enumerate(chain(*order))}
        values = [looked.values(probe, draws) for probe in looked.probes]
        found.append((_digest_of(" ".join(map(_digest, values)).encode()), values))
    key, values = min(found, key=lambda each: each[0])
    return values, key


def _digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _digest(values: Any) -> str:
    import numpy as np

    finite = np.isfinite(values)
    largest = np.abs(values[finite]).max(initial=0.0)
    if largest <= _NOISE:
        values, largest = np.where(finite, 0.0, values), 1.0
    # By the power of two above it: the same one for what differs by rounding. The steps
    # are shifted, so that 0, ½ and 1 are far from where one ends.
    unit = 2.0 ** np.ceil(np.log2(largest * (1 + 1e-9)))
    with np.errstate(all="ignore"):
        steps = np.floor(values / unit * 10.0**_DIGITS + 0.3183)
    # What is not finite is one thing: another order of operations makes ∞ of NaN.
    steps = np.where(finite, steps, np.inf) + 0.0
    return _digest_of(np.float64(unit).tobytes() + steps.tobytes())


@lru_cache(maxsize=4096)
def _normal(draw: int, *shape: int) -> Any:
    """Fixed normal numbers, others for each draw."""
    import numpy as np

    return np.random.default_rng((draw + 1, *shape)).normal(size=shape)
