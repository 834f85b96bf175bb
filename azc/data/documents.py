"""Splitting of text into documents, without loading all of it into memory.

By default, a document is a paragraph: blank lines separate documents. A text without
blank lines is split into groups of 32 lines. Documents can also be single lines or
whole files. In all cases, a document of more than `LONGEST` characters is split again,
at a line end or a space, which bounds the memory that is needed.

Codes: D006 a division into documents is invalid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from azc.diagnostics import UsageError

__all__ = [
    "DIVISIONS",
    "LONGEST",
    "PARAGRAPH",
    "bounded",
    "check_division",
    "check_undivided",
    "divided",
]

PARAGRAPH = "paragraph"
DIVISIONS = (PARAGRAPH, "line", "file")
LONGEST = 2**24  # characters of a document: longer than any book
_GROUP = 32  # lines of a document, in a text without blank lines
_BLANK = re.compile(r"\n[ \t]*\n")

Parts = Iterator[str | None]  # parts of documents in order; None ends a document


def check_division(division: str) -> None:
    """Raise UsageError D006 for a division that does not exist."""
    if division not in DIVISIONS:
        known = ", ".join(DIVISIONS)
        message = f"a text can't be split into documents by {division!r}"
        raise UsageError("D006", message, f"choose one of {known}")


def check_undivided(spec: str, division: str) -> None:
    """Raise UsageError D006 for a division of data that has no text files."""
    if division != PARAGRAPH:
        raise UsageError(
            "D006",
            f"only text files can be split into documents by {division}, and {spec} has"
            " no text file",
            "leave --documents out",
        )


def divided(read: Callable[[], Iterator[str]], division: str) -> Iterator[str]:
    """Split a text into documents.

    Args:
        read: Opens the text: returns an iterator over its chunks. It may be called
            twice.
        division: One of `DIVISIONS`.

    Yields:
        The documents. They keep surrounding white space, and some may be blank.
    """
    if division == "file":
        yield from bounded(read())
    elif division == "line":
        yield from bounded(_lines(read(), 1))
    elif _has_several(_paragraphs(read())):
        yield from bounded(_paragraphs(read()))
    else:
        yield from bounded(_lines(read(), _GROUP))


def bounded(parts: Iterable[str | None]) -> Iterator[str]:
    """Join the parts of documents, and split documents longer than `LONGEST`."""
    held: list[str] = []
    size = 0
    for part in parts:
        if part is None:
            yield "".join(held)
            held, size = [], 0
            continue
        held.append(part)
        size += len(part)
        while size > LONGEST:
            text = "".join(held)
            end = _end(text)
            yield text[:end]
            held, size = [text[end:]], size - end
    yield "".join(held)


def _end(text: str) -> int:
    """Return the end of the first document in a text that is too long for one."""
    for mark in "\n ":
        place = text.rfind(mark, LONGEST // 2, LONGEST)
        if place >= 0:
            return place
    return LONGEST


def _paragraphs(chunks: Iterator[str]) -> Parts:
    carried = ""  # white space at the end of a chunk may belong to a blank line
    for chunk in chunks:
        text = carried + chunk
        end = len(text.rstrip(" \t\n"))
        first, *others = _BLANK.split(text[:end])
        yield first
        for block in others:
            yield None
            yield block
        carried = text[end:]
        if _BLANK.search(carried):
            yield None
            carried = carried[carried.rindex("\n") :]
    yield carried


def _has_several(parts: Parts) -> bool:
    """Return whether more than one document has text."""
    before = here = False
    for part in parts:
        if part is None:
            before, here = before or here, False
        elif part and not part.isspace():
            here = True
            if before:
                return True
    return False


def _lines(chunks: Iterator[str], group: int) -> Parts:
    """Split a text after every `group` lines, counted from its first non-blank line."""
    begun, count = False, 0
    for chunk in chunks:
        text = chunk if begun else chunk.lstrip()
        begun = begun or bool(text)
        first, *others = text.split("\n")
        yield first
        for line in others:
            count += 1
            yield "\n" if count % group else None
            yield line
