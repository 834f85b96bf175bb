"""Inter-layer mutations: the token mixing of layers, and their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from azc.check.models import LAYER_ARGUMENTS
from azc.check.program import (
    AttentionSpec,
    AttentionUse,
    ConvUse,
    LayerSpec,
    ModelSpec,
)
from azc.mixing.convolution import DEFAULT_KIND, conv_feature
from azc.search.genome import Genome, program_key
from azc.search.mutate.context import Context, Step
from azc.search.mutate.draft import Draft, bare, conv_layer, own_comments
from azc.syntax import ast
from azc.syntax.format import format_expr

__all__ = ["vary_layers"]

_CONV_ONLY = ("kernel", "kind")


@dataclass(frozen=True)
class _Choice:
    """An attention program that a layer may use; if it is `new`, it has to be
    declared.
    """

    name: str
    spec: AttentionSpec
    new: bool


@dataclass(frozen=True)
class _Scene:
    parent: ModelSpec
    draft: Draft
    context: Context
    choices: tuple[_Choice, ...]

    def places(self, kind: type[AttentionUse] | type[ConvUse]) -> list[int]:
        """Return the layers with this kind of token mixing, in random order."""
        layers = self.parent.layers
        found = [i for i, layer in enumerate(layers) if isinstance(layer.mixing, kind)]
        return self.context.shuffled(found)

    def step(self, kind: str, place: int, layer: ast.Layer) -> Step:
        """Replace a layer by another one."""
        old = _shown(self.parent.layers[place].node)
        words = f"layer {place + 1}: {old} becomes {_shown(layer)}"
        return self.put(kind, place, (layer,), words)

    def put(
        self,
        kind: str,
        place: int,
        layers: tuple[ast.Layer, ...],
        words: str,
    ) -> Step:
        """Replace a layer by several layers."""
        draft = self.draft.with_layer(place, lambda old: _placed(old, layers))
        return Step(draft, kind, words)

    def use(self, choice: _Choice) -> _Scene:
        """Declare the program, if it is new."""
        if not choice.new:
            return self
        node = choice.spec.node
        comments = replace(node.comments, before=own_comments(node))
        node = replace(node, name=choice.name, comments=comments)
        return replace(self, draft=self.draft.with_new_program(node))


def vary_layers(parent: Genome, draft: Draft, context: Context) -> Step | None:
    """Apply one inter-layer mutation, or return None if the space allows none.

    `draft` is the parent's own.
    """
    spec = parent.spec
    scene = _Scene(spec, draft, context, _choices(spec, draft, context))
    weights = {kind: weight for kind, (weight, _) in _KINDS.items()}
    for kind in context.ordered(weights):
        step = _KINDS[kind][1](scene)
        if step is not None:
            return step
    return None


def _choices(spec: ModelSpec, draft: Draft, context: Context) -> tuple[_Choice, ...]:
    """Return the programs of the layers and those of the start model, each once."""
    found: dict[str, _Choice] = {}
    for layer in spec.layers:
        if isinstance(layer.mixing, AttentionUse):
            use = layer.mixing
            found.setdefault(
                program_key(use.program), _Choice(use.name, use.program, False)
            )
    taken: list[str] = []
    for layer in context.space.start.layers:
        if isinstance(layer.mixing, AttentionUse):
            use = layer.mixing
            key = program_key(use.program)
            if key not in found:
                name = draft.fresh(use.name, taken)
                taken.append(name)
                found[key] = _Choice(name, use.program, True)
    return tuple(found.values())


# Layers as written


def _placed(old: ast.Layer, layers: tuple[ast.Layer, ...]) -> tuple[ast.Layer, ...]:
    """Return the layers as written in the place of `old`, with its comments."""
    if not layers:
        return ()
    mine = {arg.name: arg for arg in old.args}
    args: list[ast.Attr] = []
    for arg in map(bare, layers[0].args):
        own = mine.get(arg.name)
        if own is not None:
            arg = own if own == arg else replace(arg, comments=own.comments)
        args.append(arg)
    first = replace(layers[0], args=tuple(args), comments=old.comments)
    return (first, *map(bare, layers[1:]))


def _shown(layer: ast.Layer) -> str:
    args = ", ".join(f"{arg.name} = {format_expr(arg.value)}" for arg in layer.args)
    return f"{layer.name}({args})" if args else layer.name


def _value(value: object) -> ast.Value:
    """Convert a value to syntax; a list of one width is written as that width."""
    if isinstance(value, tuple):
        items = tuple(map(_value, value))
        return items[0] if len(items) == 1 else ast.List(items)
    return ast.Name(value) if isinstance(value, str) else ast.Number(str(value))


def _shared(layer: ast.Layer) -> tuple[ast.Attr, ...]:
    """Return the arguments that every layer has."""
    return tuple(arg for arg in layer.args if arg.name not in _CONV_ONLY)


def _set(layer: ast.Layer, name: str, value: object) -> ast.Layer:
    """Change, add or (with None) remove an argument."""
    args = list(layer.args)
    places = [i for i, arg in enumerate(args) if arg.name == name]
    if value is None:
        args = [arg for arg in args if arg.name != name]
    elif places:
        args[places[0]] = replace(args[places[0]], value=_value(value))
    else:
        args.append(ast.Attr(name, _value(value)))
    return replace(layer, args=tuple(args))


# The kinds


def _draw_kernel(context: Context, but: int | None = None) -> int | None:
    kernels = [kernel for kernel in context.kernels if kernel != but]
    if not kernels:
        return None
    names = {conv_feature(kernel): kernel for kernel in kernels}
    return names[context.draw(names)]


def _to_conv(scene: _Scene) -> Step | None:
    kernel = _draw_kernel(scene.context)
    places = scene.places(AttentionUse)
    if kernel is None or not places:
        return None
    old = scene.parent.layers[places[0]].node
    kind = scene.context.pick(scene.context.space.kinds)
    layer = conv_layer(kernel, kind, _shared(old))
    return scene.step("attention to conv", places[0], layer)


def _to_attention(scene: _Scene) -> Step | None:
    places = scene.places(ConvUse)
    if not scene.context.space.kernels or not places or not scene.choices:
        return None  # without a block `conv`, the start model's convolutions stay
    choice = scene.context.pick(scene.choices)
    layer = ast.Layer(choice.name, _shared(scene.parent.layers[places[0]].node))
    return scene.use(choice).step("conv to attention", places[0], layer)


def _kernel(scene: _Scene) -> Step | None:
    for place in scene.places(ConvUse):
        old = scene.parent.layers[place]
        assert isinstance(old.mixing, ConvUse)
        kernel = _draw_kernel(scene.context, old.mixing.kernel)
        if kernel is None:
            return None
        layer = _set(old.node, "kernel", kernel)
        words = f"layer {place + 1}: kernel {old.mixing.kernel} becomes {kernel}"
        return scene.put("conv kernel", place, (layer,), words)
    return None


def _conv_kind(scene: _Scene) -> Step | None:
    for place in scene.places(ConvUse):
        old = scene.parent.layers[place]
        assert isinstance(old.mixing, ConvUse)
        kind = old.mixing.kind
        others = [each for each in scene.context.space.kinds if each != kind]
        if not others:
            return None
        new = scene.context.pick(others)
        layer = _set(old.node, "kind", None if new == DEFAULT_KIND else new)
        words = f"layer {place + 1}: kind {kind} becomes {new}"
        return scene.put("conv kind", place, (layer,), words)
    return None


def _argument(scene: _Scene) -> Step | None:
    context, parent = scene.context, scene.parent
    for place in context.shuffled(range(len(parent.layers))):
        layer = parent.layers[place]
        for name in context.shuffled(LAYER_ARGUMENTS):
            values = _values(name, layer, scene)
            if values:
                old = format_expr(_value(getattr(layer, name)))
                value = context.pick(values)
                written = None if value == getattr(parent, name) else value
                new = _set(layer.node, name, written)
                words = f"layer {place + 1}: {name} {old} becomes "
                words += format_expr(_value(value))
                return scene.put("argument", place, (new,), words)
    return None


def _values(name: str, layer: LayerSpec, scene: _Scene) -> list[object]:
    """Return the values that an argument of a layer may change to, as in a checked
    model.
    """
    found: list[object] = []
    for value in scene.context.space.layer.get(name, ()):
        widths = name == "ffn" and not isinstance(value, tuple)
        found.append((value,) if widths else value)
    default = getattr(scene.parent, name)
    if found and default not in found:
        found.append(default)
    if name == "heads":
        hidden = scene.parent.hidden
        found = [v for v in found if isinstance(v, int) and hidden % v == 0]
    return [value for value in found if value != getattr(layer, name)]


def _copy(scene: _Scene) -> Step | None:
    layers = scene.parent.layers
    for place in scene.places(AttentionUse):
        layer = layers[place]
        assert isinstance(layer.mixing, AttentionUse)
        mine = layer.mixing.name
        others = [c for c in scene.choices if c.name != mine and not c.new]
        if others:
            new = replace(layer.node, name=scene.context.pick(others).name)
            return scene.step("copy attention", place, new)
    return None


def _insert(scene: _Scene) -> Step | None:
    context, layers = scene.context, scene.parent.layers
    if len(layers) >= context.space.depth[1]:
        return None
    options: list[ast.Layer] = [bare(context.pick(layers).node)]
    kernel = _draw_kernel(context)
    if kernel is not None:
        options.append(conv_layer(kernel, context.pick(context.space.kinds)))
    choice = context.pick(scene.choices) if scene.choices else None
    if choice is not None:
        options.append(ast.Layer(choice.name))
    new = context.pick(options)
    if choice is not None and new is options[-1]:
        scene = scene.use(choice)
    place = context.rng.randrange(len(layers) + 1)
    words = f"layer {place + 1} is new: {_shown(new)}"
    draft = scene.draft.with_new_layer(place, new)
    return Step(draft, "insert layer", words)


def _delete(scene: _Scene) -> Step | None:
    layers = scene.parent.layers
    if len(layers) <= max(1, scene.context.space.depth[0]):
        return None
    place = scene.context.rng.randrange(len(layers))
    words = f"layer {place + 1} is removed: {_shown(layers[place].node)}"
    return scene.put("delete layer", place, (), words)


# Relative frequency with which each kind is tried first.
_KINDS: Mapping[str, tuple[float, Callable[[_Scene], Step | None]]] = {
    "attention to conv": (3.0, _to_conv),
    "conv to attention": (3.0, _to_attention),
    "conv kernel": (3.0, _kernel),
    "conv kind": (1.0, _conv_kind),
    "argument": (2.0, _argument),
    "copy attention": (2.0, _copy),
    "insert layer": (1.5, _insert),
    "delete layer": (1.5, _delete),
}
