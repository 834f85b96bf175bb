"""The passes, in order, as data."""

from __future__ import annotations

from typing import Protocol

from azc.ir.graph import Graph
from azc.passes.simplify import Simplify

__all__ = ["DEFAULT", "Pass", "optimise"]


class Pass(Protocol):
    """A pass: a graph of the same meaning comes out."""

    def run(self, graph: Graph) -> Graph:
        """The new graph."""


DEFAULT: tuple[Pass, ...] = (Simplify(),)


def optimise(graph: Graph, passes: tuple[Pass, ...] = DEFAULT) -> Graph:
    """The graph after all passes."""
    for each in passes:
        graph = each.run(graph)
    return graph
