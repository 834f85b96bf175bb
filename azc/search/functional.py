"""Fingerprints of the functions that programs compute, from their values.

Many mutants compute the same function as a known program in a way that no rewriting
detects (`softmax(x - amax(x))`, `q + q` for `2 * q`). Their values on fixed random
inputs reveal it; they are computed by the interpreter in float64 with the range of
float32, which models are trained in.

Two programs with equal keys agree to seven digits of the largest entry: on sequences of
several lengths, one of them longer than the reach of any window or convolution, at
several widths (odd ones too), heads and scales of the inputs. Programs that differ only
beyond that (`maximum(x, -1e6)` and `x`, say) count as the same function.
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

_DIGITS = 7  # digits of the largest entry; smaller differences are rounding errors
_NOISE = 1e-13  # magnitude that is left when values cancel
_ORDERS = 120  # maximum number of parameter orders that are tried for a key
_FAR = 48  # reach from which on windows are scaled down
_NEAR = 16  # reach up to which windows stay unchanged then
_LONG = 9  # the longest sequence that is probed, unless something reaches beyond


@dataclass(frozen=True)
class _Probe:
    """An input on which a program is evaluated.

    Attributes:
        length: Sequence length.
        width: Features of a head.
        head: The head that is computed.
        heads: Number of heads.
        spread: Standard deviation of the inputs.
    """

    length: int
    width: int
    head: int
    heads: int
    spread: float


# The scales are those of projections at initialization (about 0.5) and after training, and
# beyond the thresholds of operations. √d is irrational in most probes, so that `scale` does
# not equal a number. There are probes of one and two tokens and (in `graph_function`) heads
# of two features, because a maximum over many values is hardly ever below 0.
_PROBES: tuple[_Probe, ...] = (
    _Probe(7, 4, 1, 3, 1.0),
    _Probe(4, 5, 0, 2, 0.3),
    _Probe(5, 3, 2, 4, 8.0),
    _Probe(1, 8, 0, 1, 1.0),
    _Probe(2, 7, 3, 5, 3.0),
)


_USUAL = 3  # the first ones resemble real text


@dataclass(frozen=True)
class Function:
    """The function that a program computes.

    Attributes:
        key: Equal for programs with the same values on the same inputs, regardless of
            the names and the order of parameters, since each is a learned projection.
        fault: The reason why there is nothing to train, or None.
    """

    key: str
    fault: str | None


@lru_cache(maxsize=8192)
def program_function(program: AttentionSpec, causal: bool = False) -> Function:
    """Identify the function of an attention program; in a `causal` model, token by
    token.
    """
    return graph_function(program_graph(program), causal)


def graph_function(graph: Graph, causal: bool = False) -> Function:
    """Identify the function of a graph."""
    import numpy as np

    graph, numbers = _in_small(graph, causal)
    farthest = max(_reaches(graph, causal), default=0)
    probes = (*_PROBES, _Probe(max(farthest + 2, _LONG), 2, 0, 1, 1.0))
    looked = _Looked(graph, causal, probes)
    live = _live(looked)
    values, key = _smallest(looked, live)
    fault = None
    # Values that are finite only for one or two tokens are not finite in a text.
    if not any(np.isfinite(each).all() for each in values[:_USUAL]):
        fault = "it computes NaN or infinite values"
    elif all(slot.kind for slot in live):
        fault = "it does not depend on its inputs"
    return Function(_digest_of(f"{numbers} {key}".encode()), fault)


# Reach


def _reach(node: Node, causal: bool) -> int:
    """Return how many tokens away a window or a convolution sees."""
    taps = node.attrs.get("kernel", 1) - 1
    radius: int = node.attrs.get("radius", taps if causal else taps // 2)
    return radius


def _reaches(graph: Graph, causal: bool) -> list[int]:
    """Return the distinct reaches in a graph, sorted."""
    return sorted({_reach(node, causal) for node in graph.nodes} - {0})


def _in_small(graph: Graph, causal: bool) -> tuple[Graph, tuple[int, ...]]:
    """Scale down windows and convolutions that reach very far, keeping their order.

    Returns:
        The graph, and the original reaches of those that were scaled.
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
    """A parameter or a learned weight.

    Slots of one `kind` are interchangeable, because each has its own values. The kind
    of a weight is its shape.
    """

    name: str
    kind: str


_Draws = Mapping[_Slot, int]  # the draw of fixed random numbers for each slot


def _slots(graph: Graph) -> list[_Slot]:
    """Return everything that the values may depend on."""
    inputs = [node.name for node in graph.nodes if node.op == INPUT]
    weights = [_Slot(name, str(weight.axes)) for name, weight in graph.weights]
    return [*(_Slot(name, "") for name in inputs), *weights]


@dataclass(frozen=True)
class _Looked:
    """A program, whether it is causal, and its probes."""

    graph: Graph
    causal: bool
    probes: tuple[_Probe, ...]

    def values(self, probe: _Probe, draws: _Draws) -> Any:
        """Evaluate the program.

        Slots without a draw do not matter, so they share one.
        """
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
    """Return the slots that the values depend on.

    Each comes with a digest of its role, which does not depend on its name or place.
    """
    slots = _slots(looked.graph)
    alike = dict.fromkeys(slots, 1)
    base = looked.values(looked.probes[0], alike)
    live = {}
    for slot in slots:
        values = looked.values(looked.probes[0], {**alike, slot: 0})
        # Equal inputs may cancel, and some slots only matter for large values.
        if _differ(base, values) or _tells(looked, slots, slot):
            live[slot] = _digest(values)
    return live


def _tells(looked: _Looked, slots: list[_Slot], slot: _Slot) -> bool:
    """Return whether the values depend on a slot if each slot has its own numbers."""
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
    """Return the values and their digest in a canonical order of parameters and
    weights.
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
    # Scale by the next power of two, which is robust to rounding. The steps are shifted,
    # so that 0, ½ and 1 are far from a boundary.
    unit = 2.0 ** np.ceil(np.log2(largest * (1 + 1e-9)))
    with np.errstate(all="ignore"):
        steps = np.floor(values / unit * 10.0**_DIGITS + 0.3183)
    # All non-finite values are equal: another order of operations turns NaN into ∞.
    steps = np.where(finite, steps, np.inf) + 0.0
    return _digest_of(np.float64(unit).tobytes() + steps.tobytes())


@lru_cache(maxsize=4096)
def _normal(draw: int, *shape: int) -> Any:
    """Return fixed normally distributed numbers, different for each draw."""
    import numpy as np

    return np.random.default_rng((draw + 1, *shape)).normal(size=shape)
