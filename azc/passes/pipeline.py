"""The pipeline of passes, as data."""

from __future__ import annotations

from typing import Protocol

from azc.check.program import AttentionSpec
from azc.ir.build import build_graph
from azc.ir.graph import Graph
from azc.passes.simplify import Simplify

__all__ = ["DEFAULT", "Pass", "optimise", "program_graph"]


class Pass(Protocol):
    """A pass: rewrites a graph to one with the same meaning."""

    def run(self, graph: Graph) -> Graph:
        """Return the new graph."""


DEFAULT: tuple[Pass, ...] = (Simplify(),)


def optimise(graph: Graph, passes: tuple[Pass, ...] = DEFAULT) -> Graph:
    """Run all passes on a graph."""
    for each in passes:
        graph = each.run(graph)
    return graph


def program_graph(program: AttentionSpec) -> Graph:
    """Return the graph of a program as it is compiled: built and optimised.

    Code, costs, keys and differences of programs are all computed from it.
    """
    return optimise(build_graph(program))
