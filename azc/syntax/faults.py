"""Syntax errors in words: what Lark refuses, and the help that goes with it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from azc.diagnostics import Diagnostic
from azc.source import Source, Span

__all__ = ["KEYWORDS", "bad_words", "is_name", "unexpected"]

MAX_NUMBER = 40  # characters of one number
MAX_NAME = 100  # characters of one name

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
    "RANGE": "`..`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "STAR": "`*`",
    "SLASH": "`/`",
    "AT": "`@`",
    "TRANSPOSE": "`.T`",
}
_OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "AT", "TRANSPOSE"})
_EXPRESSION = frozenset({"NAME", "NUMBER", "LPAR", "MINUS"})
_VALUE = frozenset({"NAME", "NUMBER", "LSQB", "TRUE", "FALSE"})
_DECLARATION = frozenset({"FROM", "ATTENTION", "MODEL", "SPACE"})
# What may begin something, as one phrase instead of its tokens.
_PHRASES = (
    (_DECLARATION, "`from`, `attention`, `model` or `space`"),
    (_EXPRESSION, "an expression"),
    (_VALUE, "a value"),
)

# A line that must be a declaration, whatever is open; `attention {` is a block.
_DECLARES = re.compile(r"(attention|model|space)[ \t]+[A-Za-z_]|from[ \t]+[\w.]+[ \t]")
_TRANSPOSE = "`.T` transposes; nothing else follows a dot"
_BROKEN = "a statement goes on in the next line only inside `( )` or `[ ]`"
_COMPUTED = "a setting is a number, a name, `true`, `false`, a list or a range"
_CHARACTERS = {
    ".": _TRANSPOSE,
    '"': "names are written without quotes",
    "'": "names are written without quotes",
    ":": "a body is written in `{ }`",
    ";": "write one statement a line",
}


def _words(kind: str) -> str:
    return _TOKENS.get(kind, f"`{kind.lower()}`")


def _expected(kinds: frozenset[str]) -> str:
    """The end of a message: `: expected …`, or nothing when that says too little."""
    for tokens, phrase in _PHRASES:
        if tokens <= kinds:
            return f": expected {phrase}"
    if len(kinds & _OPERATORS) > 1:
        kinds -= _OPERATORS | {"LPAR"}
    words = sorted(map(_words, kinds))
    if not words or len(words) > 6:
        return ""
    last = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return f": expected {last}"


def _character(source: Source, error: UnexpectedCharacters) -> Diagnostic:
    start = error.pos_in_stream or 0
    char = source.text[start]
    shown = f"`{char}`" if char.isprintable() and char != "`" else ascii(char)
    span = source.span(start, start + 1)
    help_ = _CHARACTERS.get(char)
    if char == ":" and span.column <= len(source.line(span.line).rstrip()) - 1:
        help_ = None  # not Python's colon before a body
    return Diagnostic("AZG001", f"unexpected character {shown}", span, help_)


def _where(source: Source, token: Token) -> Span:
    if token.type == "$END":
        end = len(source.text.rstrip())
        return source.span(max(0, end - 1), end)
    start = token.start_pos or 0
    end = start + 1 if token.type == "_NL" else token.end_pos or 0
    return source.span(start, end)


def _unclosed(source: Source, bracket: Token) -> Diagnostic:
    span = source.span(bracket.start_pos or 0, bracket.end_pos or 0)
    return Diagnostic("AZG002", f"this `{bracket}` is never closed", span)


def _line_goes_on(source: Source, start: int) -> bool:
    """Whether the line after the one that ends at `start` carries on with something."""
    following = re.compile(r"\s*(#[^\n]*\s*)*").match(source.text, start)
    end = following.end() if following else start
    return source.text[end : end + 1] not in ("", "}", "{")


def _help(source: Source, token: Token, kinds: frozenset[str]) -> str | None:
    first_in_line = not source.line(_where(source, token).line)[
        : _where(source, token).column - 1
    ].strip()
    if token.type == "DOT" and "DOT" not in kinds:
        return _TRANSPOSE if "TRANSPOSE" in kinds else None
    if token.type == "_NL" and kinds >= _EXPRESSION:
        return _BROKEN if _line_goes_on(source, token.start_pos or 0) else None
    if token.type in _OPERATORS and first_in_line and "RETURN" in kinds:
        return _BROKEN
    computes = token.type in _OPERATORS | {"LPAR"} and not kinds & _OPERATORS
    if computes and (kinds >= _VALUE or ("RANGE" in kinds and "LPAR" not in kinds)):
        return _COMPUTED
    if str(token) == "import" and kinds >= _DECLARATION:
        return "write `from MODULE import NAME`"
    if str(token) in KEYWORDS and "NAME" in kinds:
        return f"`{token}` is a word of the language and can't be a name"
    return None


def unexpected(
    source: Source, error: UnexpectedInput, brackets: list[Token], braces: list[Token]
) -> Diagnostic:
    """The diagnostic for what Lark refuses, with the brackets and braces still open."""
    if isinstance(error, UnexpectedCharacters):
        return _character(source, error)
    if not isinstance(error, UnexpectedToken):
        raise error
    token = error.token
    span = _where(source, token)
    if brackets and (
        token.type in ("$END", "LBRACE", "RBRACE")
        or source.position(brackets[-1].start_pos or 0)[0] < span.line
    ):
        return _unclosed(source, brackets[-1])
    if braces and (
        token.type == "$END"
        or (
            _DECLARES.match(source.line(span.line))
            and source.position(braces[-1].start_pos or 0)[0] < span.line
        )
    ):
        return _unclosed(source, braces[-1])
    if not braces and token.type == "RBRACE" and "RBRACE" not in error.expected:
        return Diagnostic("AZG002", "this `}` closes nothing", span)
    kinds = frozenset(error.accepts or error.expected) - {"COMMENT"}
    found = _words(token.type) if token.type in ("_NL", "$END") else f"`{token}`"
    message = f"unexpected {found}{_expected(kinds)}"
    return Diagnostic("AZG001", message, span, _help(source, token, kinds))


def _bad_name(source: Source, token: Token) -> Diagnostic | None:
    span = source.span(token.start_pos or 0, token.end_pos or 0)
    # To names that clash azc adds numbers.
    if len(token) > MAX_NAME and not (source.own and len(token) <= MAX_NAME + 10):
        text = f"a name of {len(token):,} characters; the limit is {MAX_NAME}"
        return Diagnostic("AZG507", text, span)
    if is_name(str(token)):
        return None
    if str(token) in KEYWORDS:
        text = f"`{token}` is a word of the language and can't be a name"
        return Diagnostic("AZG003", text, span, f"write `{token}_`, say")
    text = f"names are lower case: `{token}`"
    return Diagnostic("AZG003", text, span, f"write `{str(token).lower()}`")


def _bad_number(source: Source, token: Token) -> Diagnostic | None:
    span = source.span(token.start_pos or 0, token.end_pos or 0)
    if len(token) > MAX_NUMBER:
        text = f"a number of {len(token):,} characters; the limit is {MAX_NUMBER}"
        return Diagnostic("AZG006", text, span)
    if math.isinf(float(token.replace("_", ""))):
        return Diagnostic("AZG006", f"`{token}` is too large a number", span)
    return None


def bad_words(
    source: Source, names: Sequence[Token], numbers: Iterable[Token]
) -> list[Diagnostic]:
    """What parses, but is not a name or a number of the language."""
    found = [_bad_name(source, token) for token in names if token.type == "NAME"]
    found.extend(_bad_number(source, token) for token in numbers)
    return [each for each in found if each is not None]
