"""The syntax tree of an azg file.

    file      = File(declarations)
    decl      = Import(module, names) | Attention(name, params, body)
              | Model(name, items) | Space(name, items)
    statement = Bind(name, value) | Return(value)
    expr      = Name(id) | Number(text) | Apply(op, args, attrs)
    item      = Setting(name, value) | Layers(items) | Block(name, items)
    layer     = Layer(name, args) | Repeat(count, items)
    value     = Number | Name | Boolean | List(items) | Range(low, high)

Nodes are immutable and compare by meaning: spans and comments are ignored. Operators
and calls are both `Apply` nodes: `q + k` and `add(q, k)` are the same tree.

A sum of many terms is a deep tree, so the functions here do not recurse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeVar

from azc.source import Source, Span
from azc.syntax.operators import ATOM, OPERATORS, Operator

__all__ = [
    "NO_COMMENTS",
    "NO_SPAN",
    "Apply",
    "Attention",
    "Attr",
    "Bind",
    "Block",
    "Boolean",
    "Comments",
    "Declaration",
    "Expr",
    "File",
    "Import",
    "ImportName",
    "Layer",
    "LayerItem",
    "Layers",
    "List",
    "Model",
    "Name",
    "Node",
    "Number",
    "Param",
    "Range",
    "Repeat",
    "Return",
    "Setting",
    "Space",
    "Statement",
    "Value",
    "at",
    "expressions",
    "fold",
    "operator",
    "parts",
    "precedence",
    "put",
    "rebuilt",
    "swapped",
]

NO_SPAN = Source("<generated>", "").span(0, 0)


@dataclass(frozen=True)
class Comments:
    """The comments and blank lines that travel with a node.

    `before`: own-line comments above the node, each starting with `#`; an empty string
    is a blank line kept between or above them. `after`: the comment at the end of the
    node's (for a block, its opening) line. `closing`: own-line comments after the last
    child of a block (or list, or call), before its closing bracket. `params`: those
    after the last parameter of a program. `end`: the comment behind the closing bracket
    of a block.
    """

    before: tuple[str, ...] = ()
    after: str | None = None
    closing: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    end: str | None = None


NO_COMMENTS = Comments()


@dataclass(frozen=True, kw_only=True)
class Node:
    """Base class of all nodes. Its fields, span and comments, do not affect
    equality.
    """

    span: Span = field(default=NO_SPAN, compare=False, repr=False)
    comments: Comments = field(default=NO_COMMENTS, compare=False, repr=False)


# Expressions


@dataclass(frozen=True)
class Name(Node):
    """A reference to a parameter or a bound name, or in a setting to any name."""

    id: str

    @property
    def depth(self) -> int:
        """Height of the tree: 1 for a leaf."""
        return 1


@dataclass(frozen=True)
class Number(Node):
    """A number, as written."""

    text: str

    @property
    def value(self) -> int | float:
        """The number itself: an int if it is written as one."""
        text = self.text.replace("_", "")
        return int(text) if text.lstrip("-").isdigit() else float(text)

    @property
    def depth(self) -> int:
        """Height of the tree: 1 for a leaf."""
        return 1


@dataclass(frozen=True)
class Attr(Node):
    """A keyword argument, `name = value`."""

    name: str
    value: Value


@dataclass(frozen=True, eq=False)
class Apply(Node):
    """An operation on expressions, written as an operator or as a call.

    `depth` is the nesting depth as written; a chain of infix operators of one
    precedence, `a + b - c`, is one level however long.
    """

    op: str
    args: tuple[Expr, ...]
    attrs: tuple[Attr, ...] = ()
    depth: int = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        depths = [1 + arg.depth for arg in self.args]
        mine = operator(self)
        if mine and mine.fixity == "infix":
            left = operator(self.args[0])
            depths[0] -= left is not None and left.precedence == mine.precedence
        object.__setattr__(self, "depth", max(depths, default=1))
        object.__setattr__(self, "_hash", hash((self.op, self.args, self.attrs)))

    def __reduce__(self) -> Any:
        # Hashes of strings differ between processes, so they are computed again.
        again = partial(Apply, span=self.span, comments=self.comments)
        return again, (self.op, self.args, self.attrs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Apply):
            return NotImplemented
        todo: list[tuple[Expr, Expr]] = [(self, other)]
        while todo:
            a, b = todo.pop()
            if type(a) is not type(b):
                return False
            if not isinstance(a, Apply) or not isinstance(b, Apply):
                if a != b:
                    return False
            elif a is not b:
                if (a._hash, a.op, a.attrs) != (b._hash, b.op, b.attrs):
                    return False
                if len(a.args) != len(b.args):
                    return False
                todo.extend(zip(a.args, b.args, strict=True))
        return True


Expr = Name | Number | Apply


# Values of settings and keyword arguments


@dataclass(frozen=True)
class Boolean(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class List(Node):
    """`[a, b, c]`."""

    items: tuple[Value, ...]


@dataclass(frozen=True)
class Range(Node):
    """`low..high`, inclusive at both ends."""

    low: Number
    high: Number


Value = Number | Name | Boolean | List | Range


# Statements of an attention program


@dataclass(frozen=True)
class Bind(Node):
    """`name = expr`."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Return(Node):
    """`return expr`."""

    value: Expr


Statement = Bind | Return


# Parts of models and spaces


@dataclass(frozen=True)
class Setting(Node):
    """`name = value`."""

    name: str
    value: Value


@dataclass(frozen=True)
class Layer(Node):
    """`name`, or `name(arg = value, …)`: one layer, by its token mixing."""

    name: str
    args: tuple[Attr, ...] = ()


@dataclass(frozen=True)
class Repeat(Node):
    """`repeat count { … }`."""

    count: Number
    items: tuple[LayerItem, ...]


LayerItem = Layer | Repeat


@dataclass(frozen=True)
class Layers(Node):
    """`layers { … }`."""

    items: tuple[LayerItem, ...]


@dataclass(frozen=True)
class Block(Node):
    """`name { settings }` inside a space."""

    name: str
    items: tuple[Setting, ...]


# Declarations


@dataclass(frozen=True)
class ImportName(Node):
    """`name` or `name as alias` in an import."""

    name: str
    alias: str | None = None

    @property
    def local(self) -> str:
        """The name in the importing file: the alias if there is one."""
        return self.alias or self.name


@dataclass(frozen=True)
class Import(Node):
    """`from module import names`; `module` as written (`std.attention`, `.mine`)."""

    module: str
    names: tuple[ImportName, ...]


@dataclass(frozen=True)
class Param(Node):
    """A parameter of an attention program."""

    name: str


@dataclass(frozen=True)
class Attention(Node):
    """`attention name(params) { body }`."""

    name: str
    params: tuple[Param, ...]
    body: tuple[Statement, ...]
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Model(Node):
    """`model name { settings  layers { … } }`."""

    name: str
    items: tuple[Setting | Layers, ...]
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False, kw_only=True)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings, in the order written."""
        return tuple(item for item in self.items if isinstance(item, Setting))

    @property
    def layers(self) -> tuple[LayerItem, ...]:
        """The layers as written (repeats not expanded) of every `layers` block."""
        return tuple(
            layer
            for item in self.items
            if isinstance(item, Layers)
            for layer in item.items
        )


@dataclass(frozen=True)
class Space(Node):
    """`space name { settings  blocks }`."""

    name: str
    items: tuple[Setting | Block, ...]
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False, kw_only=True)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings outside any block."""
        return tuple(item for item in self.items if isinstance(item, Setting))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks."""
        return tuple(item for item in self.items if isinstance(item, Block))


Declaration = Import | Attention | Model | Space


@dataclass(frozen=True)
class File(Node):
    """A whole file; `comments.closing` holds the comments after the last declaration."""

    declarations: tuple[Declaration, ...]


# Operators


def operator(node: Node) -> Operator | None:
    """Return the operator that `node` is written with, or None if it is not written
    with one.
    """
    if not isinstance(node, Apply) or node.attrs:
        return None
    found = OPERATORS.get(node.op)
    return found if found and found.operands == len(node.args) else None


def precedence(node: Node) -> int:
    """Return the precedence of `node` as it is written: a higher number binds
    tighter.
    """
    found = operator(node)
    return found.precedence if found else ATOM


# Walks


_Result = TypeVar("_Result")
_AnyNode = TypeVar("_AnyNode", bound=Node)


def expressions(expr: Expr) -> Iterator[Expr]:
    """Iterate over an expression and all its subexpressions, parents first, left to
    right.
    """
    todo = [expr]
    while todo:
        found = todo.pop()
        yield found
        if isinstance(found, Apply):
            todo.extend(reversed(found.args))


def fold(expr: Expr, visit: Callable[[Expr, list[_Result]], _Result]) -> _Result:
    """Compute a value for an expression bottom-up, without recursion.

    Args:
        expr: The expression.
        visit: Computes the value of a node from the node and the values of its
            operands.

    Returns:
        The value of `expr`.
    """
    todo: list[tuple[Expr, bool]] = [(expr, False)]
    done: list[_Result] = []
    while todo:
        node, ready = todo.pop()
        count = len(node.args) if isinstance(node, Apply) else 0
        if isinstance(node, Apply) and not ready:
            todo.append((node, True))
            todo.extend((arg, False) for arg in reversed(node.args))
            continue
        results = done[len(done) - count :]
        del done[len(done) - count :]
        done.append(visit(node, results))
    return done[0]


def at(expr: Expr, path: Sequence[int]) -> Expr:
    """Return the subexpression at `path`, a sequence of operand indices from the
    root.
    """
    for place in path:
        assert isinstance(expr, Apply)
        expr = expr.args[place]
    return expr


def put(expr: Expr, path: Sequence[int], new: Expr) -> Expr:
    """Return a copy of `expr` with `new` in place of the subexpression at `path`."""
    way: list[Apply] = []
    for place in path:
        assert isinstance(expr, Apply)
        way.append(expr)
        expr = expr.args[place]
    for above, place in zip(reversed(way), reversed(path), strict=True):
        args = (*above.args[:place], new, *above.args[place + 1 :])
        new = replace(above, args=args)
    return new


_FIELDS: dict[type[Any], tuple[str, ...]] = {}
_NO_PARTS = frozenset({"span", "name_span", "comments", "depth", "_hash"})


def _fields(node: Node) -> tuple[str, ...]:
    """Return the names of the fields that may hold nodes."""
    kind: type[Any] = type(node)
    if kind not in _FIELDS:
        names = (each.name for each in fields(kind))
        _FIELDS[kind] = tuple(name for name in names if name not in _NO_PARTS)
    return _FIELDS[kind]


def parts(node: Node) -> list[Node]:
    """Return the direct children of `node`, field by field."""
    found: list[Node] = []
    for name in _fields(node):
        value = getattr(node, name)
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, tuple):
            found.extend(value)
    return found


def rebuilt(
    node: _AnyNode,
    change: Callable[[Node, Node | None], dict[str, Any]],
    enters: Callable[[Node], bool] = lambda node: True,
) -> _AnyNode:
    """Return a copy of a tree with changed fields. Unchanged nodes stay the same
    objects.

    Args:
        node: The root of the tree.
        change: Called with each original node and its parent; returns the fields to
            replace.
        enters: Returns whether to visit the children of a node.
    """
    todo: list[tuple[Node, Node | None, bool]] = [(node, None, False)]
    done: list[Any] = []
    while todo:
        old, above, ready = todo.pop()
        below = parts(old) if enters(old) else []
        if below and not ready:
            todo.append((old, above, True))
            todo.extend((part, old, False) for part in reversed(below))
            continue
        new = iter(done[len(done) - len(below) :])
        changes: dict[str, Any] = {}
        for name in _fields(old) if below else ():
            value = getattr(old, name)
            if isinstance(value, Node):
                part = next(new)
                if part is not value:
                    changes[name] = part
            elif isinstance(value, tuple):
                inner = tuple(next(new) for _ in value)
                if any(a is not b for a, b in zip(inner, value, strict=True)):
                    changes[name] = inner
        del done[len(done) - len(below) :]
        changes |= change(old, above)
        done.append(replace(old, **changes) if changes else old)
    found: _AnyNode = done[0]
    return found


def swapped(root: _AnyNode, old: Node, new: Node) -> _AnyNode:
    """Return a copy of a tree in which `new` replaces the node `old`."""

    def change(node: Node, above: Node | None) -> dict[str, Any]:
        for name in _fields(node):
            value = getattr(node, name)
            if value is old:
                return {name: new}
            if isinstance(value, tuple) and any(part is old for part in value):
                return {name: tuple(new if part is old else part for part in value)}
        return {}

    return rebuilt(root, change)
