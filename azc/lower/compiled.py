"""Graph modules that are copied and pickled whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx
from torch.fx.node import map_aggregate

__all__ = ["CompiledModule"]

# Made anew from the graph.
_DERIVED = ("_graph", "_code", "_lineno_map", "_prologue_start")


@dataclass(frozen=True)
class _Place:
    """A node by its place among the nodes of a graph."""

    index: int


class CompiledModule(fx.GraphModule):
    """A graph module that copies and pickles give back as it was: its graph node by
    node, its class, and all that was set on it, hooks too.

    fx pickles the code and traces it again, which runs into whatever a function of the
    graph asks of its inputs, and leaves out what is neither module nor parameter.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """The graph as a list, and all else that the module holds."""
        return _restored, (*self._named(), self._state(), _nodes(self.graph))

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        """A copy that shares nothing."""
        kind, name = self._named()
        made = memo[id(self)] = kind.__new__(kind)
        state = copy.deepcopy(self._state(), memo)
        return _fill(made, name, state, _nodes(self.graph))

    def __copy__(self) -> CompiledModule:
        """A copy that shares modules and parameters."""
        state = {
            name: copy.copy(value) if isinstance(value, dict) else value
            for name, value in self._state().items()
        }
        return _restored(*self._named(), state, _nodes(self.graph))

    def _named(self) -> tuple[type[CompiledModule], str]:
        # fx makes a class for each module: the one below is ours, the name is its own.
        return type(self).__mro__[1], type(self).__name__

    def _state(self) -> dict[str, Any]:
        return {n: each for n, each in vars(self).items() if n not in _DERIVED}


def _restored(
    kind: type[CompiledModule],
    name: str,
    state: Mapping[str, Any],
    nodes: list[tuple[Any, ...]],
) -> CompiledModule:
    return _fill(kind.__new__(kind), name, state, nodes)


def _fill(
    made: CompiledModule,
    name: str,
    state: Mapping[str, Any],
    nodes: list[tuple[Any, ...]],
) -> CompiledModule:
    type(made).__name__ = name
    vars(made).update(state)
    made.graph = _graph(nodes)  # which writes the code
    return made


def _nodes(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """A graph without references from node to node, which would nest deep."""
    places = {node: _Place(index) for index, node in enumerate(graph.nodes)}

    def placed(argument: Any) -> Any:
        return places[argument] if isinstance(argument, fx.Node) else argument

    return [
        (
            node.op,
            node.target,
            map_aggregate(node.args, placed),
            map_aggregate(node.kwargs, placed),
            node.name,
            node.type,
        )
        for node in graph.nodes
    ]


def _graph(nodes: list[tuple[Any, ...]]) -> fx.Graph:
    """What `_nodes` was given."""
    graph = fx.Graph()
    made: list[fx.Node] = []

    def found(argument: Any) -> Any:
        return made[argument.index] if isinstance(argument, _Place) else argument

    for op, target, args, kwargs, name, kind in nodes:
        args, kwargs = map_aggregate(args, found), map_aggregate(kwargs, found)
        made.append(graph.create_node(op, target, args, kwargs, name, kind))
    return graph
