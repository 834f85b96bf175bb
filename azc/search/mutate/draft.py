"""A program file during a mutation: attention programs and one model.

Layers are addressed by their place after `repeat` is expanded. To change a layer inside
a `repeat`, it is split: for a change in the second iteration, `repeat 4 { a }` becomes
`a`, the new layer, and `repeat 2 { a }`. Comments stay on the first piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from azc.mixing.convolution import DEFAULT_KIND
from azc.syntax import ast

__all__ = ["CONV", "Change", "Draft", "bare", "conv_layer", "own_comments"]

CONV = "conv"  # the name of convolution layers in a model

Change = Callable[[ast.Layer], tuple[ast.Layer, ...]]
_Items = tuple[ast.LayerItem, ...]
_AnyNode = TypeVar("_AnyNode", bound=ast.Node)
_Declared = TypeVar("_Declared", bound=ast.Declaration)


@dataclass(frozen=True)
class Draft:
    """A self-contained file and the name of its model. Immutable."""

    file: ast.File
    model: str

    @cached_property
    def node(self) -> ast.Model:
        """The model."""
        models = [d for d in self.file.declarations if isinstance(d, ast.Model)]
        return next(model for model in models if model.name == self.model)

    @cached_property
    def programs(self) -> Mapping[str, ast.Attention]:
        """The attention programs, by name."""
        declared = self.file.declarations
        return {d.name: d for d in declared if isinstance(d, ast.Attention)}

    @cached_property
    def layers(self) -> tuple[ast.Layer, ...]:
        """The layers, with `repeat` expanded."""
        return tuple(_expanded(self.node.layers))

    def users(self, program: str) -> list[int]:
        """Return the places of the layers that use a program."""
        return [i for i, layer in enumerate(self.layers) if layer.name == program]

    def fresh(self, name: str, taken: Iterable[str]) -> str:
        """Return the name, or the first of name_2, name_3, … that is not in use."""
        used = {self.model, CONV, *self.programs, *taken}
        found, number = name, 1
        while found in used:
            number += 1
            found = f"{name}_{number}"
        return found

    def with_layer(self, place: int, change: Change) -> Draft:
        """Replace one layer by the result of `change`."""
        return self._with_items(_edited(self.node.layers, place, change))

    def with_new_layer(self, place: int, layer: ast.Layer) -> Draft:
        """Insert a layer at a place."""
        if not place:
            return self._with_items((layer, *self.node.layers))
        return self.with_layer(place - 1, lambda old: (old, layer))

    def _with_items(self, items: _Items) -> Draft:
        parts = tuple(
            replace(part, items=items) if isinstance(part, ast.Layers) else part
            for part in self.node.items
        )
        return self._with(self.node, (replace(self.node, items=parts),))

    def with_program(self, name: str, *nodes: ast.Attention) -> Draft:
        """Replace the program `name` by these declarations."""
        return self._with(self.programs[name], nodes)

    def with_new_program(self, node: ast.Attention) -> Draft:
        """Add a program after the last one."""
        declared = self.file.declarations
        places = [i for i, d in enumerate(declared) if isinstance(d, ast.Attention)]
        at = places[-1] + 1 if places else 0
        first, *others = declared
        if at:
            return self._declaring((*declared[:at], node, *declared[at:]))
        rest = replace(first.comments, before=own_comments(first))
        first_left = replace(first, comments=rest)
        return self._declaring((_under(node, first), first_left, *others))

    def tidy(self) -> Draft:
        """Remove the programs that no layer uses."""
        used = {layer.name for layer in self.layers}
        old = self.file.declarations
        new = [d for d in old if not isinstance(d, ast.Attention) or d.name in used]
        if new[0] is not old[0]:
            new[0] = _under(new[0], old[0])
        return self._declaring(new)

    def _with(self, old: ast.Declaration, new: tuple[ast.Declaration, ...]) -> Draft:
        found: list[ast.Declaration] = []
        for declaration in self.file.declarations:
            found.extend(new if declaration is old else (declaration,))
        return self._declaring(found)

    def _declaring(self, declarations: Iterable[ast.Declaration]) -> Draft:
        return replace(self, file=replace(self.file, declarations=tuple(declarations)))


def conv_layer(kernel: int, kind: str, args: tuple[ast.Attr, ...] = ()) -> ast.Layer:
    """Create a convolution layer; the default kind is not written."""
    own = [ast.Attr("kernel", ast.Number(str(kernel)))]
    if kind != DEFAULT_KIND:
        own.append(ast.Attr("kind", ast.Name(kind)))
    return ast.Layer(CONV, (*own, *args))


def own_comments(node: ast.Declaration) -> tuple[str, ...]:
    """Return the comments that belong to a declaration: those after the last blank line
    above it.
    """
    before = node.comments.before
    blanks = [place for place, line in enumerate(before) if not line]
    return before[blanks[-1] + 1 :] if blanks else before


def _under(node: _Declared, first: ast.Declaration) -> _Declared:
    """Move a node to the top of the file, below its header and above the comments of
    `first`.
    """
    lines = first.comments.before
    head = lines[: len(lines) - len(own_comments(first))]
    if not any(head):
        return node
    before = (*head, *own_comments(node))
    return replace(node, comments=replace(node.comments, before=before))


def bare(node: _AnyNode) -> _AnyNode:
    """Return a node without comments and blank lines, including those inside it."""
    none = {"comments": ast.NO_COMMENTS}
    return ast.rebuilt(node, lambda each, _: none)


# Layers


def _count(repeat: ast.Repeat) -> int:
    count = repeat.count.value
    assert isinstance(count, int)
    return count


def _size(item: ast.LayerItem) -> int:
    if isinstance(item, ast.Layer):
        return 1
    return _count(item) * sum(map(_size, item.items))


def _expanded(items: _Items) -> list[ast.Layer]:
    found: list[ast.Layer] = []
    for item in items:
        if isinstance(item, ast.Layer):
            found.append(item)
        else:
            found.extend(_expanded(item.items) * _count(item))
    return found


def _edited(items: _Items, place: int, change: Change) -> _Items:
    """Change the layer at `place` (with `repeat` expanded)."""
    found: list[ast.LayerItem] = []
    for item in items:
        size = _size(item)
        if not 0 <= place < size:
            found.append(item)
        elif isinstance(item, ast.Layer):
            found.extend(change(item))
        else:
            found.extend(_peeled(item, place, change))
        place -= size
    return tuple(found)


def _peeled(item: ast.Repeat, place: int, change: Change) -> _Items:
    count, items = _count(item), item.items
    turn, inner = divmod(place, _size(item) // count)
    again = tuple(map(bare, items))
    middle = _edited(again if turn else items, inner, change)
    if not middle:  # the only repeated layer was removed
        return _headed(_turns(item, count - 1, items), item.comments)
    before = _turns(item, turn, items)
    after = _turns(item, count - turn - 1, again)
    return _headed((*before, *middle, *after), item.comments)


def _turns(item: ast.Repeat, count: int, items: _Items) -> _Items:
    """Repeat the items `count` times, without the comments of the `repeat`."""
    if count < 2:
        return items * count
    number = replace(item.count, text=str(count))
    return (ast.Repeat(number, items),)


def _headed(pieces: _Items, comments: ast.Comments) -> _Items:
    """Put the comments of a `repeat` on the first of its pieces."""
    if not pieces or comments == ast.NO_COMMENTS:
        return pieces
    first, *others = pieces
    own = first.comments
    if isinstance(first, ast.Layer) or own != ast.NO_COMMENTS:
        inside = [comments.after, *comments.closing, comments.end, *own.before]
        lines = (*comments.before, *(line for line in inside if line))
        comments = replace(own, before=lines)
    return (replace(first, comments=comments), *others)
