"""Graph modules that copy and pickle completely, and share generated code."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

from torch import fx, nn
from torch.fx.node import map_aggregate

__all__ = ["CompiledModule", "again", "finished"]

# Attributes that are derived from the graph.
_DERIVED = ("_graph", "_shares_graph", "_code", "_lineno_map", "_prologue_start")
_Kind = TypeVar("_Kind", bound="CompiledModule")
_CONTENTS = ("_modules", "_parameters", "_buffers")


@dataclass(frozen=True)
class _Place:
    """A reference to a node by its index in the graph."""

    index: int


class CompiledModule(fx.GraphModule):
    """A graph module whose copies and pickles are complete: they keep the graph node by
    node, the class, and every attribute, hooks included.

    A plain `fx.GraphModule` pickles its code and traces it again. That fails where a
    function of the graph tests its inputs, and drops attributes that are neither
    modules nor parameters.
    """

    _shares_graph = False

    @property
    def graph(self) -> fx.Graph:
        """The graph. Changes to it do not affect modules that share the code."""
        if self._shares_graph:
            self._graph = _graph(_nodes(self._graph))
            self._graph.owning_module = self
            self._shares_graph = False
        return self._graph

    @graph.setter
    def graph(self, graph: fx.Graph) -> None:
        self._shares_graph = False
        fx.GraphModule.graph.fset(self, graph)  # type: ignore[attr-defined]

    def twin(self, root: nn.Module) -> Self:
        """Return a module with the same graph and code but the children, parameters and
        buffers of `root`, which have the same names.

        The code is shared, not generated again.
        """
        kind, name = self._named()
        made = cast(Self, kind.__new__(kind))
        self._shares_graph = True
        vars(made).update(_apart(vars(self)))
        vars(made).update((content, vars(root)[content]) for content in _CONTENTS)
        old, new = type(self), type(made)
        new.__name__ = name
        new.forward = old.forward
        new.__call__ = vars(old)["__call__"]  # type: ignore[method-assign]
        wrapped = vars(old)["_wrapped_call"]
        new._wrapped_call = type(wrapped)(new, wrapped.cls_call)  # type: ignore[attr-defined]
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the graph as a list of nodes, and all other attributes."""
        return _restored, (*self._named(), self._state(), _nodes(self._graph))

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        """Return a copy that shares nothing."""
        kind, name = self._named()
        made = memo[id(self)] = kind.__new__(kind)
        state = copy.deepcopy(self._state(), memo)
        return _fill(made, name, state, _nodes(self._graph))

    def __copy__(self) -> CompiledModule:
        """Return a copy that shares modules and parameters."""
        return _restored(*self._named(), _apart(self._state()), _nodes(self._graph))

    def _named(self) -> tuple[type[CompiledModule], str]:
        # fx creates a class for each module, with the name of the module. Our class is
        # the base of that.
        return type(self).__mro__[1], type(self).__name__

    def _state(self) -> dict[str, Any]:
        return {n: each for n, each in vars(self).items() if n not in _DERIVED}


def finished(kind: type[_Kind], root: nn.Module, graph: fx.Graph, name: str) -> _Kind:
    """Make a module of a complete graph, without its dead code.

    Args:
        kind: The class of the module.
        root: Holds the children, parameters and buffers of the module, in their order.
        graph: The graph.
        name: The name of the module's own class.
    """
    # The linter looks up the targets of calls in the owning module.
    graph.owning_module = root  # type: ignore[assignment]
    graph.eliminate_dead_code()
    graph.lint()
    made = kind(root, graph, name)
    vars(made).update((content, vars(root)[content]) for content in _CONTENTS)
    return made


def again(module: nn.Module) -> nn.Module:
    """Return a copy of a module without weights that shares no mutable attribute with
    it.
    """
    if isinstance(module, CompiledModule):
        made: nn.Module = module.twin(module)
    else:
        made = copy.copy(module)
    vars(made).update(_apart(vars(made)))
    for name, child in module.named_children():
        made.add_module(name, again(child))
    return made


def _apart(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the dicts and lists among the attributes of a module."""
    return {
        name: copy.copy(value) if isinstance(value, dict | list) else value
        for name, value in state.items()
    }


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
    """Return the nodes of a graph as tuples in which indices replace references.

    Pickled references would nest as deep as the graph.
    """
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
    """Build a graph from its nodes: undo `_nodes`."""
    graph = fx.Graph()
    made: list[fx.Node] = []

    def found(argument: Any) -> Any:
        return made[argument.index] if isinstance(argument, _Place) else argument

    for op, target, args, kwargs, name, kind in nodes:
        args, kwargs = map_aggregate(args, found), map_aggregate(kwargs, found)
        made.append(graph.create_node(op, target, args, kwargs, name, kind))
    return graph
