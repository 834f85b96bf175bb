"""How an attention program is computed, in encoders and in decoders, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from azc.check.causality import causal_faults
from azc.check.program import AttentionSpec, ConvUse, ModelSpec
from azc.diagnostics import Diagnostic
from azc.facts.time import axis_so_far, is_read_by_row, reach_of, times
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.lower.dot_product import DotProduct, may_stand_between
from azc.lower.plan import plan, prepared
from azc.lower.schedule import Region, running
from azc.ops.axes import Time
from azc.passes.pipeline import program_graph
from azc.shapes import D, N, Shape
from azc.source import Span

__all__ = ["CacheSize", "Explanation", "Form", "cache_size", "explain"]

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
    head width and a rest, (d, 1); `windows`: those of the tokens that a window or a
    convolution reaches, (d, 1) in all; `states`: those of what is carried on, (d², d, 1);
    `grows`: whether it keeps a row of all scores for each token as well.
    """

    name: str
    encoder: Form
    decoder: Form | None
    refusal: Diagnostic | None
    kept: tuple[int, int]
    windows: tuple[int, int]
    states: tuple[int, int, int]
    grows: bool

    def bytes_a_token(self, hidden: int, heads: int, size: int = 4) -> int:
        """What a layer keeps for each token, in bytes."""
        wide, narrow = self.kept
        return (wide * hidden + narrow * heads) * size

    def bytes_of_windows(self, hidden: int, heads: int, size: int = 4) -> int:
        """What a layer keeps at most of the tokens that windows and convolutions reach,
        in bytes.
        """
        wide, narrow = self.windows
        return (wide * hidden + narrow * heads) * size

    def bytes_of_states(self, hidden: int, heads: int, size: int = 4) -> int:
        """What a layer keeps whatever the number of tokens, in bytes."""
        square, wide, narrow = self.states
        width = hidden // heads
        return heads * (square * width * width + wide * width + narrow) * size

    def bytes_in_all(self, hidden: int, heads: int, size: int = 4) -> int:
        """What a layer keeps beside each token's, in bytes."""
        sizes = (hidden, heads, size)
        return self.bytes_of_windows(*sizes) + self.bytes_of_states(*sizes)


@dataclass(frozen=True)
class CacheSize:
    """Bytes that a decoder keeps of one sequence: so many for `each_token`, and so many
    `in_all` of states and of what windows and convolutions reach, once that is full.
    `grows`: it keeps a row of all scores for each token as well.
    """

    each_token: int
    in_all: int
    grows: bool


def cache_size(model: ModelSpec, size: int = 4) -> CacheSize:
    """What all layers of a decoder keep, in numbers of `size` bytes."""
    told: dict[int, Explanation] = {}
    token = whole = 0
    grows = False
    for layer in model.layers:
        use = layer.mixing
        if isinstance(use, ConvUse):
            whole += use.reach * model.hidden * size
            continue
        if id(use.program) not in told:
            told[id(use.program)] = explain(use.program)
        found, sizes = told[id(use.program)], (model.hidden, layer.heads, size)
        token += found.bytes_a_token(*sizes)
        whole += found.bytes_in_all(*sizes)
        grows |= found.grows
    return CacheSize(token, whole, grows)


def explain(spec: AttentionSpec) -> Explanation:
    """How a program is computed."""
    graph = program_graph(spec)
    encoder = _form(graph, {})
    faults = causal_faults(spec)
    if faults:
        nothing = (0, 0), (0, 0), (0, 0, 0)
        return Explanation(spec.name, encoder, None, faults[0], *nothing, False)
    time = times(graph)
    kept, states = _kept(graph, time)
    whole = [node for node, reach in kept if reach is None]
    windows = [(node, reach) for node, reach in kept if reach is not None]
    return Explanation(
        name=spec.name,
        encoder=encoder,
        decoder=_form(graph, time),
        refusal=None,
        kept=_numbers((node, 1) for node in whole if node.shape != _SCORES),
        windows=_numbers(windows),
        states=_sizes(states),
        grows=any(node.shape == _SCORES for node in whole),
    )


def _numbers(streams: Iterable[tuple[Node, int]]) -> tuple[int, int]:
    """What so many tokens have of each stream: multiples of the head width, and a rest."""
    found = {True: 0, False: 0}
    for node, tokens in streams:
        found[D in (node.shape.rows, node.shape.cols)] += tokens
    return found[True], found[False]


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
            whole = any(_taken_whole(node, time) for node in step.nodes)
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
        return "an n × n mask for near tokens", next(near)
    return "no softmax of one product", None


def _kept(
    graph: Graph, time: Mapping[Node, Time]
) -> tuple[frozenset[tuple[Node, int | None]], tuple[Shape, ...]]:
    """The streams that later tokens read, each with how far back, and the shapes of what
    is carried on.
    """
    kept: set[tuple[Node, int | None]] = set()
    states: list[Shape] = []
    columns = prepared(graph, causal=True).columns
    for step in plan(graph, time).steps:
        if isinstance(step, DotProduct):
            kept |= {(step.key, step.radius), (step.value, step.radius)}
        elif isinstance(step, Region):
            for node in step.nodes:
                carried = running(node, time)
                states += () if carried is None else carried.shapes
                kept |= {(arg, None) for arg in _taken_whole(node, time)}
        else:
            reach = reach_of(step, columns)
            for place, arg in enumerate(step.args):
                if axis_so_far(step, place, time) is not None:
                    kept.add((arg, reach))
    return frozenset(kept), tuple(states)


def _taken_whole(node: Node, time: Mapping[Node, Time]) -> list[Node]:
    """The operands of a value of a region that it needs of all tokens so far."""
    if node.op in (NUMBER, "transpose") or running(node, time) is not None:
        return []
    return [
        arg
        for place, arg in enumerate(node.args)
        if time[arg] is Time.MIRROR
        or (time[arg] is Time.STREAM and not is_read_by_row(node, place))
    ]
