"""The text form of graphs, written and read.

graph softplus_key(q, k) {
  %0 = input k : [n, d]
  %1 = neg %0 : [n, d]
  %2 = window %1 {radius = 16} : [n, n]
  %3 = conv %0 {kernel = 3} #0 : [n, d]
  %4 = number 0.5 : [1, 1]
  return %1
}
"""

from __future__ import annotations

import re

from azc.diagnostics import InternalError
from azc.ir.graph import INPUT, NUMBER, Graph, GraphBuilder, Node
from azc.ops.contract import TypeFault
from azc.ops.table import load_ops

__all__ = ["format_graph", "parse_graph"]


def format_graph(graph: Graph) -> str:
    """The graph as text: equal texts mean equal graphs, names of values apart."""
    number = {node: i for i, node in enumerate(graph.nodes)}
    lines = [f"graph {graph.name}({', '.join(graph.inputs)}) {{"]
    for node in graph.nodes:
        body = _body(node, number)
        lines.append(f"  %{number[node]} = {body} : {node.shape}")
    lines.append(f"  return %{number[graph.output]}")
    return "\n".join([*lines, "}"]) + "\n"


def _body(node: Node, number: dict[Node, int]) -> str:
    if node.op == INPUT:
        return f"input {node.name}"
    if node.op == NUMBER:
        return f"number {node.number!r}"
    words = [node.op, *(f"%{number[arg]}" for arg in node.args)]
    if node.attrs:
        pairs = ", ".join(f"{k} = {v}" for k, v in sorted(node.attrs.items()))
        words.append(f"{{{pairs}}}")
    if node.weights:
        words.append(f"#{node.ordinal}")
    return " ".join(words)


_HEAD = re.compile(r"graph (\w+)\(([\w, ]*)\) \{")
_LINE = re.compile(
    r"%(?P<to>\d+) = (?P<op>\w+)(?P<args>(?: %\d+)*)(?: (?P<leaf>[^{#:% ]+))?"
    r"(?: \{(?P<attrs>[^}]*)\})?(?: #(?P<ordinal>\d+))? : (?P<shape>\[\w, \w\])"
)


def parse_graph(text: str) -> Graph:
    """The graph that `format_graph` wrote. Raises `ValueError` for any other text."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    head = _HEAD.fullmatch(lines[0]) if lines else None
    if head is None:
        raise ValueError("a graph starts with `graph name(inputs) {`")
    inputs = tuple(name for name in head[2].replace(" ", "").split(",") if name)
    *body, last, closing = lines[1:] if len(lines) > 2 else ["", "", ""]
    if closing != "}" or not last.startswith("return %"):
        raise ValueError("a graph ends with `return %…` and `}`")
    builder = GraphBuilder()
    nodes: dict[str, Node] = {}
    for line in body:
        match = _LINE.fullmatch(line)
        if match is None or match["to"] in nodes:
            raise ValueError(f"not a line of a graph: {line}")
        node = _node(match, inputs, nodes, builder)
        if str(node.shape) != match["shape"]:
            raise ValueError(f"the type is {node.shape}: {line}")
        nodes[match["to"]] = node
    output = nodes.get(last.removeprefix("return %"))
    if output is None:
        raise ValueError(f"what is returned was not made: {last}")
    try:
        return builder.finish(head[1], inputs, output)
    except InternalError as error:
        raise ValueError(str(output.shape)) from error


def _node(
    match: re.Match[str],
    inputs: tuple[str, ...],
    nodes: dict[str, Node],
    builder: GraphBuilder,
) -> Node:
    op, leaf = match["op"], match["leaf"]
    if op == INPUT:
        if leaf not in inputs:
            raise ValueError(f"not an input of the graph: {leaf}")
        return builder.input(leaf)
    if op == NUMBER:
        return builder.number(float(leaf or ""))
    try:
        args = [nodes[word.removeprefix("%")] for word in match["args"].split()]
        spec = load_ops()[op]
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is not there") from error
    pairs = [pair.split(" = ") for pair in (match["attrs"] or "").split(", ") if pair]
    attrs = {name: int(value) for name, value in pairs}
    if set(attrs) != {attribute.name for attribute in spec.attrs}:
        raise ValueError(f"not the attributes of {op}: {match['attrs']}")
    if len(args) != len(spec.operands) or leaf:
        raise ValueError(f"not the operands of {op}: {match[0]}")
    ordinal = int(match["ordinal"]) if match["ordinal"] else None
    try:
        return builder.apply(op, args, attrs, ordinal)
    except TypeFault as error:
        raise ValueError(error.message) from error
