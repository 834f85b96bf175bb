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
from azc.facts.time import times
from azc.ir.graph import Graph, Node
from azc.lower.dot_product import DotProduct, dot_products
from azc.lower.schedule import Region, schedule
from azc.ops.axes import Time
from azc.ops.contract import Place, State
from azc.passes.masks import Masks

__all__ = ["BACKENDS", "Backend", "Plan", "Prepared", "Step", "plan", "prepared"]

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
    """

    graph: Graph
    time: Mapping[Node, Time]
    plan: Plan
    cleared: bool

    @cached_property
    def states(self) -> Mapping[Node, State]:
        """What is known of the absent entries of every value."""
        return _states(self.graph, self.time, self.plan, self.cleared)


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
    graph = Masks(states, time, bare.plain).run(graph)
    time = times(graph) if causal else {}
    return Prepared(graph, time, plan(graph, time, backends), cleared)


def _states(
    graph: Graph, time: Mapping[Node, Time], plan: Plan, cleared: bool
) -> Mapping[Node, State]:
    inputs: frozenset[Place] = _ROWS if cleared else frozenset()
    return presence(graph, inputs, bool(time), plan.unknown)


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
