"""The parser: from text to syntax tree, with diagnostics (AZG0xx and the limits)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import cast

from lark import Lark, Token
from lark.exceptions import UnexpectedInput
from lark.lark import PostLex

from azc.diagnostics import Diagnostic, DiagnosticError
from azc.resources import grammar_text
from azc.source import Source
from azc.syntax import ast
from azc.syntax.build import MAX_DEPTH, Build, TooDeep
from azc.syntax.comments import attach
from azc.syntax.encoding import wide_encoding
from azc.syntax.faults import bad_words, is_name, unexpected
from azc.syntax.hidden import hidden_in
from azc.syntax.repair import Region, blank, conflicts, lookalikes

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_IMPORTED",
    "MAX_TEXT",
    "Reading",
    "decoded",
    "is_name",
    "parse",
    "read_source",
    "read_text",
    "unreadable",
]

MAX_TEXT = 100_000  # characters of one file
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_BYTES = 4 * MAX_TEXT + 4  # of a file: anything longer is no program, or a device
MAX_IMPORTED = 300_000  # characters of a file and all files that it imports
# Characters, without white space, of texts that azc generates from such files. The
# canonical form is at most a third longer (a comma after the operand of `exp(q)`, where
# a call is broken), and names that clash get a number.
MAX_OWN = 4 * MAX_IMPORTED // 3 + 10_000
MAX_ERRORS = 20  # syntax errors reported in one run
MAX_REREAD = 200_000  # characters parsed again, in total, to find further errors


class _Newlines(PostLex):
    """Filter that drops newlines inside ( ) and [ ] and merges runs of other
    newlines.
    """

    always_accept = ("_NL",)

    def __init__(self) -> None:
        self.brackets: list[Token] = []  # currently open
        self.braces: list[Token] = []

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        self.brackets = []
        self.braces = []
        previous = ""
        for token in stream:
            self.nest(token)
            if token.type == "_NL" and (self.brackets or previous == "_NL"):
                continue
            previous = token.type
            yield token

    def nest(self, token: Token) -> None:
        if token.type in ("LPAR", "LSQB"):
            self.brackets.append(token)
        elif token.type == "LBRACE":
            self.braces.append(token)
        elif token.type in ("RPAR", "RSQB") and self.brackets:
            self.brackets.pop()
        elif token.type == "RBRACE" and self.braces:
            self.braces.pop()
        if len(self.brackets) + len(self.braces) > MAX_DEPTH:
            raise TooDeep(token.start_pos or 0, token.end_pos or 0)


class _Parser:
    """Lark's parser and the tokens it collects beside the nodes; it parses one text at
    a time.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.newlines = _Newlines()
        self.build = Build()
        # NAME comes last: where keywords are names too, Lark's lexer asks each token
        # whether it is of the kind that has the last callback (its loop variable).
        kinds = ("COMMENT", "NUMBER", "NAME")
        self.collected: dict[str, list[Token]] = {kind: [] for kind in kinds}
        self.lark = Lark(
            grammar_text(),
            parser="lalr",
            start="file",
            keep_all_tokens=True,
            maybe_placeholders=False,
            transformer=self.build,
            postlex=self.newlines,
            lexer_callbacks=dict.fromkeys(self.collected, self._collect),
        )

    def _collect(self, token: Token) -> Token:
        self.collected[token.type].append(token)
        return token

    def parse(self, source: Source, text: str) -> ast.File:
        self.build.source = source
        for tokens in self.collected.values():
            tokens.clear()
        # With a transformer, Lark returns the result of its method for `file`.
        return cast(ast.File, self.lark.parse(text))


@cache
def _parser() -> _Parser:
    return _Parser()


# Recovery: text that can't be parsed is blanked, and the rest is parsed again.

_BRACE = re.compile(r"#[^\n]*|(?P<brace>[{}])")
_BODY_BELOW = re.compile(r"(?:\s|#[^\n]*)*\{")
_DECLARATION = re.compile(r"^(?:from|attention|model|space)\b", re.MULTILINE)


def _braces(text: str, start: int, end: int) -> list[tuple[int, str]]:
    found = _BRACE.finditer(text, start, end)
    return [(m.start(), m.group()) for m in found if m.group("brace")]


def _balanced(braces: list[tuple[int, str]]) -> bool:
    depth = 0
    for _, brace in braces:
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def _depth(braces: list[tuple[int, str]]) -> int:
    """Return the number of braces left open; unmatched closing braces are ignored."""
    depth = 0
    for _, brace in braces:
        depth = depth + 1 if brace == "{" else max(0, depth - 1)
    return depth


def _declaration(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the region of the declaration around a line: to its last brace, or to the
    next declaration if it is never closed.
    """
    depth = opened = 0
    for at, brace in _braces(text, 0, len(text)):
        if brace == "{":
            if depth == 0:
                opened = text.rfind("\n", 0, at) + 1
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0 and at >= start:
                return min(opened, start), at + 1
        elif at >= start:
            return start, end
    following = _DECLARATION.search(text, end)
    first = min(opened, start) if depth else start
    return (first, following.start()) if following else None


def _skipped(text: str, at: int) -> Region | None:
    """Return the line or declaration at `at`, or None if there is nothing left to
    skip.
    """
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    above = _braces(text, 0, at)
    if above and above[-1][0] >= start and _depth(above) == 0:
        start = at  # a declaration ends in the line
    inside = _braces(text, start, end)
    below = None if inside else _BODY_BELOW.match(text, end)
    region: Region | None = start, end
    if below or not _balanced(inside):
        region = _declaration(text, start, end)
    return region if region and text[slice(*region)].strip() else None


@dataclass(frozen=True)
class Reading:
    """The readable part of a file, with the syntax errors of the rest.

    `file` is None if the parser gave up. `broken` holds the declarations with errors
    inside. `lost` holds the words outside any declaration that could be read: the file
    may declare them. `warnings` are about characters in comments.
    """

    file: ast.File | None
    errors: tuple[Diagnostic, ...]
    broken: tuple[ast.Declaration, ...] = ()
    lost: frozenset[str] = frozenset()
    warnings: tuple[Diagnostic, ...] = ()


def parse(source: Source) -> ast.File:
    """Parse a file into its syntax tree, with comments attached.

    After an error, the parser skips the rest of the line (or of the declaration, if
    braces are involved) and continues. It stops rereading a long text at some point, so
    some errors may appear only once others are fixed.

    Raises:
        DiagnosticError: With every syntax error found.
    """
    reading = read_text(source)
    if reading.errors or reading.file is None:
        raise DiagnosticError(reading.errors)
    return reading.file


def read_text(source: Source, operations: Collection[str] = ()) -> Reading:
    """Parse as much of a file as can be read; see `parse`.

    Args:
        source: The text.
        operations: Names of operations that help lines may suggest.

    Returns:
        The part of the file that parses, and the errors. Comments are attached only
        if there are no errors.
    """
    size, limit = len(source.text), MAX_TEXT
    if source.own:
        size, limit = sum(map(len, source.text.split())), MAX_OWN
    odd = _SURROGATE.search(source.text)
    if odd is not None:
        # Files can't contain one, but JSON strings can.
        text = "a surrogate is not a character and can't be encoded as UTF-8"
        return Reading(None, (Diagnostic("AZG004", text, source.span(*odd.span())),))
    if size > limit:
        text = f"the file has {size:,} characters; the limit is {limit:,}"
        return Reading(None, (Diagnostic("AZG501", text, source.span(0, 1)),))
    parser = _parser()
    with parser.lock:
        return _Recovery(parser, source, operations).read()


class _Recovery:
    """Recovery from the errors of one text: parse it again without the parts that
    failed.
    """

    def __init__(
        self, parser: _Parser, source: Source, operations: Collection[str]
    ) -> None:
        self.parser = parser
        self.source = source
        self.operations = operations
        self.errors: list[Diagnostic] = []
        self.skipped, conflict = conflicts(source)
        if conflict:
            self.errors.append(conflict)
        text = blank(source.text, self.skipped)
        self.text, found = lookalikes(source, text, MAX_ERRORS)
        self.errors.extend(found)
        for each in found:
            # Blanking a character inside a name leaves two names, which are no errors.
            at = _in_a_word(each)
            region = None if at is None else _skipped(self.text, at)
            if region is not None:
                self.skip(region)

    def read(self) -> Reading:
        """Parse until there is nothing more to skip."""
        file: ast.File | None = None
        reread = 0
        while file is None and len(self.errors) < MAX_ERRORS and reread <= MAX_REREAD:
            try:
                file = self.parser.parse(self.source, self.text)
            except TooDeep as error:
                found = _too_deep(self.source, error)
            except UnexpectedInput as error:
                newlines = self.parser.newlines
                still_open = newlines.brackets, newlines.braces
                found = unexpected(self.source, error, *still_open, self.operations)
            if file is None:
                self.errors.append(found)
                start, end = (
                    (found.span.start, found.span.end) if found.span else (0, 0)
                )
                reread += start
                region: Region | None = start, end
                if found.code != "AZG002" or self.text[start] != "}":
                    region = _skipped(self.text, start)
                if region is None:
                    break
                self.skip(region)
        return self.done(file)

    def skip(self, region: Region) -> None:
        self.skipped.append(region)
        self.text = blank(self.text, [region])

    def done(self, file: ast.File | None) -> Reading:
        broken: list[Region] = list(self.skipped)
        warnings: tuple[Diagnostic, ...] = ()
        if file is not None:
            collected = self.parser.collected
            comments = [(t.start_pos or 0, str(t)) for t in collected["COMMENT"]]
            warnings = tuple(hidden_in(self.source, comments))
            wrong = bad_words(self.source, collected["NAME"], collected["NUMBER"])
            self.errors.extend(wrong)
            file = self.with_fixes(file, wrong, broken)
            if not self.errors:
                return Reading(attach(file, comments), (), warnings=warnings)
        ordered = sorted(self.errors, key=lambda d: d.span.start if d.span else 0)
        errors = tuple(ordered[:MAX_ERRORS])
        if file is None:
            return Reading(None, errors)
        found = tuple(d for d in file.declarations if _touched(d, broken))
        return Reading(file, errors, found, self.lost(file), warnings)

    def with_fixes(
        self, file: ast.File, wrong: list[Diagnostic], broken: list[Region]
    ) -> ast.File:
        """Return the file with the fixes for misspelled names applied."""
        text = self.text
        for each in wrong:
            if each.span is not None and each.fix is None:
                broken.append((each.span.start, each.span.end))
            elif each.fix is not None:
                start, end = each.fix.span.start, each.fix.span.end
                text = text[:start] + each.fix.text + text[end:]
        if text == self.text:
            return file
        try:
            return self.parser.parse(self.source, text)
        except (TooDeep, UnexpectedInput):
            spans = (each.span for each in wrong if each.span)
            broken.extend((span.start, span.end) for span in spans)
            return file

    def lost(self, file: ast.File) -> frozenset[str]:
        """Return the words in skipped text outside the declarations that were read."""
        outside = [
            region
            for region in self.skipped
            if not any(_touched(each, [region]) for each in file.declarations)
        ]
        texts = (self.source.text[start:end] for start, end in outside)
        return frozenset(word for text in texts for word in _WORD.findall(text))


_WORD = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def _touched(node: ast.Node, regions: list[Region]) -> bool:
    return any(a < node.span.end and node.span.start < b for a, b in regions)


def _in_a_word(found: Diagnostic) -> int | None:
    """Return the offset of a character to remove if it is inside a name or a number,
    else None.
    """
    if found.span is None or found.fix is None or found.fix.text:
        return None
    text, span = found.span.source.text, found.span
    around = text[max(0, span.start - 1) : span.start], text[span.end : span.end + 1]
    inside = all(char.isalnum() or char == "_" for char in around)
    return span.start if inside else None


def _too_deep(source: Source, error: TooDeep) -> Diagnostic:
    span = source.span(error.start, error.end)
    message = f"nested more than {MAX_DEPTH} levels deep"
    brace = source.text[error.start] == "{"
    help_ = None if brace else "bind the inner part to a name first"
    return Diagnostic("AZG502", message, span, help_)


def read_source(path: Path, name: str | None = None) -> Source:
    """Read a file as a `Source`.

    Args:
        path: The file.
        name: The name in diagnostics; by default the path as written.

    Raises:
        DiagnosticError: If the file can't be read or is not UTF-8 text.
    """
    shown = name or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise unreadable(shown, error) from error
    return decoded(data, shown)


def unreadable(shown: str, error: Exception) -> DiagnosticError:
    """Return the error for a file that can't be read."""
    reason = getattr(error, "strerror", None) or str(error)
    message = f"can't read {shown}: {reason.lower()}"
    return DiagnosticError([Diagnostic("AZG005", message, None)])


def decoded(data: bytes, shown: str) -> Source:
    """Decode the first `MAX_BYTES` of a file as a `Source`.

    Raises:
        DiagnosticError: If they are not UTF-8 text.
    """
    encoding = wide_encoding(data)
    if encoding is not None:
        message = f"{shown} is {encoding} text, not UTF-8"
        help_ = f"save it as UTF-8; `iconv -f {encoding} -t UTF-8` converts it"
        raise DiagnosticError([Diagnostic("AZG004", message, None, help_)])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if len(data) >= MAX_BYTES:
            text = data.decode(errors="ignore")
            return Source(shown, text)  # too long, which `parse` reports
        message = f"{shown} is not UTF-8 text (byte {error.start})"
        fault = Diagnostic("AZG004", message, None, "save it as UTF-8")
        raise DiagnosticError([fault]) from error
    return Source(shown, text)
