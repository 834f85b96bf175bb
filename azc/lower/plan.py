"""Which part of a program is computed how.

A plan is a list of steps: a value of whole sequences by plain code; a `Region` of values
moment by moment; or what a backend serves as a whole. A backend is a function from a
graph to the parts that it can serve; the first that serves a value has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from azc.ir.graph import Graph, Node
from azc.lower.dot_product import DotProduct, dot_products
from azc.lower.schedule import Region, schedule
from azc.ops.axes import Time

__all__ = ["BACKENDS", "Backend", "Plan", "Step", "plan"]

Backend = Literal["sdpa"]
BACKENDS: tuple[Backend, ...] = ("sdpa",)
Step = Node | Region | DotProduct


@dataclass(frozen=True)
class Plan:
    """Steps, in an order in which operands come first."""

    steps: tuple[Step, ...]

    @property
    def unknown(self) -> tuple[Node, ...]:
        """Values of whose absent entries plain code's rules say nothing."""
        found: list[Node] = []
        for step in self.steps:
            if isinstance(step, Region):
                found += step.outputs
            elif isinstance(step, DotProduct):
                found.append(step.output)
        return tuple(found)


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
