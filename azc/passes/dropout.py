"""Insertion of attention dropout."""

from __future__ import annotations

from dataclasses import dataclass

from azc.ir.graph import Graph, GraphBuilder, Node
from azc.ops.core import DROPOUT
from azc.shapes import N, Shape

__all__ = ["Dropout"]

_SCORES = Shape(N, N)


@dataclass(frozen=True)
class Dropout:
    """A pass that applies dropout with a `rate` to the softmax of scores (Vaswani et
    al. 2017).
    """

    rate: float

    def run(self, graph: Graph) -> Graph:
        """Return the same program with dropout."""
        return graph.rewritten(self._operation) if self.rate else graph

    def _operation(self, builder: GraphBuilder, node: Node, args: list[Node]) -> Node:
        made = builder.copied(node, args)
        if node.op != "softmax" or node.shape != _SCORES:
            return made
        return builder.apply(DROPOUT, [made], {"rate": self.rate})
