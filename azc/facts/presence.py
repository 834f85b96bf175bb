"""Analysis of the entries of values that can be absent, and of their contents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.ops.contract import Place, State
from azc.ops.table import operation
from azc.shapes import N, Shape

__all__ = ["presence"]

_SCORES = Shape(N, N)


def presence(
    graph: Graph,
    inputs: frozenset[Place],
    causal: bool = False,
    unknown: Collection[Node] = (),
) -> Mapping[Node, State]:
    """Compute the state of every value.

    A value [n, n] of which all uses see only a band is itself treated as a band: in
    `window(exp(s), radius = 0)`, the exponential is computed only where the window
    keeps it, so that it can't overflow elsewhere.

    Args:
        graph: The program.
        inputs: The places of the inputs whose absent entries hold 0.
        causal: Whether later tokens are absent.
        unknown: Values whose absent entries may hold anything.
    """

    def forward(seen: Mapping[Node, int | None]) -> dict[Node, State]:
        return _forward(graph, inputs, seen, causal, unknown)

    return forward(_seen(graph, forward({})))


def _forward(
    graph: Graph,
    inputs: frozenset[Place],
    seen: Mapping[Node, int | None],
    causal: bool,
    unknown: Collection[Node],
) -> dict[Node, State]:
    """Compute states from the inputs on; no value is wider than the band `seen` of
    it.
    """
    states: dict[Node, State] = {}
    for node in graph.nodes:
        if node.op == INPUT:
            state = State(node.shape, None, inputs)
        elif node.op == NUMBER:
            state = State(node.shape, None, frozenset())
        else:
            absence = operation(node.op).absence
            operands = tuple(states[arg] for arg in node.args)
            state = absence.after(operands, node.shape, node.attrs)
        radius = _narrower(state.radius, seen.get(node))
        if radius != state.radius:
            state = replace(state, radius=radius, zero=state.zero - {"band"})
        if node in unknown:
            state = replace(state, zero=frozenset())
        states[node] = replace(state, causal=causal)
    return states


def _seen(graph: Graph, states: Mapping[Node, State]) -> Mapping[Node, int | None]:
    """Compute, from the output back, the radius of the band that uses see of each value
    [n, n]; None means all of it.
    """
    seen: dict[Node, int | None] = {}
    for node in reversed(graph.nodes):
        if node.op in (INPUT, NUMBER):
            continue
        local = operation(node.op).absence.local and node.shape == _SCORES
        for arg in node.args:
            if arg.shape != _SCORES:
                continue
            radius = states[arg].radius
            if local:
                radius = _narrower(radius, states[node].radius, seen.get(node))
            seen[arg] = radius if arg not in seen else _wider(radius, seen[arg])
    return seen


def _narrower(*radii: int | None) -> int | None:
    return min((radius for radius in radii if radius is not None), default=None)


def _wider(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)
