"""Plans that divide a program between plain code, regions and backends.

A step of a plan is a value of whole sequences, computed by plain code; a `Region` of values
that are computed moment by moment; or a part that a backend computes as a whole. A backend
is a function from a graph to the parts that it can compute.

Backends match the program as it was written. So a plan is made first, then masks are
inserted only where plain code needs them. The plan of the resulting graph is the same, with
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
    """The steps of a program, in an order in which operands come first."""

    steps: tuple[Step, ...]

    @property
    def unknown(self) -> tuple[Node, ...]:
        """Values of regions and backends, whose absent entries may hold anything."""
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
    """A program that is ready to be lowered.

    Attributes:
        graph: The program with its masks.
        time: The times of its values; empty for an encoder.
        plan: The plan of `graph`.
        cleared: Whether the padding of the inputs is set to 0 before anything else.
        columns: The number of earlier tokens for which scores of plain code have
            columns, None for all.
    """

    graph: Graph
    time: Mapping[Node, Time]
    plan: Plan
    cleared: bool
    columns: int | None

    @cached_property
    def states(self) -> Mapping[Node, State]:
        """Facts about the absent entries of every value."""
        return _states(self.graph, self.time, self.plan, self.cleared)

    def reach(self, node: Node) -> int | None:
        """Return the number of earlier tokens that a value of plain code reads or holds,
        None for all.
        """
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
    """Plan a program, and insert masks where plain code needs them.

    Args:
        graph: The program.
        causal: Whether later tokens are hidden from every token.
        backends: The backends that may compute parts of the program.
        cleared: Whether the padding of the inputs is set to 0 before anything else.

    Raises:
        TimeFault: If the program has no causal meaning and `causal` is set.
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
    """Return the number of tokens before its own for which a row of scores of plain code
    needs columns, None for all.
    """
    radii: list[int] = []
    for step in plan.steps:
        if isinstance(step, DotProduct):
            continue
        if isinstance(step, Region):
            # Scores in a region have columns for all tokens.
            given = (arg for node in step.nodes for arg in node.args)
            if _SCORES in [each.shape for each in (*given, *step.outputs)]:
                return None
            continue
        for place, arg in enumerate(step.args):
            # An earlier row would start at another column.
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
    """Make the plan of a program.

    Args:
        graph: The program.
        time: The times of its values; empty for an encoder.
        backends: The backends that may compute parts of it.
    """
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
