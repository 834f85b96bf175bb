"""Syntax errors in words: what Lark refuses, and the help that goes with it."""

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
_VALUE = frozenset({"NAME", "NUMBER", "MINUS", "LSQB", "TRUE", "FALSE"})
_NUMBER = frozenset({"NUMBER", "MINUS"})
_DECLARATION = frozenset({"FROM", "ATTENTION", "MODEL", "SPACE"})
# What may begin something, as one phrase instead of its tokens.
_PHRASES = (
    (_DECLARATION, "`from`, `attention`, `model` or `space`"),
    (_EXPRESSION, "an expression"),
    (_VALUE, "a value"),
    (_NUMBER, "a number"),
)

# A line that must be a declaration, whatever is open; `attention {` is a block.
_DECLARES = re.compile(r"(attention|model|space)[ \t]+[A-Za-z_]|from[ \t]+[\w.]+[ \t]")
_TRANSPOSE = "`.T` transposes; nothing else follows a dot"
_BROKEN = "a statement continues on the next line only inside `( )` or `[ ]`"
_COMPUTED = "a setting is a number, a name, `true`, `false`, a list or a range"
_POWER = "`square(x)` is x², `sqrt(x)` is √x"
_DIVIDES = "`/` divides; nothing is rounded"
_LAYERS = "a model has a block `layers { … }`; in a space their number is `depth`"
_NO_INDEX = "a value is a whole matrix and can't be indexed"
_NO_PREFIX = "operations have no prefix"
_NO_METHODS = "operations are not called on a value, but by their name"
_NO_ARROW = "programs are not annotated: the result is [n, d]"
_NO_CONDITION = (
    "a program has no conditions and no comparisons; `relu(x)` is x where it is above 0,"
    " `maximum(x, y)` the larger of two"
)
_NO_SCAN = (
    "a program has no recurrence; in a model with `causal = true`, `k.T @ v` goes over the"
    " tokens so far"
)
_LEARNED = "`conv(x, kernel = 1)` multiplies every feature by a learned weight"
_REPEAT = "a program has no loops; in a model, `repeat 4 { … }` repeats layers"
_DECLARE = "a program is declared as `attention name(q, k, v) { … }`"
_NAMES = "names are made of a to z, 0 to 9 and _"
_BIND = "a value is named with `name = expression`, nothing before it"
# What a line starts with elsewhere.
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
    "\r": "a line ends with a line feed (U+000A), before which this may stand",
    **dict.fromkeys("<>!&|~?≤≥≠", _NO_CONDITION),
    **dict.fromkeys("\"'“”‘’`´", "names are written without quotes"),
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
    if not char.isascii():
        name = unicodedata.name(char, "").lower()
        shown += f", U+{ord(char):04X}" + (f" ({name})" if name else "")
    span = source.span(start, start + 1)
    help_ = _CHARACTERS.get(char)
    line = source.line(span.line)
    if char == ":" and span.column <= len(line.rstrip()) - 1:
        help_ = None  # not Python's colon before a body
        if re.match(r"\s*\w+\s*:", line):
            help_ = "values are not annotated: azc infers their types"
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
    """The braces in a row that close nothing are one fault."""
    found = re.compile(r"\}(?:[ \t]*\})*").match(source.text, span.start)
    end = found.end() if found else span.end
    one = end == span.end
    message = "this `}` matches no `{`" if one else "these `}` match no `{`"
    return Diagnostic("AZG002", message, source.span(span.start, end))


def _line_goes_on(source: Source, start: int) -> bool:
    """Whether the line after the one that ends at `start` carries on with something."""
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
        return "a name is bound once: give the result another"
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
    """How the power is written that the operator between two places is for."""
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
    """What to write for `q.mean()`, `torch.exp(q)` and the like."""
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
    """The diagnostic for what Lark refuses, with the brackets and braces still open.

    `operations`: names that a help line may call.
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
    # To names that clash azc adds numbers.
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
    # Where both are written, `Q` and `q` may be meant as two names.
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
    """What parses, but is not a name or a number of the language."""
    fine = frozenset(str(token) for token in names if is_name(str(token)))
    found = [_bad_name(source, token, fine) for token in names if token.type == "NAME"]
    found.extend(_bad_number(source, token) for token in numbers)
    return [each for each in found if each is not None]
