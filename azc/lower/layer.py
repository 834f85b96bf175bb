"""Lowering of layers and encoders to fx: token mixing, feed-forward networks, residuals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import fx, nn

from azc.check.params import gated
from azc.check.program import AttentionUse, ConvUse, LayerSpec, ModelSpec
from azc.lower.attention import OperationWeight, lower_graph
from azc.lower.builder import Arguments, FxBuilder, Padding, fresh_name, named
from azc.lower.compiled import CompiledModule, again, finished
from azc.lower.masks import filled, token_padding
from azc.lower.modules import activation, norm
from azc.lower.plan import BACKENDS, Backend
from azc.lower.runtime import (
    extended,
    memory_of,
    newest,
    pack,
    rows_of,
    unpack,
    within,
)
from azc.passes.dropout import Dropout
from azc.passes.pipeline import program_graph

__all__ = ["Encoder", "Layer", "compile_encoder", "compile_layer"]

LAYER_INPUTS = ("hidden", "mask", "positions", "order")


class Layer(CompiledModule):
    """One compiled layer: `forward(hidden, mask, positions, order)`.

    `hidden` are the hidden states, [B, N, hidden], finite in padding. `mask`, bool
    [B, N], is True at real tokens, which may be anywhere, at least one in each sequence;
    None if all are real. `positions`, int64 [B or 1, N], are the indices of all tokens
    among the real ones. `order`, int64 [B, N], is the index of the token at every
    position; None if the real tokens of each sequence are adjacent. `positions_of` and
    `order_of` of `azc.lower.runtime` compute both.

    A layer of a causal model may be called with the last M of N tokens. `hidden` is then
    [B, M, hidden], and a fifth argument `memory` is the layer's cache of the other
    tokens (see `azc.model.memory`), None without one. A cache of fixed size has room for
    N tokens, and holds the indices of the M tokens among them.
    """


class Encoder(CompiledModule):
    """All layers of a model.

    It is called like a layer, in a causal model with the `cache` of all layers in place
    of `memory`. It returns the hidden states before the first layer and after every
    layer: a tuple of layers + 1 tensors [B, N, hidden].
    """

    layers: nn.ModuleList


class _LayerWriter:
    """A writer of one layer as an fx graph. Modules have their names in the state dict."""

    def __init__(
        self, model: ModelSpec, layer: LayerSpec, backends: Sequence[Backend]
    ) -> None:
        self.model = model
        self.backends = backends
        self.layer = layer
        self.root = nn.Module()
        self.parts: dict[str, Callable[[], nn.Module]] = {}
        self.graph = fx.Graph()
        self.hidden, self.mask, self.positions, self.order = (
            self.graph.placeholder(name) for name in LAYER_INPUTS
        )
        self.memory: fx.Node | None = None
        self.rows: fx.Node | None = None
        self.row_mask, self.row_positions = self.mask, self.positions
        self.remembered: dict[tuple[fx.Node, int, int | None], fx.Node] = {}
        self.spans: dict[int, fx.Node] = {}
        self.paddings: dict[int | None, Padding] = {}
        self.gone: dict[fx.Node, fx.Node] = {}
        if model.causal:
            self.memory = self.graph.placeholder("memory", default_value=None)
            self.rows = self.graph.call_function(rows_of, (self.memory,))
            self.row_mask, self.row_positions = (
                self.graph.call_function(newest, (node, self.hidden, self.rows))
                for node in (self.mask, self.positions)
            )

    def extend(
        self, node: fx.Node, axis: int, square: bool, reach: int | None
    ) -> fx.Node:
        """Extend a value by `reach` cached tokens, None for all; see `FxBuilder`."""
        key = (node, axis, reach)
        if key not in self.remembered:
            span = None if reach is None else self.span(reach)
            name = f"{len(self.remembered)}"
            given = (node, self.memory, name, axis, square, reach, span)
            self.remembered[key] = self.graph.call_function(extended, given)
        return self.remembered[key]

    def span(self, reach: int) -> fx.Node:
        """Return the `Span` of the last `reach` cached tokens and the new tokens."""
        if reach not in self.spans:
            where = (self.mask, self.positions, self.order, self.row_positions)
            given = (self.memory, reach, *where)
            self.spans[reach] = self.graph.call_function(within, given)
        return self.spans[reach]

    def within(self, reach: int | None) -> Padding:
        """Return the padding of the tokens of `span(reach)`; of all tokens for None."""
        if reach not in self.paddings:
            self.paddings[reach] = self._padding(reach)
        return self.paddings[reach]

    def _padding(self, reach: int | None) -> Padding:
        rows = (self.row_mask, self.row_positions) if self.model.causal else None
        if reach is None or rows is None:
            whole = (self.mask, self.positions, self.order)
            return Padding(*whole, True, True, rows, at=self.rows)
        real, positions, places, order = (
            self.graph.call_function(getattr, (self.span(reach), name))
            for name in ("real", "positions", "places", "order")
        )
        # With a reach of 0 nothing is cached, so that a sequence may be only padding.
        return Padding(real, positions, order, reach > 0, True, rows, places)

    def module(
        self, name: str, make: Callable[[], nn.Module], *args: fx.Node | int | None
    ) -> fx.Node:
        """Add a module under a dotted name; return the node of its call."""
        self.parts[name] = make
        _put(self.root, name, make())
        return self.graph.call_module(name, args)

    def inner(self, module: nn.Module, args: Arguments) -> fx.Node:
        """Add a module of the attention program, which has no weights; return the node of
        its call.
        """
        parent = self.root.get_submodule("attention")
        name = f"attention.{fresh_name(parent, module)}"
        return self.module(name, partial(again, module), *args)

    def linear(self, name: str, inner: int, outer: int, x: fx.Node) -> fx.Node:
        """Apply a linear map from `inner` to `outer` features."""
        make = partial(nn.Linear, inner, outer, bias=self.model.bias)
        return self.module(name, make, x)

    def clear(self, x: fx.Node, mask: fx.Node) -> fx.Node:
        """Set the padding of a value [B, N, C] to 0."""
        if mask not in self.gone:
            self.gone[mask] = self.graph.call_function(token_padding, (mask,))
        return self.graph.call_function(filled, (x, self.gone[mask], 0.0))

    def dropout(self, name: str, x: fx.Node) -> fx.Node:
        """Apply the dropout of hidden states, if the model has any."""
        if self.model.dropout == 0.0:
            return x
        return self.module(name, partial(nn.Dropout, self.model.dropout), x)

    def norm(self, name: str, x: fx.Node) -> fx.Node:
        """Apply the model's norm."""
        model = self.model
        make = partial(norm, model.norm, model.hidden, model.norm_eps, model.bias)
        return self.module(name, make, x)

    def residual(
        self, name: str, x: fx.Node, branch: Callable[[fx.Node], fx.Node]
    ) -> fx.Node:
        """Add a branch of x to x, with a norm before the branch (pre) or after the sum
        (post).
        """
        pre = self.model.residual == "pre"
        inner = self.norm(f"{name}norm", x) if pre else x
        out = self.dropout(f"{name}dropout", branch(inner))
        total = self.graph.call_function(torch.add, (x, out))
        return total if pre else self.norm(f"{name}norm", total)

    def attention(self, use: AttentionUse, x: fx.Node) -> fx.Node:
        """Apply the input projections, the program and the output projection."""
        model, heads = self.model, self.layer.heads
        width = model.hidden // heads
        program = program_graph(use.program)
        inputs: dict[str, fx.Node] = {}
        for name in use.program.params:
            flat = self.linear(f"attention.{name}_proj", model.hidden, model.hidden, x)
            split = self.graph.call_method("unflatten", (flat, -1, (heads, width)))
            inputs[name] = self.graph.call_method("transpose", (split, 1, 2))
        nodes = {
            name: self.module(
                f"attention.{name}",
                partial(OperationWeight, weight, heads, width, model.causal),
            )
            for name, weight in program.weights
        }
        sample = next(iter(inputs.values()))
        builder = FxBuilder(
            self.graph,
            self.within(None),
            sample,
            heads,
            width,
            model.causal,
            self.inner,
            self.extend,
            self.within,
            self.backends,
        )
        program = Dropout(model.attention_dropout).run(program)
        mixed = lower_graph(program, builder, inputs, nodes.__getitem__, self.memory)
        joined = self.graph.call_method("transpose", (mixed, 1, 2))
        joined = self.graph.call_method("flatten", (joined, -2))
        return self.linear("attention.output", model.hidden, model.hidden, joined)

    def conv(self, use: ConvUse, x: fx.Node) -> fx.Node:
        """Apply a linear map, a gated linear unit, a convolution over the tokens and
        another linear map.
        """
        hidden, causal = self.model.hidden, self.model.causal
        wide = self.linear("conv.input", hidden, 2 * hidden, x)
        gate = self.graph.call_function(F.glu, (wide, -1))
        # Padding is cleared after `extend`, by the current mask: a sequence counts as real
        # until its first real token comes, and as padding up to there afterwards.
        reach = use.reach if causal else None
        so_far = self.extend(gate, 1, False, reach) if causal else gate
        padding = self.within(reach)
        clear = self.clear(so_far, padding.real)
        packed = self.graph.call_function(pack, (clear, padding.order))
        sizes = self.model.sizes(self.layer)
        make = partial(named(use.row.module), sizes, use.kernel)
        mixed = self.module("conv.mix", make, packed)
        given = (mixed, padding.places or padding.positions, padding.order)
        mixed = self.graph.call_function(unpack, given)
        if causal:
            mixed = self.graph.call_function(newest, (mixed, self.hidden))
        # As in attention, so that padding does not depend on whether there is an order.
        mixed = self.clear(mixed, self.row_mask)
        return self.linear("conv.output", hidden, hidden, mixed)

    def feed_forward(self, name: str, width: int, x: fx.Node) -> fx.Node:
        """Apply two linear maps with an activation or a gate in between."""
        hidden, kind = self.model.hidden, self.layer.activation
        up = self.linear(f"{name}up", hidden, width, x)
        inner = self.module(f"{name}activation", partial(activation, kind), up)
        if gated(kind):
            gate = self.linear(f"{name}gate", hidden, width, x)
            inner = self.graph.call_function(torch.mul, (inner, gate))
        return self.linear(f"{name}down", width, hidden, inner)

    def write(self, kind: type[Layer]) -> Layer:
        """Write the whole layer. Call this once."""
        mixing = self.layer.mixing
        if isinstance(mixing, AttentionUse):
            x = self.residual("", self.hidden, lambda x: self.attention(mixing, x))
        else:
            x = self.residual("", self.hidden, lambda x: self.conv(mixing, x))
        for i, width in enumerate(self.layer.ffn):
            name = f"ffn.{i}."
            x = self.residual(
                name,
                x,
                lambda x, name=name, width=width: self.feed_forward(name, width, x),  # type: ignore[misc]
            )
        self.graph.output(x)
        return finished(kind, self.root, self.graph, "Layer")

    def twin(self, layer: Layer) -> Layer:
        """Return a copy of the written layer with fresh weights."""
        root = nn.Module()
        for name, make in self.parts.items():
            _put(root, name, make())
        return layer.twin(root)


def _put(root: nn.Module, name: str, module: nn.Module) -> None:
    """Add a module to `root` under a dotted name."""
    parent = root
    *path, last = name.split(".")
    for part in path:
        if not hasattr(parent, part):
            parent.add_module(part, nn.Module())
        parent = parent.get_submodule(part)
    parent.add_module(last, module)


def compile_layer(
    model: ModelSpec,
    layer: LayerSpec,
    kind: type[Layer] = Layer,
    backends: Sequence[Backend] = BACKENDS,
) -> Layer:
    """Compile one layer of a model, with fresh weights.

    The names in its state dict are `attention.<parameter>_proj`, `attention.output` and,
    for learned weights of operations, `attention.conv_0_kernel` for example; or
    `conv.input`, `conv.mix` and `conv.output`; `norm`; `ffn.<i>.up`, `.gate`, `.down` and
    `.norm`.

    Args:
        model: The model.
        layer: The layer.
        kind: The class of the compiled layer.
        backends: The backends that may compute parts of it.
    """
    return _LayerWriter(model, layer, backends).write(kind)


def compile_encoder(
    model: ModelSpec,
    kind: type[Layer] = Layer,
    backends: Sequence[Backend] = BACKENDS,
) -> Encoder:
    """Compile all layers of a model, with fresh weights. Equal layers share their code.

    Args:
        model: The model.
        kind: The class of the compiled layers.
        backends: The backends that may compute parts of them.
    """
    root = nn.Module()
    written: dict[Hashable, tuple[_LayerWriter, Layer]] = {}
    layers = nn.ModuleList()
    for spec in model.layers:
        if spec.kind in written:
            writer, first = written[spec.kind]
            layers.append(writer.twin(first))
        else:
            writer = _LayerWriter(model, spec, backends)
            written[spec.kind] = writer, writer.write(kind)
            layers.append(written[spec.kind][1])
    root.add_module("layers", layers)
    graph = fx.Graph()
    hidden, *places = (graph.placeholder(name) for name in LAYER_INPUTS)
    cache = graph.placeholder("cache", default_value=None) if model.causal else None
    states = [hidden]
    for i in range(len(model.layers)):
        given = [states[-1], *places]
        if cache is not None:
            given.append(graph.call_function(memory_of, (cache, i)))
        states.append(graph.call_module(f"layers.{i}", tuple(given)))
    graph.output(tuple(states))
    module = Encoder(root, graph, "Encoder")
    module.layers = layers  # fx keeps the layers, but not their ModuleList
    return module
