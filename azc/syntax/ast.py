"""The syntax tree of an azg file.

    file      = File(declarations)
    decl      = Import(module, names) | Attention(name, params, body)
              | Model(name, items) | Space(name, items)
    statement = Bind(name, value) | Return(value)
    expr      = Name(id) | Number(text) | Apply(op, args, attrs)
    item      = Setting(name, value) | Layers(items) | Block(name, items)
    layer     = Layer(name, args) | Repeat(count, items)
    value     = Number | Name | Boolean | List(items) | Range(low, high)

Nodes are immutable and compare by meaning: spans and comments take no part. Operators
and calls are one node, `Apply`: `q + k` and `add(q, k)` are the same tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from azc.source import Source, Span

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
    "expressions",
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
    """What every node carries beside its meaning."""

    span: Span = field(default=NO_SPAN, compare=False, repr=False)
    comments: Comments = field(default=NO_COMMENTS, compare=False, repr=False)


# Expressions


@dataclass(frozen=True)
class Name(Node):
    """A reference to a parameter or a bound name (or, as a value, to anything)."""

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
        return int(text) if text.isdigit() else float(text)

    @property
    def depth(self) -> int:
        """Height of the tree: 1 for a leaf."""
        return 1


@dataclass(frozen=True)
class Attr(Node):
    """A keyword argument, `name = value`."""

    name: str
    value: Value


@dataclass(frozen=True)
class Apply(Node):
    """An operation on expressions, written as an operator or as a call."""

    op: str
    args: tuple[Expr, ...]
    attrs: tuple[Attr, ...] = ()
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        depth = 1 + max((arg.depth for arg in self.args), default=0)
        object.__setattr__(self, "depth", depth)


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
    """`low..high`, both ends in."""

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
        """The name that the importing file knows it by."""
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
    """A whole file; its `comments.closing` are those after the last declaration."""

    declarations: tuple[Declaration, ...]


def expressions(expr: Expr) -> Iterator[Expr]:
    """The expression and all its parts, parents first, left to right."""
    todo = [expr]
    while todo:
        found = todo.pop()
        yield found
        if isinstance(found, Apply):
            todo.extend(reversed(found.args))
