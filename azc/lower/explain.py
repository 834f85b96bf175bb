"""Explanations of how an attention program is computed in encoders and in decoders."""

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
    """The way in which a program is computed.

    Attributes:
        backends: Descriptions of the backends, in the order in which they are used.
        squared: Whether tensors of n × n numbers are created.
        why: The reason for `squared`, None without it.
        place: The source text that is the reason, None if it is not a single place.
    """

    backends: tuple[str, ...]
    squared: bool
    why: str | None = None
    place: Span | None = None


@dataclass(frozen=True)
class Explanation:
    """The computation of a program in encoders and in decoders, and its cache.

    Sizes are in numbers for each head. They are multiples of the head width d: (a, b) is
    a·d + b, and (a, b, c) is a·d² + b·d + c.

    Attributes:
        name: The name of the program.
        encoder: The form in encoders.
        decoder: The form in decoders; None if the program has no causal meaning.
        refusal: The reason why it has none, None if it has one.
        kept: What a decoder caches for each token, (d, 1).
        windows: What it caches in total of the tokens that windows and convolutions
            reach, (d, 1).
        states: What it caches in states, whatever the number of tokens, (d², d, 1).
        grows: Whether it also caches a row of scores of all tokens for each token.
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
        """Return the part of a layer's cache for each token, in bytes."""
        wide, narrow = self.kept
        return (wide * hidden + narrow * heads) * size

    def bytes_of_windows(self, hidden: int, heads: int, size: int = 4) -> int:
        """Return the part of a layer's cache for the tokens that windows and convolutions
        reach, in bytes, once it is full.
        """
        wide, narrow = self.windows
        return (wide * hidden + narrow * heads) * size

    def bytes_of_states(self, hidden: int, heads: int, size: int = 4) -> int:
        """Return the part of a layer's cache for states, in bytes."""
        square, wide, narrow = self.states
        width = hidden // heads
        return heads * (square * width * width + wide * width + narrow) * size

    def bytes_in_all(self, hidden: int, heads: int, size: int = 4) -> int:
        """Return the part of a layer's cache that has a fixed size, in bytes."""
        sizes = (hidden, heads, size)
        return self.bytes_of_windows(*sizes) + self.bytes_of_states(*sizes)


@dataclass(frozen=True)
class CacheSize:
    """The size of a decoder's cache for one sequence.

    Attributes:
        each_token: Bytes for each token.
        in_all: Bytes of states, and of the tokens that windows and convolutions reach,
            once those are full.
        grows: Whether it also holds a row of scores of all tokens for each token.
    """

    each_token: int
    in_all: int
    grows: bool


def cache_size(model: ModelSpec, size: int = 4) -> CacheSize:
    """Return the size of the cache of all layers, in numbers of `size` bytes."""
    explained: dict[int, Explanation] = {}
    token = whole = 0
    grows = False
    for layer in model.layers:
        use = layer.mixing
        if isinstance(use, ConvUse):
            whole += use.reach * model.hidden * size
            continue
        if id(use.program) not in explained:
            explained[id(use.program)] = explain(use.program)
        found, sizes = explained[id(use.program)], (model.hidden, layer.heads, size)
        token += found.bytes_a_token(*sizes)
        whole += found.bytes_in_all(*sizes)
        grows |= found.grows
    return CacheSize(token, whole, grows)


def explain(spec: AttentionSpec) -> Explanation:
    """Explain how a program is computed."""
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
    """Sum up the sizes of streams, each times its number of tokens.

    Returns:
        (a, b) for a·d + b numbers.
    """
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
    """Return the reason why scores are stored, and its place if it is a single one.

    It is an operation that `dot_products` does not allow, or a mask, or the lack of a
    softmax of one product.
    """
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
            message = "its softmax has other uses than one product with values"
            return message, node.span
        if node.op == "matmul" and _SCORES not in [arg.shape for arg in node.args]:
            continue  # the product itself
        return f"`{node.op}` on scores", node.span
    if inside:
        near = (node.span for node in graph.nodes if node.op in ("window", "alibi"))
        return "an n × n mask of distances", next(near)
    return "no softmax of one product", None


def _kept(
    graph: Graph, time: Mapping[Node, Time]
) -> tuple[frozenset[tuple[Node, int | None]], tuple[Shape, ...]]:
    """Return the streams that later tokens read, and the shapes of states.

    Each stream comes with the number of tokens back that they read, None for all.
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
    """Return the operands of which a value of a region needs all tokens so far."""
    if node.op in (NUMBER, "transpose") or running(node, time) is not None:
        return []
    return [
        arg
        for place, arg in enumerate(node.args)
        if time[arg] is Time.MIRROR
        or (time[arg] is Time.STREAM and not is_read_by_row(node, place))
    ]
