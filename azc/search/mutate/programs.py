"""Intra-layer mutations: the operations of an attention program.

replace     replace an operation by another one that produces the same type
insert      wrap an operation around an expression
delete      replace an operation by one of its operands
rewire      replace an expression by a name in scope, or by a new input
attribute   change a radius or a kernel
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from azc.check.program import AttentionSpec, AttentionUse
from azc.check.types import count_operations
from azc.ir.build import build_graph
from azc.ops.table import load_ops
from azc.search.genome import COMMUTATIVE, program_key
from azc.search.mutate.context import Context, Step
from azc.search.mutate.draft import CONV, Draft
from azc.search.mutate.grow import Grower, attribute_values, draw_attrs, rows_for
from azc.search.mutate.sense import count_idle
from azc.search.mutate.sites import (
    Site,
    names_of,
    replaced,
    sites,
    tidied,
    with_param,
)
from azc.shapes import TOKENS, Shape
from azc.syntax import ast
from azc.syntax.format import format_expr

__all__ = ["vary_program"]

_TRIES = 8  # changes tried in one program
_FORK = 0.5  # probability that one of several layers gets its own copy of a program
_GROWN = 3  # maximum number of operations in a new operand


@dataclass(frozen=True)
class _Edit:
    """A changed program, the kind of change, and its description."""

    node: ast.Attention
    kind: str
    words: str


@dataclass(frozen=True)
class _Scene:
    """A program, and the operations and inputs that the space allows in it."""

    node: ast.Attention
    sites: tuple[Site, ...]
    context: Context
    ops: frozenset[str]
    order: tuple[str, ...]
    room: int  # operations that may be added

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the space that are not parameters yet, and are not used as
        other names.
        """
        taken = names_of(self.node)
        return tuple(name for name in self.order if name not in taken)

    def shuffled(self) -> list[Site]:
        """Return the sites in random order."""
        return self.context.shuffled(self.sites)

    def edit(
        self,
        kind: str,
        site: Site,
        new: ast.Expr,
        inputs: frozenset[str] = frozenset(),
        words: str = "",
    ) -> _Edit:
        """Replace the expression at a site."""
        node = replaced(self.node, site, new)
        for name in sorted(inputs):
            node = with_param(node, name, self.order)
        words = words or f"`{_short(site.expr)}` becomes `{_short(new)}`"
        return _Edit(tidied(node), kind, words)


def vary_program(draft: Draft, context: Context) -> Step | None:
    """Apply one intra-layer mutation, or return None if no attention program can be
    changed.

    A program that several layers use is changed for all of them, or copied for one.
    """
    if context.space.ops is None or context.space.inputs is None:
        return None
    layers = draft.layers
    places = [i for i, layer in enumerate(layers) if layer.name != CONV]
    tried: set[str] = set()
    for place in context.shuffled(places):
        name = layers[place].name
        if name in tried:
            continue
        tried.add(name)
        edit = _vary(draft.programs[name], context)
        if edit is None:
            continue
        several = len(draft.users(name)) > 1
        if several and context.chance(_FORK):
            return _fork(draft, place, edit, context)
        words = f"{name}: {edit.words}"
        return Step(draft.with_program(name, edit.node), edit.kind, words)
    return None


def _fork(draft: Draft, place: int, edit: _Edit, context: Context) -> Step:
    """Add the changed program as a copy for one layer."""
    original = draft.programs[edit.node.name]
    uses = [layer.mixing for layer in context.space.start.layers]
    names = {use.name for use in uses if isinstance(use, AttentionUse)}
    # A copy of sdpa_2 is sdpa_3, not sdpa_2_2; but autobert_zero_2 is a name of its own.
    stem = original.name
    if stem not in names:
        stem = re.sub(r"_\d+$", "", stem) or stem
    name = draft.fresh(stem, names)
    # Comments above the original describe the original.
    comments = replace(edit.node.comments, before=())
    copy = replace(edit.node, name=name, comments=comments)
    draft = draft.with_program(original.name, original, copy)

    def change(layer: ast.Layer) -> tuple[ast.Layer, ...]:
        return (replace(layer, name=name),)

    words = f"layer {place + 1} takes a copy {name} of {original.name}: {edit.words}"
    return Step(draft.with_layer(place, change), edit.kind, words)


def _spec(node: ast.Attention) -> AttentionSpec:
    params = tuple(param.name for param in node.params)
    return AttentionSpec(node.name, params, node, node.body)


def _vary(node: ast.Attention, context: Context) -> _Edit | None:
    """Make one change that turns the program into another function."""
    space = context.space
    low, high = space.size
    size = count_operations(node)
    scene = _Scene(
        node=node,
        sites=tuple(sites(node)),
        context=context,
        ops=context.ops,
        order=space.inputs or (),
        room=high - size,
    )
    key = program_key(_spec(node))
    idle = count_idle(build_graph(_spec(node)))
    weights = {kind: weight for kind, (weight, _) in _KINDS.items()}
    for _ in range(_TRIES):
        kind = context.ordered(weights)[0]
        edit = _KINDS[kind][1](scene)
        if edit is None:
            continue
        spec = _spec(edit.node)
        if (
            low <= count_operations(edit.node) <= high
            and count_idle(build_graph(spec)) <= idle
            and program_key(spec) != key
        ):
            return edit
    return None


def _short(expr: ast.Expr) -> str:
    text = format_expr(expr)
    return text if len(text) <= 48 else f"{text[:47]}…"


# Replace


def _replace(scene: _Scene) -> _Edit | None:
    for site in scene.shuffled():
        old = site.apply
        if old is None:
            continue
        options = _others(site, scene)
        if not options:
            continue
        context = scene.context
        op = context.draw(options)
        turned = context.pick(options[op])
        args = tuple(
            _turned(arg) if turn else arg
            for arg, turn in zip(old.args, turned, strict=True)
        )
        new = replace(old, op=op, args=args, attrs=draw_attrs(op, context))
        words = ""
        if not any(turned):
            words = f"`{old.op}` becomes `{op}`"
        return scene.edit("replace", site, new, words=words)
    return None


def _others(site: Site, scene: _Scene) -> dict[str, list[tuple[bool, ...]]]:
    """Return the operations that can replace the one at a site.

    Each comes with the operands to transpose for it: `q @ k.T` can become `cosine(q,
    k)`. If no transpose is needed, that is the only option.
    """
    old = site.apply
    assert old is not None
    found: dict[str, list[tuple[bool, ...]]] = {}
    for op, wanted in rows_for(scene.ops)[site.shape]:
        if op == old.op or len(wanted) != len(site.operands):
            continue
        if wanted == site.operands:
            found[op] = [(False,) * len(wanted)]
            continue
        if op == "transpose" or any(not any(t) for t in found.get(op, ())):
            continue
        for turned in _turns(site.operands, wanted):
            if _affordable(old, turned, scene):
                found.setdefault(op, []).append(turned)
    return found


def _turns(
    operands: tuple[Shape, ...], wanted: tuple[Shape, ...]
) -> list[tuple[bool, ...]]:
    """Return which operands to transpose to get the wanted types."""
    choices: list[list[bool]] = []
    for operand, want in zip(operands, wanted, strict=True):
        turned = want == operand.T and want != operand
        choices.append([True] if turned else [False] if operand == want else [])
    return list(product(*choices))


def _affordable(old: ast.Apply, turned: tuple[bool, ...], scene: _Scene) -> bool:
    more = sum(
        turn and not _is_transpose(arg)
        for arg, turn in zip(old.args, turned, strict=True)
    )
    return not more or ("transpose" in scene.ops and more <= scene.room)


def _is_transpose(expr: ast.Expr) -> bool:
    return isinstance(expr, ast.Apply) and expr.op == "transpose"


def _turned(expr: ast.Expr) -> ast.Expr:
    if isinstance(expr, ast.Apply) and expr.op == "transpose":
        return expr.args[0]
    return ast.Apply("transpose", (expr,))


# Insert


def _insert(scene: _Scene) -> _Edit | None:
    context = scene.context
    for site in scene.shuffled():
        if isinstance(site.expr, ast.Number) or scene.room < 1:
            continue
        grower = Grower(context, scene.ops, site.scope, scene.inputs)
        budget = min(scene.room - 1, _GROWN)
        options = _around(site, grower, budget)
        if not options:
            continue
        op = context.draw(options)
        place, operands = context.pick(options[op])
        inputs = frozenset[str]()
        args: list[ast.Expr] = [site.expr]
        if len(operands) == 2:
            grown = grower.grow(operands[1 - place], budget)
            args.insert(1 - place, grown.expr)
            inputs = grown.inputs
        new = ast.Apply(op, tuple(args), draw_attrs(op, context))
        return scene.edit("insert", site, new, inputs)
    return None


def _around(
    site: Site, grower: Grower, budget: int
) -> dict[str, list[tuple[int, tuple[Shape, ...]]]]:
    """Return the operations that take the expression and produce its type.

    Each comes with the possible places of the expression, and the types of all
    operands.
    """
    found: dict[str, list[tuple[int, tuple[Shape, ...]]]] = {}
    for op, operands in grower.rows[site.shape]:
        for place, operand in enumerate(operands):
            others = operands[:place] + operands[place + 1 :]
            if operand != site.shape or not grower.fits(others, budget):
                continue
            if place and op in COMMUTATIVE:
                continue  # the other order is equivalent
            found.setdefault(op, []).append((place, operands))
    return found


# Delete, rewire, attribute


def _delete(scene: _Scene) -> _Edit | None:
    for site in scene.shuffled():
        old = site.apply
        if old is None:
            continue
        fit = [
            arg
            for arg, shape in zip(old.args, site.operands, strict=True)
            if shape == site.shape
        ]
        if fit:
            return scene.edit("delete", site, scene.context.pick(fit))
    return None


def _rewire(scene: _Scene) -> _Edit | None:
    context = scene.context
    found = scene.shuffled()
    # Prefer to rewire names: rewiring an operation discards what it computes.
    if context.chance(0.75):
        found.sort(key=lambda site: site.apply is not None)
    for site in found:
        names = [name for name, shape in site.scope.items() if shape == site.shape]
        inputs = scene.inputs if site.shape == TOKENS else ()
        options = [name for name in (*names, *inputs) if ast.Name(name) != site.expr]
        if options:
            name = context.pick(options)
            new = frozenset({name} if name in inputs else ())
            return scene.edit("rewire", site, ast.Name(name), inputs=new)
    return None


def _attribute(scene: _Scene) -> _Edit | None:
    context = scene.context
    for site in scene.shuffled():
        old = site.apply
        if old is None or not old.attrs:
            continue
        known = {attribute.name: attribute for attribute in load_ops()[old.op].attrs}
        place = context.rng.randrange(len(old.attrs))
        attr = old.attrs[place]
        values = [ast.Number(str(v)) for v in attribute_values(known[attr.name])]
        others = [value for value in values if value != attr.value]
        if others:
            attrs = list(old.attrs)
            attrs[place] = replace(attr, value=context.pick(others))
            new = replace(old, attrs=tuple(attrs))
            return scene.edit("attribute", site, new)
    return None


# Relative frequency with which each kind is tried first.
_KINDS: Mapping[str, tuple[float, Callable[[_Scene], _Edit | None]]] = {
    "replace": (3.0, _replace),
    "insert": (3.0, _insert),
    "delete": (2.0, _delete),
    "rewire": (3.0, _rewire),
    "attribute": (1.0, _attribute),
}
