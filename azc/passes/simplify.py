"""Takes out operations that undo each other."""

from __future__ import annotations

from dataclasses import dataclass

from azc.ir.graph import INPUT, NUMBER, Graph, GraphBuilder, Node

__all__ = ["Simplify"]

_INVOLUTIONS = frozenset({"transpose", "neg"})


@dataclass(frozen=True)
class Simplify:
    """x.T.T = x and −(−x) = x: exact in every number format."""

    def run(self, graph: Graph) -> Graph:
        """The same program without such pairs."""
        builder = GraphBuilder()
        new: dict[Node, Node] = {}
        for node in graph.nodes:
            new[node] = self._node(node, new, builder)
            if node in graph.names:
                builder.names.setdefault(new[node], graph.names[node])
        return builder.finish(graph.name, graph.inputs, new[graph.output])

    def _node(self, node: Node, new: dict[Node, Node], builder: GraphBuilder) -> Node:
        if node.op == INPUT:
            return builder.input(node.name)
        if node.op == NUMBER:
            return builder.number(node.number)
        args = [new[arg] for arg in node.args]
        if node.op in _INVOLUTIONS and args[0].op == node.op:
            return args[0].args[0]
        return builder.apply(node.op, args, node.attrs, node.ordinal)
