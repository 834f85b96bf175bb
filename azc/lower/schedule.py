"""Schedules of causal programs: the order of whole sequences and of regions of moments.

In an encoder every value is computed for a whole sequence at once. In a causal model that
holds for streams, their transposes and constants. States and snapshots change with every
token. They are computed for many moments in parallel, together with the rows of streams that
read them, in a `Region`. Its inputs and outputs are streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from azc.facts.time import is_read_by_row
from azc.ir.graph import Graph, Node
from azc.ops.axes import Time
from azc.shapes import ONE, N, Shape

__all__ = ["Region", "Running", "running", "schedule"]


@dataclass(frozen=True)
class Region:
    """Values that are computed moment by moment.

    Attributes:
        nodes: The values, in an order in which operands come first.
        outputs: The streams among them that are read from outside.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]


@dataclass(frozen=True)
class Running:
    """A state that is carried on from token to token.

    Attributes:
        kind: The function of the rows of `terms` so far. "sum", "mean" and "max" are
            over the rows, "sum" also over the outer products of two rows. "softmax" is
            the mean of outer products of two rows, weighted by a softmax of the first
            ones over the tokens so far; "weights" is the same of elementwise products.
        terms: The streams or transposes of which each token adds a row.
        shapes: The shapes of the numbers that are carried on.
    """

    kind: Literal["sum", "mean", "max", "softmax", "weights"]
    terms: tuple[Node, ...]
    shapes: tuple[Shape, ...]


def running(node: Node, time: Mapping[Node, Time]) -> Running | None:
    """Return the form in which a value is carried on; None if it can't be carried on."""
    if time[node] is not Time.STATE or node.shape.rows is N:
        return None
    first, *rest = node.args
    column = Shape(node.shape.rows, ONE)
    if node.op == "matmul":
        (second,) = rest
        if time[second] is not Time.STREAM:
            return None
        if time[first] is Time.MIRROR:
            return Running("sum", (first, second), (node.shape,))
        if _over_tokens(first, time):
            terms = (first.args[0], second)
            return Running("softmax", terms, (node.shape, column, column))
    elif node.op in ("sum", "mean", "amax") and time[first] is Time.MIRROR:
        if node.op == "amax":
            return Running("max", (first,), (column, column))
        return Running("sum" if node.op == "sum" else "mean", (first,), (column,))
    elif node.op == "sum" and first.op == "mul":
        for weights, values in (first.args, first.args[::-1]):
            known = time[values] is Time.MIRROR and weights.shape == values.shape
            if known and _over_tokens(weights, time):
                terms = (weights.args[0], values)
                return Running("weights", terms, (column, column, column))
    return None


def _over_tokens(node: Node, time: Mapping[Node, Time]) -> bool:
    """Return whether a value is a softmax over the tokens so far."""
    return node.op == "softmax" and time[node.args[0]] is Time.MIRROR


def schedule(graph: Graph, time: Mapping[Node, Time]) -> list[Node | Region]:
    """Order the values of a causal program so that operands come first.

    Args:
        graph: The program.
        time: The times of its values.

    Returns:
        Values of whole sequences, and regions of the others.
    """
    moments = {
        node
        for node in graph.nodes
        if time[node].is_momentary or any(time[arg].is_momentary for arg in node.args)
    }
    level: dict[Node, int] = {}
    for node in graph.nodes:
        found = 0
        for place, arg in enumerate(node.args):
            # A stream is complete only after the region that computes it.
            later = arg in moments and time[arg] is Time.STREAM
            if node in moments and is_read_by_row(node, place):
                later = False
            found = max(found, level[arg] + later)
        level[node] = found
    read = _read(graph, moments, level)
    steps: list[Node | Region] = []
    for each in range(max(level.values()) + 1):
        here = [node for node in graph.nodes if level[node] == each]
        steps += [node for node in here if node not in moments]
        own = [node for node in here if node in moments]
        outputs = tuple(node for node in own if node in read)
        if outputs:
            inner = _with_states(graph, outputs, moments, level, time)
            steps.append(Region(inner, outputs))
    return steps


def _read(
    graph: Graph, moments: set[Node], level: Mapping[Node, int]
) -> frozenset[Node]:
    """Return the streams of regions that are read from outside their region."""
    found = {graph.output}
    for node in graph.nodes:
        for place, arg in enumerate(node.args):
            inside = (
                node in moments
                and level[node] == level[arg]
                and is_read_by_row(node, place)
            )
            if arg in moments and arg.shape.rows is N and not inside:
                found.add(arg)
    return frozenset(found & moments)


def _with_states(
    graph: Graph,
    outputs: tuple[Node, ...],
    moments: set[Node],
    level: Mapping[Node, int],
    time: Mapping[Node, Time],
) -> tuple[Node, ...]:
    """Return the values that a region computes for its outputs.

    These include constants, and states that earlier regions compute as well.
    """
    wanted, todo = set(outputs), list(outputs)
    while todo:
        node = todo.pop()
        known = running(node, time)
        for arg in known.terms if known else node.args:
            stream_before = arg.shape.rows is N and level[arg] < level[node]
            local = time[arg] is Time.CONSTANT or (arg in moments and not stream_before)
            if local and arg not in wanted:
                wanted.add(arg)
                todo.append(arg)
    return tuple(node for node in graph.nodes if node in wanted)
