"""Text to syntax tree: the parser, with its diagnostics (AZG0xx, and the limits)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

from lark import Lark, Token, Tree, v_args
from lark.exceptions import (
    UnexpectedCharacters,
    UnexpectedInput,
    UnexpectedToken,
    VisitError,
)
from lark.lark import PostLex
from lark.visitors import Transformer_NonRecursive

from azc.diagnostics import Diagnostic, DiagnosticError
from azc.resources import grammar_text
from azc.source import Source, Span
from azc.syntax import ast
from azc.syntax.comments import attach

__all__ = ["MAX_DEPTH", "MAX_TEXT", "is_name", "parse", "read_source"]

MAX_DEPTH = 64  # levels of an expression, a list or `repeat`
MAX_TEXT = 1_000_000  # characters of one file
MAX_ERRORS = 20  # syntax errors reported in one run

KEYWORDS = frozenset(
    "from import as attention model layers repeat space return true false".split()
)


def is_name(text: str) -> bool:
    """Whether `text` may name something in azg: `[a-z_][a-z0-9_]*`, not a keyword."""
    return (
        text.isascii()
        and text.isidentifier()
        and text == text.lower()
        and text not in KEYWORDS
    )


class _Newlines(PostLex):
    """Drops newlines inside ( ) and [ ] and folds runs of the others into one."""

    always_accept = ("_NL",)

    def __init__(self) -> None:
        self.open: list[Token] = []
        self.nesting = 0

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        self.open = []
        self.nesting = 0
        previous = ""
        for token in stream:
            if token.type in ("LPAR", "LSQB"):
                self.open.append(token)
            elif token.type in ("RPAR", "RSQB") and self.open:
                self.open.pop()
            if token.type in ("LPAR", "LSQB", "LBRACE"):
                self.nesting += 1
                if self.nesting > MAX_DEPTH:
                    raise _TooDeep(token.start_pos or 0, token.end_pos or 0)
            elif token.type in ("RPAR", "RSQB", "RBRACE"):
                self.nesting -= 1
            if token.type == "_NL" and (self.open or previous == "_NL"):
                continue
            previous = token.type
            yield token


class _TooDeep(Exception):
    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start = start
        self.end = end


def _tokens(items: list[Any]) -> list[str]:
    return [str(item) for item in items if isinstance(item, Token)]


# Lark calls each method with the place and the children of the rule of that name.
@v_args(meta=True)
class _Build(Transformer_NonRecursive[Token, Any]):
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
            raise _TooDeep(span.start, span.end)
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
        return ast.Number(str(items[0]), span=self.span(meta))

    name_value = name
    number_value = number

    def true(self, meta: Any, items: list[Any]) -> ast.Boolean:
        return ast.Boolean(True, span=self.span(meta))

    def false(self, meta: Any, items: list[Any]) -> ast.Boolean:
        return ast.Boolean(False, span=self.span(meta))

    def range(self, meta: Any, items: list[Any]) -> ast.Range:
        return ast.Range(items[0], items[1], span=self.span(meta))

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


def _import(self: _Build, meta: Any, items: list[Any]) -> ast.Import:
    module, _ = items[0]
    return ast.Import(module, tuple(items[1:]), span=self.span(meta))


def _return(self: _Build, meta: Any, items: list[Any]) -> ast.Return:
    return ast.Return(items[0], span=self.span(meta))


def _list(self: _Build, meta: Any, items: list[Any]) -> ast.List:
    return ast.List(tuple(items), span=self.span(meta))


def _repeat(self: _Build, meta: Any, items: list[Any]) -> ast.Repeat:
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
    setattr(_Build, _rule, v_args(meta=True)(_method))


class _Parser:
    """Lark's parser with what it collects beside the tree; one text at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.newlines = _Newlines()
        self.build = _Build()
        self.comments: list[Token] = []
        self.names: list[Token] = []
        self.lark = Lark(
            grammar_text(),
            parser="lalr",
            start="file",
            propagate_positions=True,
            maybe_placeholders=False,
            postlex=self.newlines,
            lexer_callbacks={"COMMENT": self._comment, "NAME": self._name},
        )

    def _comment(self, token: Token) -> Token:
        self.comments.append(token)
        return token

    def _name(self, token: Token) -> Token:
        self.names.append(token)
        return token

    def parse(self, source: Source, text: str) -> ast.File:
        self.build.source = source
        self.comments.clear()
        self.names.clear()
        tree: Tree[Token] = self.lark.parse(text)
        try:
            file: ast.File = self.build.transform(tree)
        except VisitError as error:
            raise error.orig_exc from error
        return file


@cache
def _parser() -> _Parser:
    return _Parser()


_TOKENS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "_NL": "end of line",
    "$END": "end of file",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "EQUAL": "`=`",
    "COMMA": "`,`",
    "DOT": "`.`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "STAR": "`*`",
    "SLASH": "`/`",
    "AT": "`@`",
    "TRANSPOSE": "`.T`",
}
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "AT", "TRANSPOSE"}


def _token_words(kind: str) -> str:
    return _TOKENS.get(kind, f"`{kind.lower()}`")


def _expected(kinds: set[str]) -> str | None:
    if "RPAR" in kinds and len(kinds & _OPERATORS) > 1:
        kinds = kinds - _OPERATORS
    if len(kinds & _OPERATORS) > 1:
        kinds = (kinds - _OPERATORS - {"LPAR"}) | ({"_NL"} & kinds)
    words = sorted(_token_words(kind) for kind in kinds - {"COMMENT"})
    if not words or len(words) > 6:
        return None
    if len(words) == 1:
        return f"expected {words[0]}"
    return f"expected {', '.join(words[:-1])} or {words[-1]}"


def _unexpected(
    source: Source, error: UnexpectedInput, open_: list[Token]
) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        start = error.pos_in_stream or 0
        span = source.span(start, start + 1)
        char = source.text[start]
        help_ = "`.T` transposes; nothing else follows a dot" if char == "." else None
        return Diagnostic("AZG001", f"unexpected character {char!r}", span, help_)
    if not isinstance(error, UnexpectedToken):
        raise error
    token = error.token
    if token.type == "$END":
        end = len(source.text.rstrip())
        span = source.span(max(0, end - 1), end)
    else:
        span = source.span(token.start_pos or 0, token.end_pos or 0)
    if open_ and (
        token.type in ("$END", "LBRACE", "RBRACE")
        or source.position(open_[-1].start_pos or 0)[0] < span.line
    ):
        bracket = open_[-1]
        span = source.span(bracket.start_pos or 0, bracket.end_pos or 0)
        return Diagnostic("AZG002", f"this `{bracket}` is never closed", span)
    found = _token_words(token.type) if token.type in ("_NL", "$END") else f"`{token}`"
    if token.type == "_NL":
        span = source.span(span.start, span.start + 1)
    help_ = None
    if str(token) in KEYWORDS and "NAME" in error.accepts | error.expected:
        help_ = f"`{token}` is a word of the language and can't be a name"
    expected = _expected(set(error.accepts or error.expected))
    message = f"unexpected {found}" + (f": {expected}" if expected else "")
    return Diagnostic("AZG001", message, span, help_)


def _blank(text: str, line_start: int) -> str | None:
    """The text with the line at `line_start` blanked, or None if it has a brace."""
    end = text.find("\n", line_start)
    end = len(text) if end < 0 else end
    line = text[line_start:end]
    if "{" in line or "}" in line or not line.strip():
        return None
    return text[:line_start] + " " * len(line) + text[end:]


def _bad_names(source: Source, names: list[Token]) -> list[Diagnostic]:
    found = []
    for token in names:
        if is_name(str(token)) or token.type != "NAME":
            continue
        span = source.span(token.start_pos or 0, token.end_pos or 0)
        if str(token) in KEYWORDS:
            text = f"`{token}` is a word of the language and can't be a name"
            help_ = f"write `{token}_`, say"
        else:
            text = f"names are lower case: `{token}`"
            help_ = f"write `{str(token).lower()}`"
        found.append(Diagnostic("AZG003", text, span, help_))
    return found


def parse(source: Source) -> ast.File:
    """The syntax tree of a file, with its comments attached.

    Raises `DiagnosticError` with every syntax error found: after one, the rest of its
    line is skipped and parsing goes on.
    """
    if len(source.text) > MAX_TEXT:
        text = f"the file has {len(source.text):,} characters; at most {MAX_TEXT:,} do"
        raise DiagnosticError([Diagnostic("AZG501", text, source.span(0, 1))])
    parser = _parser()
    with parser.lock:
        return _parse(parser, source)


def _parse(parser: _Parser, source: Source) -> ast.File:
    text = source.text
    errors: list[Diagnostic] = []
    while len(errors) < MAX_ERRORS:
        try:
            file = parser.parse(source, text)
        except _TooDeep as error:
            span = source.span(error.start, error.end)
            message = f"nested more than {MAX_DEPTH} levels deep"
            help_ = "bind the inner part to a name first"
            errors.append(Diagnostic("AZG502", message, span, help_))
            break
        except UnexpectedInput as error:
            found = _unexpected(source, error, parser.newlines.open)
            errors.append(found)
            start = found.span.start if found.span else 0
            blanked = _blank(text, text.rfind("\n", 0, start) + 1)
            if blanked is None:
                break
            text = blanked
        else:
            errors.extend(_bad_names(source, parser.names))
            if errors:
                break
            return attach(file, [(t.start_pos or 0, str(t)) for t in parser.comments])
    _raise(errors)


def _raise(errors: list[Diagnostic]) -> NoReturn:
    raise DiagnosticError(
        sorted(errors, key=lambda d: d.span.start if d.span else 0)[:MAX_ERRORS]
    )


def read_source(path: Path, name: str | None = None) -> Source:
    """The text of a file as a `Source` shown as `name` (by default the path as given).

    Raises `DiagnosticError` when it can't be read or is not UTF-8 text.
    """
    shown = name or str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"can't read {shown}: {reason}"
        raise DiagnosticError([Diagnostic("AZG005", message, None)]) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{shown} is not UTF-8 text (byte {error.start})"
        raise DiagnosticError([Diagnostic("AZG004", message, None)]) from error
    return Source(shown, text)
