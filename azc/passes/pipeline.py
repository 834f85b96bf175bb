"""The passes, in order, as data."""

from __future__ import annotations

from typing import Protocol

from azc.check.program import AttentionSpec
from azc.ir.build import build_graph
from azc.ir.graph import Graph
from azc.passes.simplify import Simplify

__all__ = ["DEFAULT", "Pass", "optimise", "program_graph"]


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


def program_graph(program: AttentionSpec) -> Graph:
    """The graph of a program that is compiled: built, and after all passes.

    Whatever speaks of a compiled program (code, costs, keys, differences) reads it.
    """
    return optimise(build_graph(program))
