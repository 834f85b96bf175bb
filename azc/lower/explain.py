"""How an attention program is computed, in encoders and in decoders, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from azc.check.causality import causal_faults
from azc.check.program import AttentionSpec
from azc.diagnostics import Diagnostic
from azc.facts.time import is_read_by_row, times
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.lower.dot_product import DotProduct, may_stand_between
from azc.lower.plan import plan
from azc.lower.schedule import Region, running
from azc.ops.axes import Time
from azc.passes.pipeline import program_graph
from azc.shapes import D, N, Shape
from azc.source import Span

__all__ = ["Explanation", "Form", "explain"]

_SCORES = Shape(N, N)
SDPA, PLAIN = "scaled_dot_product_attention", "plain code"
CARRIED, MOMENTS = "states carried on", "token by token, exact and slow"


@dataclass(frozen=True)
class Form:
    """How a program is computed: `backends` in words, in order; `squared`: whether
    tensors of n × n numbers are made, and `why`: what stands in the way of better, and
    where it is written, if that is one place.
    """

    backends: tuple[str, ...]
    squared: bool
    why: str | None = None
    place: Span | None = None


@dataclass(frozen=True)
class Explanation:
    """A program in encoders and in decoders.

    `decoder` is None where the program has no causal meaning, for the `refusal`.
    `kept`: numbers that a decoder keeps for each token and head, as multiples of the
    head width and a rest, (d, 1); `states`: those that it keeps at all, (d², d, 1);
    `grows`: whether it keeps a row of all scores for each token as well.
    """

    name: str
    encoder: Form
    decoder: Form | None
    refusal: Diagnostic | None
    kept: tuple[int, int]
    states: tuple[int, int, int]
    grows: bool

    def bytes_a_token(self, hidden: int, heads: int, size: int = 4) -> int:
        """What a layer keeps for each token, in bytes."""
        wide, narrow = self.kept
        return (wide * hidden + narrow * heads) * size

    def bytes_of_states(self, hidden: int, heads: int, size: int = 4) -> int:
        """What a layer keeps whatever the number of tokens, in bytes."""
        square, wide, narrow = self.states
        width = hidden // heads
        return heads * (square * width * width + wide * width + narrow) * size


def explain(spec: AttentionSpec) -> Explanation:
    """How a program is computed."""
    graph = program_graph(spec)
    encoder = _form(graph, {})
    faults = causal_faults(spec)
    if faults:
        return Explanation(
            spec.name, encoder, None, faults[0], (0, 0), (0, 0, 0), False
        )
    time = times(graph)
    kept, states = _kept(graph, time)
    wide = {x for x in kept if D in (x.shape.rows, x.shape.cols)}
    squares = {x for x in kept if x.shape == _SCORES}
    return Explanation(
        name=spec.name,
        encoder=encoder,
        decoder=_form(graph, time),
        refusal=None,
        kept=(len(wide), len(kept - wide - squares)),
        states=_sizes(states),
        grows=bool(squares),
    )


def _sizes(shapes: Iterable[Shape]) -> tuple[int, int, int]:
    wide = [(shape.rows is D) + (shape.cols is D) for shape in shapes]
    return wide.count(2), wide.count(1), wide.count(0)


def _form(graph: Graph, time: Mapping[Node, Time]) -> Form:
    backends: dict[str, None] = {}
    squared = False
    for step in plan(graph, time).steps:
        if isinstance(step, DotProduct):
            backends[SDPA] = None
            squared |= bool(step.biases) or step.radius is not None
        elif isinstance(step, Region):
            whole = any(
                _is_kept(node, place, arg, time, momentary=True)
                for node in step.nodes
                if node.op != "transpose" and not running(node, time)
                for place, arg in enumerate(node.args)
            )
            backends[MOMENTS if whole else CARRIED] = None
        elif step.op not in (INPUT, NUMBER):
            squared |= step.shape == _SCORES
            backends.setdefault(PLAIN)
    why, place = _in_the_way(graph) if squared else (None, None)
    return Form(tuple(backends), squared, why, place)


def _in_the_way(graph: Graph) -> tuple[str, Span | None]:
    """Why scores are kept: what is between a product and its softmax, or lacks."""
    served = plan(graph, {})
    inside = {
        node
        for step in served.steps
        if isinstance(step, DotProduct)
        for node in step.inside
    }
    for node in graph.nodes:
        if node in inside or node.shape != _SCORES or may_stand_between(node):
            continue
        if node.op == "softmax":
            message = "its softmax is read by more than a product with values"
            return message, node.span
        if node.op == "matmul" and _SCORES not in [arg.shape for arg in node.args]:
            continue  # the product itself
        return f"`{node.op}` on scores", node.span
    if inside:
        near = (node.span for node in graph.nodes if node.op in ("window", "alibi"))
        return "a mask of n × n, for what is near", next(near)
    return "no softmax of one product", None


def _kept(
    graph: Graph, time: Mapping[Node, Time]
) -> tuple[frozenset[Node], tuple[Shape, ...]]:
    """The streams that later tokens read, and the shapes of what is carried on."""
    kept: set[Node] = set()
    states: list[Shape] = []
    for step in plan(graph, time).steps:
        if isinstance(step, DotProduct):
            kept |= {step.key, step.value}
            continue
        nodes = step.nodes if isinstance(step, Region) else (step,)
        for node in nodes:
            if node.op in (INPUT, NUMBER, "transpose"):
                continue
            carried = running(node, time) if isinstance(step, Region) else None
            if carried is not None:
                states += carried.shapes
                continue
            for place, arg in enumerate(node.args):
                if _is_kept(node, place, arg, time, isinstance(step, Region)):
                    kept.add(arg)
    return frozenset(kept), tuple(states)


def _is_kept(
    node: Node, place: int, arg: Node, time: Mapping[Node, Time], momentary: bool
) -> bool:
    later = momentary or node.shape.rows is N  # a row of it reads earlier tokens
    if time[arg] is Time.STREAM:
        return later and not is_read_by_row(node, place)
    return later and time[arg] is Time.MIRROR
