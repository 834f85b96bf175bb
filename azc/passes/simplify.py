"""Removal of operations that undo each other."""

from __future__ import annotations

from dataclasses import dataclass

from azc.ir.graph import Graph, GraphBuilder, Node

__all__ = ["Simplify"]

_INVOLUTIONS = frozenset({"transpose", "neg"})


@dataclass(frozen=True)
class Simplify:
    """A pass that replaces x.T.T by x and −(−x) by x: exact in every number format."""

    def run(self, graph: Graph) -> Graph:
        """Return the same program without such pairs."""
        return graph.rewritten(_operation)


def _operation(builder: GraphBuilder, node: Node, args: list[Node]) -> Node:
    if node.op in _INVOLUTIONS and args[0].op == node.op:
        return args[0].args[0]
    return builder.copied(node, args)
