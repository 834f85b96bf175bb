"""The intermediate representation: an immutable, hash-consed graph of operations.

    graph = inputs, output
    node  = input name | number value | op(args) {attrs}, each with its type

Equal operations on equal arguments are one node. An operation with learned weights is
the exception: each one written has weights of its own, told apart by `ordinal`.

What is built from a program has operations of the language alone; passes may put in those
of `azc.ops.core`, and what an operation `omits` of its operands.
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
    """One value. Two nodes of one graph are equal when they are the same object.

    `index` is its place in the order of creation: arguments come first. `omits`: of each
    argument, what is absent of its rows where the operation has to know; empty where it
    need not. `span`: the expression that it was made of first, None where no text has it;
    of what a pass puts in, that of the operation it is put in for.
    """

    index: int
    op: str
    args: tuple[Node, ...] = field(repr=False)  # a graph written as a tree may be huge
    attrs: Mapping[str, Any]  # integers, but for core operations
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
    """A program: what leads to `output`, in an order in which arguments come first.

    `inputs` are all parameters, also those that the output does not depend on. `names`
    are the author's, for the nodes that have one.
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
        """A graph with, for each operation, what is made of it and its new arguments."""
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
        """The name of a learned weight, unique in the graph: `conv_0_kernel`."""
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
    """Makes nodes, each once. `span`: the expression that they are made of."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._learned: dict[str, int] = {}
        self.names: dict[Node, str] = {}
        self.span: Span | None = None

    def _intern(self, key: tuple[object, ...], node: Node) -> Node:
        return self._nodes.setdefault(key, node)

    def input(self, name: str, shape: Shape = TOKENS) -> Node:
        """What is given under a name: of a program a parameter, [n, d]."""
        node = Node(len(self._nodes), INPUT, (), {}, shape, name=name, span=self.span)
        return self._intern((INPUT, name), node)

    def number(self, value: float) -> Node:
        """A constant of type [1, 1]."""
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
        """An operation; `ordinal` and `shape` are kept when a pass copies one.

        Raises `TypeFault` for operand types that it does not take.
        """
        spec = operation(op)
        args = tuple(args)
        if not isinstance(attrs, MappingProxyType):  # that of another node
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
        """An operation as another one, of other arguments, with the same weights."""
        shape = shape or node.shape
        return self.apply(node.op, args, node.attrs, node.ordinal, shape, omits)

    def finish(self, name: str, inputs: tuple[str, ...], output: Node) -> Graph:
        """The graph that ends in `output`."""
        if output.shape != TOKENS:
            raise InternalError(f"{name} has the result type {output.shape}")
        return Graph(name, inputs, output, MappingProxyType(dict(self.names)))
