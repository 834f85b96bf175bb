"""Hypothesis strategies: syntax trees, and texts in any layout that mean them.

`files()` draws a tree with no regard to types or names; `layouts(file)` writes one with
random line breaks, parentheses, calls for operators, and comments wherever one may be.
They are cached: making a strategy takes longer than drawing from it.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from azc.syntax import ast
from azc.syntax.operators import OPERATORS
from azc.syntax.parse import is_name

_LETTERS = string.ascii_lowercase + "_"
_NAMES = ["q", "k", "v", "x", "y", "add", "softmax", "a_rather_long_name_" + "z" * 30]


_SIGNS = st.sampled_from(["", "", "-"])


@cache
def names() -> st.SearchStrategy[str]:
    """Names, some of them long."""
    odd = st.text(_LETTERS + string.digits, min_size=1, max_size=12).filter(is_name)
    return st.sampled_from(_NAMES) | odd


@cache
def numbers() -> st.SearchStrategy[ast.Number]:
    """Numbers in every form they may be written in."""
    odd = ["1.", ".5", "0.5", "1e-5", "2.5E+3", "1_000", "007", "1_0e1_0", "30522"]
    return (st.sampled_from(odd) | st.integers(0, 10**9).map(str)).map(ast.Number)


def _tuples(of: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(of, min_size=least, max_size=4).map(tuple)


@cache
def signed() -> st.SearchStrategy[ast.Number]:
    """Numbers as values have them: some with a minus."""
    return st.builds(lambda sign, n: ast.Number(sign + n.text), _SIGNS, numbers())


@cache
def values() -> st.SearchStrategy[ast.Value]:
    """Values of settings and keyword arguments."""
    leaves = st.one_of(
        signed(),
        names().map(ast.Name),
        st.booleans().map(ast.Boolean),
        st.builds(ast.Range, signed(), signed()),
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=12).map(lambda i: ast.List(tuple(i))),
        max_leaves=12,
    )


@cache
def attrs() -> st.SearchStrategy[ast.Attr]:
    """Keyword arguments."""
    return st.builds(ast.Attr, names(), values())


@cache
def exprs() -> st.SearchStrategy[ast.Expr]:
    """Expressions, most of them made of operators."""

    def bigger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        pair = st.tuples(inner, inner)
        return st.one_of(
            st.builds(
                ast.Apply, st.sampled_from(["neg", "transpose"]), st.tuples(inner)
            ),
            st.builds(ast.Apply, st.sampled_from(["add", "sub", "mul", "div"]), pair),
            st.builds(ast.Apply, st.sampled_from(["matmul", "sub"]), pair),
            st.builds(ast.Apply, names(), _tuples(inner), _tuples(attrs())),
        )

    return st.recursive(numbers() | names().map(ast.Name), bigger, max_leaves=16)


@cache
def _layer_items() -> st.SearchStrategy[ast.LayerItem]:
    layer = st.builds(ast.Layer, names(), _tuples(attrs()))
    return st.recursive(
        layer,
        lambda inner: st.builds(ast.Repeat, numbers(), _tuples(inner)),
        max_leaves=6,
    )


@cache
def declarations() -> st.SearchStrategy[ast.Declaration]:
    """Declarations of every kind."""
    parts = names() | st.just("attention")
    dotted = st.lists(parts, min_size=1, max_size=4).map(".".join)
    modules = st.builds(str.__add__, st.sampled_from(["", "."]), dotted)
    import_names = st.builds(ast.ImportName, names(), st.none() | names())
    settings = st.builds(ast.Setting, names(), values())
    statements = st.builds(ast.Bind, names(), exprs()) | st.builds(ast.Return, exprs())
    layers = st.builds(ast.Layers, _tuples(_layer_items()))
    block_names = names() | st.just("attention")
    blocks = st.builds(ast.Block, block_names, _tuples(settings))
    params = names().map(ast.Param)
    return st.one_of(
        st.builds(ast.Import, modules, _tuples(import_names, 1)),
        st.builds(ast.Attention, names(), _tuples(params), _tuples(statements)),
        st.builds(ast.Model, names(), _tuples(settings | layers)),
        st.builds(ast.Space, names(), _tuples(settings | blocks)),
    )


@cache
def files() -> st.SearchStrategy[ast.File]:
    """Whole files, without comments or places."""
    return st.builds(ast.File, _tuples(declarations()))


# Comments put on a tree


def _rebuilt(node: ast.Node, change: Callable[[Any], Any]) -> Any:
    changes = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, ast.Node):
            changes[field.name] = _rebuilt(value, change)
        elif isinstance(value, tuple):
            changes[field.name] = tuple(_rebuilt(part, change) for part in value)
    return change(replace(node, **changes))


@st.composite
def decorated(draw: st.DrawFn) -> tuple[ast.File, list[str]]:
    """A file with comments on any node, as a mutation may leave them, and those."""
    file = draw(files())
    random = Random(draw(st.integers(0, 2**32)))
    used: list[str] = []

    def text() -> str:
        used.append(f"# c{len(used)}")
        return used[-1]

    def lines() -> tuple[str, ...]:
        return tuple(random.choice([text, str])() for _ in range(random.randrange(4)))

    closed = (ast.File, ast.Attention, ast.Model, ast.Space, ast.Layers, ast.Repeat)
    closed += (ast.Block, ast.List, ast.Layer, ast.Import, ast.Apply)

    def change(node: ast.Node) -> ast.Node:
        if random.random() < 0.6:
            return node
        closing = lines() if isinstance(node, closed) else ()
        if isinstance(node, ast.File):
            return replace(node, comments=ast.Comments(closing=closing))
        after = text() if random.random() < 0.4 else None
        return replace(node, comments=ast.Comments(lines(), after, closing))

    return _rebuilt(file, change), used


# Texts in any layout


def _separated(parts: Iterable[list[str]], random: Random) -> list[str]:
    tokens: list[str] = []
    for part in parts:
        tokens += [",", *part] if tokens else part
    return [*tokens, ","] if tokens and random.random() < 0.3 else tokens


class _Loose:
    """Writes nodes as tokens, `\\n` for the end of a statement."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def list(self, nodes: Sequence[ast.Node]) -> list[str]:
        return _separated(map(self.tokens, nodes), self.random)

    def body(self, nodes: Sequence[ast.Node]) -> list[str]:
        tokens = [token for node in nodes for token in (*self.tokens(node), "\n")]
        if tokens and self.random.random() < 0.3:
            tokens.pop()
        return ["{", *tokens, "}"]

    def expr(self, node: ast.Expr) -> list[str]:
        if self.random.random() < 0.1:
            return ["(", *self.expr(node), ")"]
        if not isinstance(node, ast.Apply):
            return self.tokens(node)
        found = OPERATORS.get(node.op)
        fits = found and found.operands == len(node.args) and not node.attrs
        if not found or not fits or self.random.random() < 0.2:
            elements: list[ast.Node] = [*node.args, *node.attrs]
            return [node.op, "(", *self.list(elements), ")"]
        operands = [["(", *self.expr(arg), ")"] for arg in node.args]
        if found.fixity == "prefix":
            return [found.symbol, *operands[0]]
        if found.fixity == "postfix":
            return [*operands[0], found.symbol]
        return [*operands[0], found.symbol, *operands[1]]

    def tokens(self, node: ast.Node) -> list[str]:
        match node:
            case ast.Name(id=text) | ast.Number(text=text):
                return [text]
            case ast.Param(name=text):
                return [text]
            case ast.Boolean():
                return ["true" if node.value else "false"]
            case ast.Range():
                return [node.low.text, "..", node.high.text]
            case ast.List():
                return ["[", *self.list(node.items), "]"]
            case ast.Apply():
                return self.expr(node)
            case ast.Attr() | ast.Setting():
                return [node.name, "=", *self.tokens(node.value)]
            case ast.Bind():
                return [node.name, "=", *self.expr(node.value)]
            case ast.Return():
                return ["return", *self.expr(node.value)]
            case ast.ImportName():
                return [node.name, *(["as", node.alias] if node.alias else [])]
        return self.block(node)

    def block(self, node: ast.Node) -> list[str]:
        match node:
            case ast.Import():
                imported = ["(", *self.list(node.names), ")"]
                if "," not in imported[-2] and self.random.random() < 0.5:
                    imported = imported[1:-1]
                return ["from", node.module, "import", *imported]
            case ast.Layer():
                if not node.args and self.random.random() < 0.5:
                    return [node.name]
                return [node.name, "(", *self.list(node.args), ")"]
            case ast.Attention():
                params = ["(", *self.list(node.params), ")"]
                return ["attention", node.name, *params, *self.body(node.body)]
            case ast.Model():
                return ["model", node.name, *self.body(node.items)]
            case ast.Space():
                return ["space", node.name, *self.body(node.items)]
            case ast.Layers():
                return ["layers", *self.body(node.items)]
            case ast.Repeat():
                return ["repeat", node.count.text, *self.body(node.items)]
            case ast.Block():
                return [node.name, *self.body(node.items)]
        raise AssertionError(node)


@st.composite
def layouts(draw: st.DrawFn, file: ast.File) -> tuple[str, list[str]]:
    """A text that means `file`, and its comments."""
    random = Random(draw(st.integers(0, 2**32)))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    frequency = draw(st.sampled_from([0.0, 0.05, 0.4]))
    loose = _Loose(random)
    used: list[str] = []

    def spaces() -> str:
        return random.choice([" ", " ", "  ", "\t", "    "])

    def comment() -> str:
        if random.random() >= frequency:
            return spaces()
        used.append(f"# c{len(used)} {{ ( [ = 'text' é # twice")
        return spaces() + used[-1] + random.choice(["", "  "])

    def ends(least: int) -> str:
        count = random.choice([least, least, 1, 1, 2, 4])
        lines = "".join(comment() + newline for _ in range(count))
        return lines + spaces()

    text = ends(0)
    depth = 0
    for declaration in file.declarations:
        for token in (*loose.tokens(declaration), "\n"):
            if token == "\n":
                text += ends(1)
                continue
            depth += (token in ("(", "[")) - (token in (")", "]"))
            if token == "}" and random.random() < 0.6:
                text += ends(1)
            text += token
            if depth or token == "{":
                text += ends(0) if random.random() < frequency + 0.1 else spaces()
            else:
                text += spaces()
    return text + comment(), used
