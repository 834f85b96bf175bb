"""Lark's parse tree to nodes: one method a rule of the grammar, named like the rule."""

from __future__ import annotations

from typing import Any

from lark import Token, v_args
from lark.visitors import Transformer_NonRecursive

from azc.source import Source, Span
from azc.syntax import ast

__all__ = ["MAX_DEPTH", "Build", "TooDeep"]

MAX_DEPTH = 64  # levels of an expression, a list or `repeat`


class TooDeep(Exception):
    """What is nested deeper than `MAX_DEPTH`, from `start` to `end` in the text."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start = start
        self.end = end


def _tokens(items: list[Any]) -> list[str]:
    return [str(item) for item in items if isinstance(item, Token)]


# Lark calls each method with the place and the children of the rule of that name.
@v_args(meta=True)
class Build(Transformer_NonRecursive[Token, Any]):
    """Builds nodes bottom-up, without recursion whatever the nesting."""

    def __init__(self) -> None:
        super().__init__(visit_tokens=False)
        self.source = Source("", "")

    def span(self, meta: Any) -> Span:
        if meta.empty:
            return self.source.span(0, 0)
        return self.source.span(meta.start_pos, meta.end_pos)

    def _apply(self, meta: Any, op: str, args: list[Any]) -> ast.Apply:
        attrs = tuple(arg for arg in args if isinstance(arg, ast.Attr))
        operands = tuple(arg for arg in args if not isinstance(arg, ast.Attr))
        span = self.span(meta)
        node = ast.Apply(op, operands, attrs, span=span)
        if node.depth > MAX_DEPTH:
            raise TooDeep(span.start, span.end)
        return node

    def file(self, meta: Any, items: list[Any]) -> ast.File:
        declarations = tuple(i for i in items if not isinstance(i, Token))
        return ast.File(declarations, span=self.source.span(0, len(self.source.text)))

    def module(self, meta: Any, items: list[Token]) -> tuple[str, Span]:
        dotted = [str(i) for i in items]
        return "".join(dotted), self.span(meta)

    def import_name(self, meta: Any, items: list[Any]) -> ast.ImportName:
        names = _tokens(items)
        alias = names[1] if len(names) > 1 else None
        return ast.ImportName(names[0], alias, span=self.span(meta))

    def param(self, meta: Any, items: list[Any]) -> ast.Param:
        return ast.Param(str(items[0]), span=self.span(meta))

    def body(self, meta: Any, items: list[Any]) -> tuple[Any, ...]:
        return tuple(i for i in items if not isinstance(i, Token))

    model_body = layer_body = space_body = block_body = body

    def _named(self, meta: Any, items: list[Any]) -> dict[str, Any]:
        name = items[0]
        return {
            "span": self.span(meta),
            "name_span": self.source.span(name.start_pos, name.end_pos),
        }

    def attention(self, meta: Any, items: list[Any]) -> ast.Attention:
        params = tuple(i for i in items if isinstance(i, ast.Param))
        where = self._named(meta, items)
        return ast.Attention(str(items[0]), params, items[-1], **where)

    def model(self, meta: Any, items: list[Any]) -> ast.Model:
        return ast.Model(str(items[0]), items[1], **self._named(meta, items))

    def space(self, meta: Any, items: list[Any]) -> ast.Space:
        return ast.Space(str(items[0]), items[1], **self._named(meta, items))

    def bind(self, meta: Any, items: list[Any]) -> ast.Bind:
        return ast.Bind(str(items[0]), items[1], span=self.span(meta))

    def setting(self, meta: Any, items: list[Any]) -> ast.Setting:
        return ast.Setting(str(items[0]), items[1], span=self.span(meta))

    def attr(self, meta: Any, items: list[Any]) -> ast.Attr:
        return ast.Attr(str(items[0]), items[1], span=self.span(meta))

    def layers(self, meta: Any, items: list[Any]) -> ast.Layers:
        return ast.Layers(items[0], span=self.span(meta))

    def layer(self, meta: Any, items: list[Any]) -> ast.Layer:
        return ast.Layer(str(items[0]), tuple(items[1:]), span=self.span(meta))

    def block_name(self, meta: Any, items: list[Any]) -> str:
        return str(items[0])

    def block(self, meta: Any, items: list[Any]) -> ast.Block:
        return ast.Block(items[0], items[1], span=self.span(meta))

    def name(self, meta: Any, items: list[Any]) -> ast.Name:
        return ast.Name(str(items[0]), span=self.span(meta))

    def number(self, meta: Any, items: list[Any]) -> ast.Number:
        return ast.Number("".join(map(str, items)), span=self.span(meta))

    name_value = name
    number_value = number

    def true(self, meta: Any, items: list[Any]) -> ast.Boolean:
        return ast.Boolean(True, span=self.span(meta))

    def false(self, meta: Any, items: list[Any]) -> ast.Boolean:
        return ast.Boolean(False, span=self.span(meta))

    def range(self, meta: Any, items: list[Any]) -> ast.Range:
        return ast.Range(items[0], items[-1], span=self.span(meta))

    def call(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, str(items[0]), items[1:])

    def group(self, meta: Any, items: list[Any]) -> Any:
        return items[0]

    def transpose(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "transpose", items[:1])

    def neg(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "neg", items)

    def add(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "add", items)

    def sub(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "sub", items)

    def mul(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "mul", items)

    def div(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "div", items)

    def matmul(self, meta: Any, items: list[Any]) -> ast.Apply:
        return self._apply(meta, "matmul", items)


def _import(self: Build, meta: Any, items: list[Any]) -> ast.Import:
    module, _ = items[0]
    return ast.Import(module, tuple(items[1:]), span=self.span(meta))


def _return(self: Build, meta: Any, items: list[Any]) -> ast.Return:
    return ast.Return(items[0], span=self.span(meta))


def _list(self: Build, meta: Any, items: list[Any]) -> ast.List:
    return ast.List(tuple(items), span=self.span(meta))


def _repeat(self: Build, meta: Any, items: list[Any]) -> ast.Repeat:
    token = items[0]
    count = ast.Number(
        str(token), span=self.source.span(token.start_pos, token.end_pos)
    )
    return ast.Repeat(count, items[1], span=self.span(meta))


# Rules whose names are Python's own words.
for _rule, _method in {
    "import": _import,
    "return": _return,
    "list": _list,
    "repeat": _repeat,
}.items():
    setattr(Build, _rule, v_args(meta=True)(_method))
