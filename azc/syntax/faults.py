"""Diagnostics for syntax errors: messages for the input that Lark rejects, and their
help.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from azc.diagnostics import Diagnostic, Fix
from azc.source import Source, Span

__all__ = ["KEYWORDS", "bad_words", "is_name", "unexpected"]

MAX_NUMBER = 40  # characters of one number
MAX_NAME = 100  # characters of one name

KEYWORDS = frozenset(
    "from import as attention model layers repeat space return true false".split()
)


def is_name(text: str) -> bool:
    """Return whether `text` is a valid azg name: `[a-z_][a-z0-9_]*` and not a
    keyword.
    """
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
_VALUE = frozenset({"NAME", "NUMBER", "MINUS", "LSQB", "TRUE", "FALSE"})
_NUMBER = frozenset({"NUMBER", "MINUS"})
_DECLARATION = frozenset({"FROM", "ATTENTION", "MODEL", "SPACE"})
# Sets of tokens that a message names by one phrase.
_PHRASES = (
    (_DECLARATION, "`from`, `attention`, `model` or `space`"),
    (_EXPRESSION, "an expression"),
    (_VALUE, "a value"),
    (_NUMBER, "a number"),
)

# A line that must be a declaration, even inside open braces; `attention {` is a block.
_DECLARES = re.compile(r"(attention|model|space)[ \t]+[A-Za-z_]|from[ \t]+[\w.]+[ \t]")
_TRANSPOSE = "`.T` transposes; nothing else follows a dot"
_BROKEN = "a statement continues on the next line only inside `( )` or `[ ]`"
_COMPUTED = "the value must be a number, a name, `true`, `false`, a list or a range"
_POWER = "`square(x)` is x², `sqrt(x)` is √x"
_DIVIDES = "`/` divides without rounding"
_LAYERS = (
    "a model lists its layers in `layers { … }`; a space sets their number, `depth`"
)
_NO_INDEX = "a value is a whole matrix and can't be indexed"
_NO_PREFIX = "call operations without a prefix"
_NO_METHODS = "call operations as functions, not as methods"
_NO_ARROW = "programs have no return type: the result is always [n, d]"
_NO_CONDITION = (
    "a program has no conditions and no comparisons; `relu(x)` replaces negative values"
    " by 0, `maximum(x, y)` is the larger of two values"
)
_NO_SCAN = (
    "a program has no recurrence; in a model with `causal = true`, `k.T @ v` sums over"
    " the tokens so far"
)
_LEARNED = "`conv(x, kernel = 1)` multiplies every feature by a learned weight"
_REPEAT = "a program has no loops; in a model, `repeat 4 { … }` repeats layers"
_DECLARE = "a program is declared as `attention name(q, k, v) { … }`"
_NAMES = "names are made of a to z, 0 to 9 and _"
_BIND = "write `name = expression`, without a keyword before it"
# Keywords of other languages that a line may start with.
_HABITS = {
    **dict.fromkeys(("def", "fn", "func", "function", "lambda", "program"), _DECLARE),
    "class": "a model is declared as `model name { … }`",
    **dict.fromkeys(("if", "elif", "else", "match", "assert"), _NO_CONDITION),
    **dict.fromkeys(("for", "while"), _REPEAT),
    **dict.fromkeys(("let", "const", "var", "val", "global"), _BIND),
    "scan": _NO_SCAN,
    **dict.fromkeys(("learned", "param", "parameter"), _LEARNED),
    "import": "write `from MODULE import NAME`",
    "print": "`azc check -v` shows the type of every value",
    "pass": "a program ends with `return` and an expression",
}
_TURNED = "ᵀ⊤"
_PRIMES = "'’′"
_CHARACTERS = {
    ".": _TRANSPOSE,
    ":": "a body is written in `{ }`",
    ";": "write one statement per line",
    "^": _POWER,
    "\\": _BROKEN,
    "%": "there is no remainder operator",
    "²": "`square(x)` is x²",
    "³": "`square(x) * x` is x³",
    "√": "`sqrt(x)` is √x",
    **dict.fromkeys(_TURNED, "write `.T`"),
    "\r": "end lines with a line feed (U+000A), alone or after a carriage return",
    **dict.fromkeys("<>!&|~?≤≥≠", _NO_CONDITION),
    **dict.fromkeys("\"'“”‘’`´", "names are written without quotes"),
}


def _words(kind: str) -> str:
    return _TOKENS.get(kind, f"`{kind.lower()}`")


def _expected(kinds: frozenset[str]) -> str:
    """Return the end of a message, `: expected …`, or nothing if that would say too
    little.
    """
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
    if not char.isascii():
        name = unicodedata.name(char, "").lower()
        shown += f", U+{ord(char):04X}" + (f" ({name})" if name else "")
    span = source.span(start, start + 1)
    help_ = _CHARACTERS.get(char)
    line = source.line(span.line)
    if char == ":" and span.column <= len(line.rstrip()) - 1:
        help_ = None  # not Python's colon before a body
        if re.match(r"\s*\w+\s*:", line):
            help_ = "remove the annotation: azc infers the types of values"
    elif char == ">" and line[: span.column - 1].endswith("-"):
        help_ = _NO_ARROW
    elif char == "^":
        help_ = _power(source, start, start + 1)
    elif char in _PRIMES and re.search(r"[\w)]$", line[: span.column - 1]):
        help_ = f"`.T` transposes; {_NAMES}"
    elif help_ is None and not char.isascii() and char.isalpha():
        help_ = _NAMES
    fix = Fix(span, ".T") if char in _TURNED else None
    return Diagnostic("AZG001", f"unexpected character {shown}", span, help_, fix=fix)


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


def _unopened(source: Source, span: Span) -> Diagnostic:
    """Report a row of braces that close nothing as one error."""
    found = re.compile(r"\}(?:[ \t]*\})*").match(source.text, span.start)
    end = found.end() if found else span.end
    one = end == span.end
    message = "this `}` matches no `{`" if one else "these `}` match no `{`"
    return Diagnostic("AZG002", message, source.span(span.start, end))


def _line_goes_on(source: Source, start: int) -> bool:
    """Return whether the line that ends at `start` is continued by code on the next
    one.
    """
    following = re.compile(r"\s*(#[^\n]*\s*)*").match(source.text, start)
    end = following.end() if following else start
    return source.text[end : end + 1] not in ("", "}", "{")


def _help(
    source: Source, token: Token, kinds: frozenset[str], operations: Collection[str]
) -> str | None:
    span = _where(source, token)
    before = source.line(span.line)[: span.column - 1]
    if token.type == "DOT" and "DOT" not in kinds:
        return _dot_help(source, token, kinds, before, operations)
    if token.type == "_NL" and kinds >= _EXPRESSION:
        return _BROKEN if _line_goes_on(source, token.start_pos or 0) else None
    if token.type in _OPERATORS and not before.strip() and "RETURN" in kinds:
        return _BROKEN
    if token.type in ("STAR", "SLASH") and before.endswith(str(token)):
        at = token.start_pos or 0
        return _power(source, at - 1, at + 1) if token.type == "STAR" else _DIVIDES
    if _follows(source, token) == ">" and token.type == "MINUS":
        return _NO_ARROW
    if _follows(source, token) == "=" and token.type in _OPERATORS:
        return "a name can be bound only once: choose another name for the result"
    computes = token.type in _OPERATORS | {"LPAR"} and not kinds & _OPERATORS
    if computes and (kinds >= _VALUE or ("RANGE" in kinds and "LPAR" not in kinds)):
        return _COMPUTED
    first = re.match(r"\s*([a-z]+)\b", source.line(span.line))
    if first and first[1] in _HABITS and (before.strip() in ("", first[1])):
        return _HABITS[first[1]]
    if token.type == "LSQB" and (kinds & _OPERATORS or kinds >= _EXPRESSION):
        return _NO_INDEX
    if token.type == "LPAR" and before.endswith(".T"):
        return "`.T` takes no parentheses"
    if token.type == "EQUAL" and before.endswith("="):
        return "write a single `=`"
    if token.type == "EQUAL" and _follows(source, token) == "=":
        return _NO_CONDITION
    if str(token) in _HABITS and kinds & _OPERATORS:
        return _HABITS[str(token)]
    if token.type == "COMMA" and re.match(r"\s*return\b", before):
        return "a program returns one value"
    if token.type == "COMMA" and kinds == {"RPAR"}:
        return "a value is one matrix: there are no tuples"
    if str(token) in KEYWORDS and "NAME" in kinds:
        return f"`{token}` is a keyword and can't be a name"
    return None


def _follows(source: Source, token: Token) -> str:
    end = token.end_pos or 0
    return source.text[end : end + 1]


def _power(source: Source, start: int, end: int) -> str:
    """Return help for a power operator between `start` and `end`: how to write that
    power.
    """
    before, after = source.text[max(0, start - 80) : start], source.text[end : end + 80]
    base = re.search(r"(?<![\w.])([a-z_]\w*)\s*$", before)
    exponent = re.match(r"\s*(2|0?\.5)(?![\w.])", after)
    if not base or not exponent:
        return _POWER
    call = "square" if exponent[1] == "2" else "sqrt"
    return f"write `{call}({base[1]})`"


_PREFIXES = frozenset("torch nn functional math np numpy jnp jax tf self".split())


def _dot_help(
    source: Source,
    token: Token,
    kinds: frozenset[str],
    before: str,
    operations: Collection[str],
) -> str | None:
    """Return help for `q.mean()`, `torch.exp(q)` and the like."""
    if "TRANSPOSE" not in kinds:
        return None
    owner = re.search(r"(\w+)$", before)
    called = re.match(r"\.(\w+)\s*\(", source.text[token.start_pos or 0 :][:80])
    shown = called[1] if called and called[1] in operations else "softmax"
    if owner and owner[1] in _PREFIXES:
        return f"{_NO_PREFIX}: `{shown}(x)`"
    if called and called[1] not in ("t", "transpose", "permute", "swapaxes"):
        return f"{_NO_METHODS}: `{shown}(x)`"
    return _TRANSPOSE


def unexpected(
    source: Source,
    error: UnexpectedInput,
    brackets: list[Token],
    braces: list[Token],
    operations: Collection[str] = (),
) -> Diagnostic:
    """Convert an error of Lark's to a diagnostic.

    Args:
        source: The text.
        error: The error that Lark raised.
        brackets: The brackets that are still open.
        braces: The braces that are still open.
        operations: Names of operations that help lines may suggest.
    """
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
        return _unopened(source, span)
    kinds = frozenset(error.accepts or error.expected) - {"COMMENT"}
    found = _words(token.type) if token.type in ("_NL", "$END") else f"`{token}`"
    help_ = _help(source, token, kinds, operations)
    twice = source.text[max(0, span.start - 1) : span.start] == str(token)
    if token.type in ("STAR", "SLASH") and twice:
        span = source.span(span.start - 1, span.end)
        return Diagnostic("AZG001", f"there is no `{span.text}`", span, help_)
    message = f"unexpected {found}{_expected(kinds)}"
    return Diagnostic("AZG001", message, span, help_)


def _bad_name(source: Source, token: Token, names: frozenset[str]) -> Diagnostic | None:
    span = source.span(token.start_pos or 0, token.end_pos or 0)
    # azc adds numbers to names that clash.
    if len(token) > MAX_NAME and not (source.own and len(token) <= MAX_NAME + 10):
        text = f"the name has {len(token):,} characters; the limit is {MAX_NAME}"
        return Diagnostic("AZG507", text, span)
    if is_name(str(token)):
        return None
    if str(token) in KEYWORDS:
        text = f"`{token}` is a keyword and can't be a name"
        number = token == "layers" and re.match(r"\s*=", source.text[span.end :][:80])
        help_ = _LAYERS if number else f"write `{token}_`, say"
        return Diagnostic("AZG003", text, span, help_)
    text = f"names must be lower case: `{token}`"
    lower = str(token).lower()
    # Where both occur, `Q` and `q` may be two different names.
    fix = Fix(span, lower) if lower not in names else None
    return Diagnostic("AZG003", text, span, f"write `{lower}`", fix=fix)


def _bad_number(source: Source, token: Token) -> Diagnostic | None:
    span = source.span(token.start_pos or 0, token.end_pos or 0)
    if len(token) > MAX_NUMBER:
        text = f"the number has {len(token):,} characters; the limit is {MAX_NUMBER}"
        return Diagnostic("AZG006", text, span)
    if math.isinf(float(token.replace("_", ""))):
        return Diagnostic("AZG006", f"the number `{token}` is too large", span)
    return None


def bad_words(
    source: Source, names: Sequence[Token], numbers: Iterable[Token]
) -> list[Diagnostic]:
    """Report words that parse but are not valid names or numbers."""
    fine = frozenset(str(token) for token in names if is_name(str(token)))
    found = [_bad_name(source, token, fine) for token in names if token.type == "NAME"]
    found.extend(_bad_number(source, token) for token in numbers)
    return [each for each in found if each is not None]
