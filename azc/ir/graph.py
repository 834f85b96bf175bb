"""The intermediate representation: an immutable, hash-consed graph of operations.

    graph = inputs, output
    node  = input name | number value | op(args) {attrs}, each with its type

Equal operations on equal arguments are one node. Operations with learned weights are the
exception: each occurrence has its own weights and a different `ordinal`.

Graphs built from programs have only operations of the language. Passes may insert those
of `azc.ops.core`, and set the entries that an operation `omits` of its operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from azc.diagnostics import InternalError
from azc.ops.contract import Absent, Weight
from azc.ops.table import operation
from azc.shapes import SCALAR, TOKENS, Shape
from azc.source import Span

__all__ = ["INPUT", "NUMBER", "Graph", "GraphBuilder", "Node"]

INPUT = "input"
NUMBER = "number"


@dataclass(frozen=True, eq=False)
class Node:
    """One value. Nodes of a graph are compared by identity.

    `index` is the position in the order of creation: arguments come first. `omits`
    holds, for each argument, its absent entries if the operation must leave them out;
    it is empty if the operation need not. `span` is the expression that the node was
    first made from, or None; an operation that a pass inserts has the span of the
    operation it was inserted for.
    """

    index: int
    op: str
    args: tuple[Node, ...] = field(repr=False)  # a graph written as a tree may be huge
    attrs: Mapping[str, Any]  # integers, except in core operations
    shape: Shape
    name: str = ""
    number: float = 0.0
    ordinal: int = 0
    omits: tuple[Absent | None, ...] = ()
    span: Span | None = field(default=None, repr=False)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The learned weights of the operation."""
        if self.op in (INPUT, NUMBER):
            return ()
        return operation(self.op).weights(self.attrs)


@dataclass(frozen=True, eq=False)
class Graph:
    """A program: the nodes that `output` depends on, arguments first.

    `inputs` are all parameters, including those that the output does not depend on.
    `names` are the names that the author gave to nodes.
    """

    name: str
    inputs: tuple[str, ...]
    output: Node
    names: Mapping[Node, str] = field(repr=False)
    nodes: tuple[Node, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", _reachable(self.output))

    def rewritten(
        self, operation: Callable[[GraphBuilder, Node, list[Node]], Node]
    ) -> Graph:
        """Rebuild the graph.

        Args:
            operation: Called with a builder, each operation and its new arguments;
                returns the node that replaces it.
        """
        builder = GraphBuilder()
        new: dict[Node, Node] = {}
        for node in self.nodes:
            builder.span = node.span
            if node.op == INPUT:
                new[node] = builder.input(node.name, node.shape)
            elif node.op == NUMBER:
                new[node] = builder.number(node.number)
            else:
                new[node] = operation(builder, node, [new[arg] for arg in node.args])
            if node in self.names:
                builder.names.setdefault(new[node], self.names[node])
        names = MappingProxyType(builder.names)
        return replace(self, output=new[self.output], names=names)

    def weight_name(self, node: Node, weight: Weight) -> str:
        """Return the name of a learned weight, unique in the graph: `conv_0_kernel`."""
        return f"{node.op}_{node.ordinal}_{weight.name}"

    @property
    def weights(self) -> tuple[tuple[str, Weight], ...]:
        """All learned weights, with their names."""
        return tuple(
            (self.weight_name(node, weight), weight)
            for node in self.nodes
            for weight in node.weights
        )


def _reachable(output: Node) -> tuple[Node, ...]:
    seen: set[Node] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.args)
    return tuple(sorted(seen, key=lambda node: node.index))


class GraphBuilder:
    """Builder of graphs, which makes equal nodes once. `span` is the expression of new
    nodes.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._learned: dict[str, int] = {}
        self.names: dict[Node, str] = {}
        self.span: Span | None = None

    def _intern(self, key: tuple[object, ...], node: Node) -> Node:
        return self._nodes.setdefault(key, node)

    def input(self, name: str, shape: Shape = TOKENS) -> Node:
        """Return the node of an input; a parameter of a program has type [n, d]."""
        node = Node(len(self._nodes), INPUT, (), {}, shape, name=name, span=self.span)
        return self._intern((INPUT, name), node)

    def number(self, value: float) -> Node:
        """Return the node of a constant of type [1, 1]."""
        value = float(value)
        node = Node(
            len(self._nodes), NUMBER, (), {}, SCALAR, number=value, span=self.span
        )
        return self._intern((NUMBER, value), node)

    def apply(
        self,
        op: str,
        args: Iterable[Node],
        attrs: Mapping[str, Any] | None = None,
        ordinal: int | None = None,
        shape: Shape | None = None,
        omits: tuple[Absent | None, ...] = (),
    ) -> Node:
        """Return the node of an operation.

        Args:
            op: The name of the operation.
            args: The operands.
            attrs: The attributes.
            ordinal: The ordinal of the weights, to share those of a copied
                operation.
            shape: The type of the result, if a pass copies an operation.
            omits: The absent entries of each operand that the operation leaves out.

        Raises:
            TypeFault: If the operation does not take operands of these types.
        """
        spec = operation(op)
        args = tuple(args)
        if not isinstance(attrs, MappingProxyType):  # not shared with another node
            attrs = MappingProxyType(dict(attrs or {}))
        if shape is None:
            shape = spec.result(tuple(arg.shape for arg in args))
        if not any(omits):
            omits = ()
        learned = bool(spec.weights(attrs))
        if not learned:
            ordinal = 0
        elif ordinal is None:
            ordinal = self._learned.get(op, 0)
        if learned:
            assert ordinal is not None
            self._learned[op] = max(self._learned.get(op, 0), ordinal + 1)
        pairs = tuple(sorted(attrs.items())) if attrs else ()
        key = (op, args, pairs, ordinal, omits)
        node = Node(
            len(self._nodes),
            op,
            args,
            attrs,
            shape,
            ordinal=ordinal or 0,
            omits=omits,
            span=self.span,
        )
        return self._intern(key, node)

    def copied(
        self,
        node: Node,
        args: Iterable[Node],
        shape: Shape | None = None,
        omits: tuple[Absent | None, ...] = (),
    ) -> Node:
        """Return a copy of an operation with other arguments and the same weights."""
        shape = shape or node.shape
        return self.apply(node.op, args, node.attrs, node.ordinal, shape, omits)

    def finish(self, name: str, inputs: tuple[str, ...], output: Node) -> Graph:
        """Return the graph that ends in `output`."""
        if output.shape != TOKENS:
            raise InternalError(f"{name} has the result type {output.shape}")
        return Graph(name, inputs, output, MappingProxyType(dict(self.names)))
