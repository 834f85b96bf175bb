"""Puts in the masks of what is computed by plain code: the one place that decides where
they go.

An operation says what it needs in its operands' absent entries (`Absence`), the facts say
what stands there; a mask that changes nothing is not put in. In a causal model a row may
take more from an operand than its own row: the tokens before those that a model is called
with are put before it first (`so_far`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from azc.facts.time import axis_so_far, reach_of
from azc.ir.graph import Graph, GraphBuilder, Node
from azc.ops.axes import Time
from azc.ops.contract import Fill, State
from azc.ops.core import FILL, SO_FAR
from azc.ops.table import operation

__all__ = ["Masks", "masked"]


@dataclass(frozen=True)
class Masks:
    """Masks in a program, as facts about its values ask for them.

    `states`: what is known of absent entries. `time`: how values come about in a causal
    model; empty in an encoder. `plain`: values of whole sequences that plain code
    computes. The others have masks of their own: a product that
    `scaled_dot_product_attention` serves is given one, and what is computed moment by
    moment has others at every moment. `columns`: how far back scores have them, None:
    to the first token.
    """

    states: Mapping[Node, State]
    time: Mapping[Node, Time]
    plain: Collection[Node]
    columns: int | None = None

    def run(self, graph: Graph) -> Graph:
        """The same program with its masks."""
        return graph.rewritten(self._operation)

    def _operation(self, builder: GraphBuilder, node: Node, args: list[Node]) -> Node:
        if node not in self.plain:
            return builder.copied(node, args)
        args = [self._whole(node, i, arg, builder) for i, arg in enumerate(args)]
        states = tuple(self.states[arg] for arg in node.args)
        return masked(builder, node, args, states, self.states[node])

    def _whole(self, node: Node, place: int, arg: Node, builder: GraphBuilder) -> Node:
        """An operand, of the tokens so far where a row of the value needs them."""
        axis = axis_so_far(node, place, self.time)
        if axis is None:
            return arg
        attrs: dict[str, int] = {"axis": axis}
        reach = reach_of(node, self.columns)
        if reach is not None:
            attrs["reach"] = reach
        return builder.apply(SO_FAR, [arg], attrs)


def masked(
    builder: GraphBuilder,
    node: Node,
    args: Sequence[Node],
    states: tuple[State, ...],
    result: State,
) -> Node:
    """An operation of other arguments, of these states, with masks between."""
    absence = operation(node.op).absence
    taken = list(args)
    for i, fill in enumerate(absence.fill(states, result)):
        left = None if fill is None else _needed(fill, states[i])
        if left is not None:
            taken[i] = builder.apply(FILL, [args[i]], {"fill": left})
    return builder.copied(node, taken, result.shape, absence.omits(states))


def _needed(fill: Fill, state: State) -> Fill | None:
    """What of a fill changes anything."""
    places = fill.places
    if fill.value == 0.0:
        # Of a wider band less is known.
        same = fill.radius == state.radius
        places -= state.zero if same else state.zero - {"band"}
    if not places:
        return None
    return Fill(fill.value, places, fill.radius if "band" in places else None)
