"""Diagnostics of programs, and the errors that azc raises.

An error in a program is a `Diagnostic`: diagnostics are collected and raised together in
one `DiagnosticError`. Other errors (a missing data file, a run folder in use) are a
`UsageError` or a `RunError`. All of them are an `AzcError` with a code. An
`InternalError` is a bug of azc itself.

Codes: U012 a number is not a whole number, or is out of range.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import index
from typing import Literal

from azc.source import Span, visible

__all__ = [
    "AzcError",
    "Diagnostic",
    "DiagnosticError",
    "Fix",
    "InternalError",
    "Note",
    "RunError",
    "UsageError",
    "listed",
    "nearby",
    "nearest",
    "out_of_memory",
    "positions",
    "render",
    "whole",
]

Severity = Literal["error", "warning"]
_MAX_SENTENCE = 500  # characters; longer ones are cut in the middle


@dataclass(frozen=True)
class Fix:
    """An edit that can be applied without asking: `text` replaces `span`."""

    span: Span
    text: str

    def applied(self) -> str:
        """Return the whole text of the source with the fix applied."""
        old = self.span.source.text
        return old[: self.span.start] + self.text + old[self.span.end :]


@dataclass(frozen=True)
class Note:
    """A related place in a text, with an explanation."""

    message: str
    span: Span

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _cut(self.message))

    def as_json(self) -> dict[str, object]:
        """Return a JSON object: message, file and positions."""
        return {"message": self.message, **positions(self.span)}

    def __str__(self) -> str:
        return "\n".join([f"note: {visible(self.message)}", *_placed(self.span)])


@dataclass(frozen=True)
class Diagnostic:
    """An error or a warning: a stable code, a plain sentence, a place, and perhaps a
    fix.

    `code` is `AZG` and three digits: 0xx text, 1xx names, 2xx types, 3xx models, 4xx
    spaces, 5xx limits. `span` is None only for an error without a place in a text.
    `fix` is the edit that `help` offers, if it is safe: it removes the diagnostic and
    causes no other in its place. `notes` show other relevant lines, such as where a
    name was first bound.
    """

    code: str
    message: str
    span: Span | None
    help: str | None = None
    severity: Severity = "error"
    fix: Fix | None = None
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        for name in ("message", "help"):
            text = getattr(self, name)
            object.__setattr__(self, name, text and _cut(text))
        if self.notes:
            object.__setattr__(self, "notes", _elsewhere(self.notes, self.span))

    def as_json(self) -> dict[str, object]:
        """Return a JSON object: code, severity, message, help, file, line, column, end
        positions, fix (a text and the positions that it replaces, or null) and notes.
        """
        place: dict[str, object] = {"file": None, "line": None, "column": None}
        if self.span is not None:
            place = positions(self.span)
        fix = self.fix
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "help": self.help,
            **place,
            "fix": fix and {"text": fix.text, **_positions(fix.span)},
            "notes": [note.as_json() for note in self.notes],
        }


def _elsewhere(notes: Iterable[Note], place: Span | None) -> tuple[Note, ...]:
    """Return the notes whose line is not shown yet."""
    shown = set() if place is None else {(place.source.name, place.line)}
    found = []
    for note in notes:
        line = note.span.source.name, note.span.line
        if line not in shown and note.span.source.text:
            shown.add(line)
            found.append(note)
    return tuple(found)


def _cut(sentence: str) -> str:
    """Shorten a sentence: it may quote text that is as long as a file."""
    if len(sentence) <= _MAX_SENTENCE:
        return sentence
    return f"{sentence[: _MAX_SENTENCE - 80]}…{sentence[-79:]}"


def positions(span: Span) -> dict[str, object]:
    """Return the file of a span and the positions of its ends, for JSON."""
    return {"file": span.source.name, **_positions(span)}


def _positions(span: Span) -> dict[str, int]:
    end_line, end_column = span.source.position(span.end)
    return {
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }


class AzcError(Exception):
    """Base class of errors that azc reports: a code, one plain sentence, perhaps
    help.
    """

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__(visible(_cut(message)))
        self.code = code
        self.message = _cut(message)
        self.help = help and _cut(help)
        if self.help:  # shown in tracebacks, too
            self.add_note(f"help: {visible(self.help)}")


class UsageError(AzcError):
    """An invalid request: exit code 2 on the command line."""


class RunError(AzcError):
    """A request that failed: exit code 1 on the command line."""


class DiagnosticError(AzcError):
    """Errors in a program; `diagnostics` holds all of them, in order of place."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        first = self.diagnostics[0]
        super().__init__(first.code, first.message)
        self.help = first.help  # not a note: `__str__` includes it

    def __str__(self) -> str:
        return render(self.diagnostics)


class InternalError(Exception):
    """A bug of azc, never the fault of a program or its author."""

    def __init__(self, message: str) -> None:
        super().__init__(f"internal error, please report it: {message}")


def whole(name: str, value: object, low: int, high: int, code: str = "U012") -> int:
    """Check that an argument is a whole number within bounds, and return it.

    NumPy's integers are accepted, `True` is not.

    Raises:
        UsageError: If it is not.
    """
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not low <= number <= high:
        given = repr(value)
        given = given if len(given) <= 40 else f"{given[:39]}…"
        message = (
            f"{name} is {given}; it must be a whole number from {low:,} to {high:,}"
        )
        raise UsageError(code, message)
    return number


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python or torch means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(
        words in said for words in ("can't allocate memory", "cannot allocate memory")
    )


# Limits on the time of a search for similar names.
_LONGEST = 32  # letters of a name that is compared
_SCANNED = 10_000  # known names that are examined
_COMPARED = 100  # of these, names that are compared letter by letter


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` is most likely a misspelling of, or None."""
    return next(iter(nearby(name, known)), None)


def nearby(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three known names that `name` may be a misspelling of, the nearest
    first.

    A misspelling changes, adds, omits or swaps few letters: one in a short name, at
    most three in a long one. Synonyms are not misspellings. Very long names have none,
    and only some of many known names are examined: those of about the same length, and
    if these are too many, those with the same first letter.
    """
    length = len(name)
    if not 0 < length <= _LONGEST:
        return []
    # Names that differ more in length are below the cutoff for any letters.
    low, high = length * 3 / 7, min(length * 7 / 3, _LONGEST)
    close = [each for each in islice(known, _SCANNED) if low <= len(each) <= high]
    if len(close) > _COMPARED:
        close = [each for each in close if each[0] == name[0]][:_COMPARED]
    if not close:
        return []
    matches = difflib.get_close_matches(name, close, n=3, cutoff=0.6)
    most = 1 if len(name) <= 4 else 2 if len(name) <= 8 else 3
    return [match for match in matches if _distance(name, match, most) <= most]


def _distance(a: str, b: str, most: int) -> int:
    """Count the letters changed, added, omitted or swapped between two names, up to
    `most` + 1.
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    above: list[int] = []
    row = list(range(len(b) + 1))
    for i, mine in enumerate(a, 1):
        before, above, row = above, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (mine != other))
            if i > 1 and j > 1 and (mine, a[i - 2]) == (b[j - 2], other):
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]


def listed(names: Collection[str], most: int = 12) -> str:
    """Format names for a message: `a, b, c`, and the number of further ones if there
    are many.
    """
    shown = ", ".join(islice(names, most))
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


_MAX_LINE = 160  # characters of a source line shown, around the span


def _snippet(span: Span) -> list[str]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    text = span.source.line(line)
    width = (end_column if end_line == line else len(text) + 1) - column
    start = column - 1
    if len(text) > _MAX_LINE:
        cut = max(0, min(start - _MAX_LINE // 4, len(text) - _MAX_LINE))
        text = text[cut : cut + _MAX_LINE]
        start -= cut
    # An escape sequence takes more room than the character that it stands for.
    before, marked = visible(text[:start], "\t"), visible(text[start:][:width], "\t")
    text = before + marked + visible(text[start + width :], "\t")
    gutter = " " * len(str(line))
    pad = "".join("\t" if char == "\t" else " " for char in before)
    return [
        f"{gutter} |",
        f"{line} | {text}",
        f"{gutter} | {pad}{'^' * max(1, len(marked))}",
    ]


def _placed(span: Span) -> list[str]:
    gutter = " " * len(str(span.line))
    name = visible(span.source.name)
    return [f"{gutter}--> {name}:{span.line}:{span.column}", *_snippet(span)]


def render(diagnostics: Sequence[Diagnostic]) -> str:
    """Format diagnostics as plain text, with the source lines of each and of its notes
    underlined.

    The text contains no characters that control a terminal.
    """
    blocks = []
    for diagnostic in diagnostics:
        message = visible(diagnostic.message)
        lines = [f"{diagnostic.severity}[{diagnostic.code}]: {message}"]
        gutter = ""
        if diagnostic.span is not None:
            gutter = " " * len(str(diagnostic.span.line))
            lines.extend(_placed(diagnostic.span))
        if diagnostic.help is not None:
            lines.append(f"{gutter} = help: {visible(diagnostic.help)}")
        lines.extend(str(note) for note in diagnostic.notes)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
