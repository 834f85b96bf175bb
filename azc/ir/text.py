"""The text form of graphs: writing and reading.

    graph softplus_key(q, k) {
      %0 = input k : [n, d]
      %1 = neg %0 : [n, d]
      %2 = window %1 {radius = 16} : [n, n]
      %3 = conv %0 {kernel = 3} #0 : [n, d]
      %4 = number 0.5 : [1, 1]
      %5 = fill %2 {-inf: band 16, cols} : [n, n]
      %6 = mean %2 omits (band 16, cols) : [n, 1]
      return %1
    }

Passes insert lines like the last two: a mask, and a mean that leaves entries out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from azc.diagnostics import InternalError
from azc.ir.graph import INPUT, NUMBER, Graph, GraphBuilder, Node
from azc.ops.contract import Absent, Fill, Place, TypeFault
from azc.ops.core import FILL
from azc.ops.table import operation

__all__ = ["format_graph", "parse_graph"]


def format_graph(graph: Graph) -> str:
    """Write a graph as text: equal texts mean equal graphs, apart from names of
    values.
    """
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
    words = [node.op]
    for i, arg in enumerate(node.args):
        words.append(f"%{number[arg]}")
        absent = node.omits[i] if node.omits else None
        if absent is not None:
            words.append(f"omits ({_places(absent)})")
    if node.op == FILL:
        fill = node.attrs["fill"]
        words.append(f"{{{fill.value:g}: {_places(fill)}}}")
    elif node.attrs:
        pairs = ", ".join(f"{k} = {v}" for k, v in sorted(node.attrs.items()))
        words.append(f"{{{pairs}}}")
    if node.weights:
        words.append(f"#{node.ordinal}")
    return " ".join(words)


def _places(where: Fill | Absent) -> str:
    """Format places: `band 16, cols`."""
    return ", ".join(
        f"band {where.radius}" if place == "band" else place
        for place in sorted(where.places)
    )


_HEAD = re.compile(r"graph (\w+)\(([\w, ]*)\) \{")
_ARG = re.compile(r"%(\d+)(?: omits \(([^)]+)\))?")
_LINE = re.compile(
    r"%(?P<to>\d+) = (?P<op>\w+)(?P<args>(?: %\d+(?: omits \([^)]+\))?)*)"
    r"(?: (?P<leaf>[^{#:% ]+))?"
    r"(?: \{(?P<attrs>[^}]*)\})?(?: #(?P<ordinal>\d+))? : (?P<shape>\[\w, \w\])"
)


def parse_graph(text: str) -> Graph:
    """Read a graph that `format_graph` wrote.

    Raises:
        ValueError: If the text is no such graph.
    """
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
        raise ValueError(f"the returned value is not defined: {last}")
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
        found = _ARG.findall(match["args"])
        args = [nodes[number] for number, _ in found]
        spec = operation(op)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is not defined") from error
    omits = tuple(Absent(*_where(places)) if places else None for _, places in found)
    attrs = _attrs(op, match["attrs"] or "", [each.attrs for each in spec.samples])
    if len(args) != len(spec.operands) or leaf:
        raise ValueError(f"not the operands of {op}: {match[0]}")
    ordinal = int(match["ordinal"]) if match["ordinal"] else None
    try:
        return builder.apply(op, args, attrs, ordinal, omits=omits)
    except TypeFault as error:
        raise ValueError(error.message) from error


def _attrs(op: str, text: str, samples: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Read attributes; their types are those of the sample that has the same
    attributes.
    """
    if op == FILL:
        value, _, places = text.partition(": ")
        return {"fill": Fill(float(value), *_where(places))}
    pairs = dict(pair.split(" = ") for pair in text.split(", ") if pair)
    like = next((each for each in samples if set(each) == set(pairs)), None)
    if like is None:
        raise ValueError(f"not the attributes of {op}: {text}")
    return {name: type(like[name])(value) for name, value in pairs.items()}


def _where(text: str) -> tuple[frozenset[Place], int | None]:
    """Read the places that `_places` wrote, and the radius of the band."""
    words = dict(part.partition(" ")[::2] for part in text.split(", "))
    known: dict[str, Place] = {place: place for place in get_args(Place)}
    if not set(words) <= set(known):
        raise ValueError(f"no such places: {text}")
    radius = int(words["band"]) if "band" in words else None
    return frozenset(known[word] for word in words), radius
