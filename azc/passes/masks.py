"""Insertion of the masks of plain code. Only this pass decides where they go.

An operation declares the values it needs in its operands' absent entries (`Absence`),
and the facts say what these entries hold; masks that would change nothing are left out.
In a causal model a row may read rows of an operand other than its own: then the cached
tokens are put before those of the current call (`so_far`).
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
    """A pass that inserts the masks that facts about a program's values require.

    `states` are facts about absent entries. `time` says how values change in a causal
    model; it is empty for an encoder. `plain` are the values of whole sequences that
    plain code computes. Other values have their own masks: a product served by
    `scaled_dot_product_attention` gets one as an argument, and code that computes
    moment by moment has different ones at each moment. `columns` limits how far back
    scores have columns; None means to the first token.
    """

    states: Mapping[Node, State]
    time: Mapping[Node, Time]
    plain: Collection[Node]
    columns: int | None = None

    def run(self, graph: Graph) -> Graph:
        """Return the same program with its masks."""
        return graph.rewritten(self._operation)

    def _operation(self, builder: GraphBuilder, node: Node, args: list[Node]) -> Node:
        if node not in self.plain:
            return builder.copied(node, args)
        args = [self._whole(node, i, arg, builder) for i, arg in enumerate(args)]
        states = tuple(self.states[arg] for arg in node.args)
        return masked(builder, node, args, states, self.states[node])

    def _whole(self, node: Node, place: int, arg: Node, builder: GraphBuilder) -> Node:
        """Return an operand, extended by the tokens so far if a row of the value needs
        them.
        """
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
    """Return a copy of an operation with masks on its arguments.

    Args:
        builder: The builder of the new graph.
        node: The operation.
        args: Its new arguments.
        states: The states of the arguments.
        result: The state of the result.
    """
    absence = operation(node.op).absence
    taken = list(args)
    for i, fill in enumerate(absence.fill(states, result)):
        left = None if fill is None else _needed(fill, states[i])
        if left is not None:
            taken[i] = builder.apply(FILL, [args[i]], {"fill": left})
    return builder.copied(node, taken, result.shape, absence.omits(states))


def _needed(fill: Fill, state: State) -> Fill | None:
    """Return the part of a fill that changes anything, or None."""
    places = fill.places
    if fill.value == 0.0:
        # A wider band may hold other values than 0.
        same = fill.radius == state.radius
        places -= state.zero if same else state.zero - {"band"}
    if not places:
        return None
    return Fill(fill.value, places, fill.radius if "band" in places else None)
