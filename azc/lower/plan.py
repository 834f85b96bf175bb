"""Which part of a program is computed how.

A plan is a list of steps: a value of whole sequences by plain code; a `Region` of values
moment by moment; or what a backend serves as a whole. A backend is a function from a
graph to the parts that it can serve; the first that serves a value has it.

A backend reads the program as it was written. So a plan is made first; then masks are put
in, in what is left to plain code alone; and the plan of that graph is the same plan, with
masks among its steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from azc.facts.presence import presence
from azc.facts.time import is_read_by_row, reach_of, times
from azc.ir.graph import Graph, Node
from azc.lower.dot_product import DotProduct, dot_products
from azc.lower.schedule import Region, schedule
from azc.ops.axes import Time
from azc.ops.contract import Place, State
from azc.ops.core import FILL, SO_FAR
from azc.passes.masks import Masks
from azc.shapes import N, Shape

__all__ = ["BACKENDS", "Backend", "Plan", "Prepared", "Step", "plan", "prepared"]

_SCORES = Shape(N, N)
_ROWS: frozenset[Place] = frozenset(("rows",))
Backend = Literal["sdpa"]
BACKENDS: tuple[Backend, ...] = ("sdpa",)
Step = Node | Region | DotProduct


@dataclass(frozen=True)
class Plan:
    """Steps, in an order in which operands come first."""

    steps: tuple[Step, ...]

    @property
    def unknown(self) -> tuple[Node, ...]:
        """Values of whose absent entries the rules of operations say nothing."""
        found: list[Node] = []
        for step in self.steps:
            if isinstance(step, Region):
                found += step.outputs
            elif isinstance(step, DotProduct):
                found.append(step.output)
        return tuple(found)

    @property
    def plain(self) -> frozenset[Node]:
        """Values of whole sequences that plain code computes."""
        return frozenset(step for step in self.steps if isinstance(step, Node))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A program that is ready to be lowered: with its masks, its facts and its plan.

    `cleared`: what stands in the padding of its inputs is set to 0 before anything else.
    `columns`: how far back the scores of plain code have them, None: to the first token.
    """

    graph: Graph
    time: Mapping[Node, Time]
    plan: Plan
    cleared: bool
    columns: int | None

    @cached_property
    def states(self) -> Mapping[Node, State]:
        """What is known of the absent entries of every value."""
        return _states(self.graph, self.time, self.plan, self.cleared)

    def reach(self, node: Node) -> int | None:
        """How far back the tokens are that a value of plain code has or reads; None: all."""
        source = node.args[0] if node.op == FILL else node
        if source.op == SO_FAR:
            reach: int | None = source.attrs.get("reach")
            return reach
        return reach_of(node, self.columns)


def prepared(
    graph: Graph,
    causal: bool = False,
    backends: Sequence[Backend] = BACKENDS,
    cleared: bool = False,
) -> Prepared:
    """A program with masks where plain code needs them.

    Raises `TimeFault` for a causal one without such a meaning.
    """
    time = times(graph) if causal else {}
    bare = plan(graph, time, backends)
    states = _states(graph, time, bare, cleared)
    columns = reach_of_columns(bare, states) if causal else None
    graph = Masks(states, time, bare.plain, columns).run(graph)
    time = times(graph) if causal else {}
    return Prepared(graph, time, plan(graph, time, backends), cleared, columns)


def _states(
    graph: Graph, time: Mapping[Node, Time], plan: Plan, cleared: bool
) -> Mapping[Node, State]:
    inputs: frozenset[Place] = _ROWS if cleared else frozenset()
    return presence(graph, inputs, bool(time), plan.unknown)


def reach_of_columns(plan: Plan, states: Mapping[Node, State]) -> int | None:
    """How many tokens before that of its row the scores of plain code need a column for;
    None for all.
    """
    radii: list[int] = []
    for step in plan.steps:
        if isinstance(step, DotProduct):
            continue
        if isinstance(step, Region):
            # A region has columns for all tokens.
            given = (arg for node in step.nodes for arg in node.args)
            if _SCORES in [each.shape for each in (*given, *step.outputs)]:
                return None
            continue
        for place, arg in enumerate(step.args):
            # Earlier rows have other columns.
            if arg.shape == _SCORES and not is_read_by_row(step, place):
                return None
        if step.shape == _SCORES:
            radius = states[step].radius
            if radius is None:
                return None
            radii.append(radius)
    return max(radii, default=None)


def plan(
    graph: Graph, time: Mapping[Node, Time], backends: Sequence[Backend] = BACKENDS
) -> Plan:
    """The plan of a program; `time` is empty for that of an encoder."""
    steps: list[Node | Region] = list(graph.nodes)
    if time:
        steps = schedule(graph, time)
    momentary = {
        node for step in steps if isinstance(step, Region) for node in step.nodes
    }
    served: Mapping[Node, DotProduct] = {}
    if "sdpa" in backends:
        served = dot_products(graph, momentary)
    inside = {node for each in served.values() for node in each.inside}
    return Plan(
        tuple(
            step if isinstance(step, Region) else served.get(step, step)
            for step in steps
            if step not in inside
        )
    )
