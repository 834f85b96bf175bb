"""Baselines: the models that a person would try first in a space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import groupby

from azc.check.flatten import self_contained
from azc.check.program import AttentionUse, ModelSpec, SpaceSpec
from azc.check.resolve import check_source
from azc.check.spaces import membership
from azc.diagnostics import DiagnosticError
from azc.search.genome import Genome
from azc.search.mutate.draft import conv_layer
from azc.search.options import EvolveOptions
from azc.search.strategies.base import Child
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_expr, format_file

__all__ = ["baselines", "initial_children", "with_layers"]

# Attention of the standard library that knows the positions of tokens.
_STANDARD = ("rope_attention", "local_attention")


def baselines(start: Genome, space: SpaceSpec) -> dict[str, Genome]:
    """Return the baselines of a space, named by their layers: `3 × conv(3), sdpa`.

    All have the depth of the start model. They are: each mixer on its own (the
    attention programs of the start model, the standard library's rotary and local
    attention, the narrowest and the widest convolution), convolutions of each kind that
    get wider, alternating convolutions and attention, and convolutions below attention.
    Models outside the space, the start model itself and duplicates are left out.
    """
    found: dict[str, Genome] = {}
    known = {start.key}
    own = start.program.attentions
    standard = {name: name for name in _STANDARD if name not in own}
    for layers in _layouts(start.spec, space):
        genome = with_layers(start, layers, standard)
        if genome is None or genome.key in known or membership(genome.spec, space):
            continue
        known.add(genome.key)
        found[_name(layers)] = genome
    return found


def initial_children(
    start: Genome, space: SpaceSpec, options: EvolveOptions
) -> Callable[[], tuple[Child, ...]]:
    """Return a function that creates the baselines as the first candidates of a search.

    Without `by_hand`, there are none. They are created in the first call, because a
    strategy that is only restored to display its state does not need them.
    """

    @cache
    def first() -> tuple[Child, ...]:
        made = baselines(start, space) if options.by_hand else {}
        return tuple(Child(genome, (), name) for name, genome in made.items())

    return first


def _layouts(start: ModelSpec, space: SpaceSpec) -> Iterator[tuple[ast.Layer, ...]]:
    depth = len(start.layers)
    named = [u.mixing.name for u in start.layers if isinstance(u.mixing, AttentionUse)]
    own = [ast.Layer(name) for name in dict.fromkeys(named)]
    standard = [ast.Layer(name) for name in _STANDARD]
    convs = [
        [conv_layer(kernel, kind) for kernel in sorted(space.kernels)]
        for kind in space.kinds
        if space.kernels
    ]
    widths = convs[0] if convs else []
    for mixer in dict.fromkeys((*own, *standard, *widths[:1], *widths[-1:])):
        yield (mixer,) * depth
    for kind in convs:
        # From the narrowest to the widest, over all layers.
        yield tuple(kind[i * len(kind) // depth] for i in range(depth))
    for narrow in widths[:1]:
        for attention in dict.fromkeys((*standard[:1], *own[:1])):
            yield tuple((narrow, attention)[i % 2] for i in range(depth))
            yield (narrow,) * (depth - 1) + (attention,)
            yield (narrow,) * (depth // 2) + (attention,) * (depth - depth // 2)


def _name(layers: tuple[ast.Layer, ...]) -> str:
    runs = [(_mixer(mixer), len(list(same))) for mixer, same in groupby(layers)]
    return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in runs)


def _mixer(layer: ast.Layer) -> str:
    args = ", ".join(format_expr(arg.value) for arg in layer.args)
    return f"{layer.name}({args})" if args else layer.name


def _blank(item: ast.Node) -> ast.Comments:
    """Keep a blank line above, but not the comments, which describe the start model."""
    above = item.comments.before
    return ast.Comments(before=("",)) if "" in above[:1] else ast.NO_COMMENTS


def with_layers(
    start: Genome, layers: tuple[ast.Layer, ...], standard: Mapping[str, str]
) -> Genome | None:
    """Replace the layers of the start model; return None if the result is not valid.

    Args:
        start: The start model.
        layers: The new layers. They may name programs of the start model.
        standard: Names of other programs, mapped to their names in the standard
            library.
    """
    file = start.program.file
    used = {layer.name for layer in layers}
    model = start.node
    items = tuple(
        ast.Layers(layers, comments=_blank(item))
        if isinstance(item, ast.Layers)
        else item
        for item in model.items
    )
    changed = replace(model, items=items)
    declared = tuple(changed if each is model else each for each in file.declarations)
    imports = "".join(
        f"from std.attention import {theirs} as {name}\n"
        for name, theirs in standard.items()
        if name in used
    )
    text = imports + format_file(ast.File(declared))
    try:
        program = check_source(Source(f"{start.model}.azg", text, own=True))
        return Genome.from_text(self_contained(program, start.model), start.model)
    except DiagnosticError:
        return None
