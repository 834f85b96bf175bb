"""Construction of the syntax tree: one method for each grammar rule, with the rule's
name.

Lark calls a method as soon as it has read the rule, with all items of the rule: tokens,
and the results of the methods for the rules inside. It builds no parse tree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lark import Token

from azc.source import Source, Span
from azc.syntax import ast

__all__ = ["MAX_DEPTH", "Build", "TooDeep"]

MAX_DEPTH = 64  # levels of an expression, a list or `repeat`


class TooDeep(Exception):
    """Raised where the text from `start` to `end` is nested deeper than `MAX_DEPTH`."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start = start
        self.end = end


class _Group(NamedTuple):
    """An expression in parentheses, with the offsets where they start and end."""

    node: ast.Expr
    start: int
    end: int


def _nodes(items: list[Any]) -> tuple[Any, ...]:
    """Return the nodes among `items`: drop tokens and unwrap parentheses."""
    return tuple(
        item.node if isinstance(item, _Group) else item
        for item in items
        if not isinstance(item, Token)
    )


def _start(item: Any) -> int:
    if isinstance(item, Token):
        return item.start_pos or 0
    return int(item.start if isinstance(item, _Group) else item.span.start)


def _end(item: Any) -> int:
    if isinstance(item, Token):
        return item.end_pos or 0
    return int(item.end if isinstance(item, _Group) else item.span.end)


class Build:
    """Builder of the nodes, bottom-up, for one text at a time."""

    def __init__(self) -> None:
        self.source = Source("", "")

    def span(self, items: list[Any]) -> Span:
        return Span(self.source, _start(items[0]), _end(items[-1]))

    def _apply(self, items: list[Any], op: str, args: tuple[Any, ...]) -> ast.Apply:
        attrs = tuple(arg for arg in args if isinstance(arg, ast.Attr))
        operands = args
        if attrs:
            operands = tuple(arg for arg in args if not isinstance(arg, ast.Attr))
        span = self.span(items)
        node = ast.Apply(op, operands, attrs, span=span)
        if node.depth > MAX_DEPTH:
            raise TooDeep(span.start, span.end)
        return node

    def file(self, items: list[Any]) -> ast.File:
        whole = Span(self.source, 0, len(self.source.text))
        return ast.File(_nodes(items), span=whole)

    def module(self, items: list[Token]) -> str:
        return "".join(items)

    def import_name(self, items: list[Token]) -> ast.ImportName:
        alias = str(items[2]) if len(items) > 1 else None
        return ast.ImportName(str(items[0]), alias, span=self.span(items))

    def param(self, items: list[Token]) -> ast.Param:
        return ast.Param(str(items[0]), span=self.span(items))

    def body(self, items: list[Any]) -> tuple[Any, ...]:
        return _nodes(items)

    model_body = layer_body = space_body = block_body = body

    def _named(self, items: list[Any]) -> dict[str, Any]:
        return {"span": self.span(items), "name_span": self.span(items[1:2])}

    def attention(self, items: list[Any]) -> ast.Attention:
        params = tuple(i for i in items if isinstance(i, ast.Param))
        return ast.Attention(str(items[1]), params, items[-2], **self._named(items))

    def model(self, items: list[Any]) -> ast.Model:
        return ast.Model(str(items[1]), items[3], **self._named(items))

    def space(self, items: list[Any]) -> ast.Space:
        return ast.Space(str(items[1]), items[3], **self._named(items))

    def bind(self, items: list[Any]) -> ast.Bind:
        return ast.Bind(str(items[0]), *_nodes(items), span=self.span(items))

    def setting(self, items: list[Any]) -> ast.Setting:
        return ast.Setting(str(items[0]), items[2], span=self.span(items))

    def attr(self, items: list[Any]) -> ast.Attr:
        return ast.Attr(str(items[0]), items[2], span=self.span(items))

    def layers(self, items: list[Any]) -> ast.Layers:
        return ast.Layers(items[2], span=self.span(items))

    def layer(self, items: list[Any]) -> ast.Layer:
        return ast.Layer(str(items[0]), _nodes(items), span=self.span(items))

    def block_name(self, items: list[Token]) -> Token:
        return items[0]

    def block(self, items: list[Any]) -> ast.Block:
        return ast.Block(str(items[0]), items[2], span=self.span(items))

    def name(self, items: list[Token]) -> ast.Name:
        return ast.Name(str(items[0]), span=self.span(items))

    def number(self, items: list[Token]) -> ast.Number:
        return ast.Number("".join(items), span=self.span(items))

    name_value = name
    number_value = number

    def true(self, items: list[Token]) -> ast.Boolean:
        return ast.Boolean(True, span=self.span(items))

    def false(self, items: list[Token]) -> ast.Boolean:
        return ast.Boolean(False, span=self.span(items))

    def range(self, items: list[Any]) -> ast.Range:
        return ast.Range(items[0], items[2], span=self.span(items))

    def call(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, str(items[0]), _nodes(items))

    def group(self, items: list[Any]) -> _Group:
        (node,) = _nodes(items)
        return _Group(node, _start(items[0]), _end(items[-1]))

    def transpose(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "transpose", _nodes(items))

    def neg(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "neg", _nodes(items))

    def add(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "add", _nodes(items))

    def sub(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "sub", _nodes(items))

    def mul(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "mul", _nodes(items))

    def div(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "div", _nodes(items))

    def matmul(self, items: list[Any]) -> ast.Apply:
        return self._apply(items, "matmul", _nodes(items))


def _import(self: Build, items: list[Any]) -> ast.Import:
    names = tuple(i for i in items if isinstance(i, ast.ImportName))
    return ast.Import(items[1], names, span=self.span(items))


def _return(self: Build, items: list[Any]) -> ast.Return:
    return ast.Return(*_nodes(items), span=self.span(items))


def _list(self: Build, items: list[Any]) -> ast.List:
    return ast.List(_nodes(items), span=self.span(items))


def _repeat(self: Build, items: list[Any]) -> ast.Repeat:
    count = ast.Number(str(items[1]), span=self.span(items[1:2]))
    return ast.Repeat(count, items[3], span=self.span(items))


# Rules whose names are Python keywords or builtins.
for _rule, _method in {
    "import": _import,
    "return": _return,
    "list": _list,
    "repeat": _repeat,
}.items():
    setattr(Build, _rule, _method)
