"""A small document printer, after Wadler's "A prettier printer" (2003).

    doc = str | Line(flat, hard) | Concat(parts) | Indent(doc) | Group(doc)
        | Either(broken, flat) | Suffix(text) | Own(text)

A group is printed on one line if it fits there, else each of its own lines breaks. A
comment (`Suffix`, at the end of its line, or `Own`, a line of its own) breaks every
group around it and takes no width. Nothing recurses: documents may be deep and long.
Documents that contain others store their `width` on one line, so nothing is measured
twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = [
    "HARD",
    "LINE",
    "SOFT",
    "Concat",
    "Doc",
    "Either",
    "Group",
    "Indent",
    "Line",
    "Own",
    "Suffix",
    "comments",
    "concat",
    "flat",
    "group",
    "indent",
    "render",
]

WIDTH = 88
STEP = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A line break; on one line, the text `flat` replaces it (never if `hard`)."""

    flat: str
    hard: bool = False

    @property
    def width(self) -> int:
        """Columns on one line."""
        return len(self.flat)


@dataclass(frozen=True, slots=True)
class Either:
    """A text that differs between a broken group and a group on one line."""

    broken: str
    flat: str
    hard: bool = False

    @property
    def width(self) -> int:
        """Columns on one line."""
        return len(self.flat)


@dataclass(frozen=True, slots=True)
class Suffix:
    """A comment at the end of the line, even if more code follows on that line."""

    text: str
    hard: bool = True
    width: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """A comment on a line of its own."""

    text: str
    hard: bool = True
    width: int = 0


@dataclass(frozen=True, slots=True)
class Concat:
    """A sequence of documents."""

    parts: tuple[Doc, ...]
    hard: bool
    width: int


@dataclass(frozen=True, slots=True)
class Indent:
    """A document whose lines are indented one step further."""

    doc: Doc
    hard: bool
    width: int


@dataclass(frozen=True, slots=True)
class Group:
    """A document that is printed on one line if it fits."""

    doc: Doc
    hard: bool
    width: int


_Leaf = str | Line | Either | Suffix | Own
Doc = _Leaf | Concat | Indent | Group

LINE = Line(" ")
SOFT = Line("")
HARD = Line("", hard=True)


def _hard(doc: Doc) -> bool:
    return not isinstance(doc, str) and doc.hard


def _width(doc: Doc) -> int:
    return len(doc) if isinstance(doc, str) else doc.width


def concat(parts: Iterable[Doc]) -> Doc:
    """Join documents."""
    parts = tuple(parts)
    return Concat(parts, any(map(_hard, parts)), sum(map(_width, parts)))


def indent(*parts: Doc) -> Doc:
    """Join documents and indent them one step further."""
    doc = concat(parts)
    return Indent(doc, _hard(doc), _width(doc))


def group(*parts: Doc) -> Doc:
    """Join documents into a group: printed on one line if it fits."""
    doc = concat(parts)
    return Group(doc, _hard(doc), _width(doc))


_Todo = tuple[int, bool, Doc]  # indentation, whether the group is broken, document


def _fits(room: int, doc: Doc, rest: list[_Todo]) -> bool:
    """Return whether `doc` on one line, and the text after it up to a line break, fit
    in `room`.

    `doc` has no line breaks of its own (it is not `hard`).
    """
    room -= _width(doc)
    todo: list[tuple[bool, Doc]] = []
    following = len(rest)
    while room >= 0:
        if not todo:
            if not following:
                return True
            following -= 1
            todo.append(rest[following][1:])
        broken, item = todo.pop()
        if isinstance(item, Line) and (broken or item.hard):
            return True
        if isinstance(item, Either) and broken:
            room -= len(item.broken)
        elif isinstance(item, Concat) and (broken or item.hard):
            todo.extend((broken, part) for part in reversed(item.parts))
        elif isinstance(item, Indent | Group) and (broken or item.hard):
            todo.append((broken, item.doc))
        else:
            room -= _width(item)
    return False


class _Page:
    """The text printed so far."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.column = 0
        self.margin = 0  # indentation, written together with the first text of the line
        self.suffix = ""

    def write(self, text: str) -> None:
        if not text:
            return
        if self.margin:
            self.out.append(" " * self.margin)
            self.margin = 0
        self.out.append(text)
        self.column += len(text)

    def flush(self) -> None:
        if self.suffix:
            self.write("  " + self.suffix)
            self.suffix = ""

    def newline(self, margin: int) -> None:
        self.flush()
        self.out.append("\n")
        self.column = self.margin = margin


def render(doc: Doc, width: int = WIDTH) -> str:
    """Print a document, and break groups so that lines fit `width` where they can."""
    page = _Page()
    todo: list[_Todo] = [(0, True, doc)]
    while todo:
        margin, broken, item = todo.pop()
        if isinstance(item, str):
            page.write(item)
        elif isinstance(item, Line):
            if broken or item.hard:
                page.newline(margin)
            else:
                page.write(item.flat)
        elif isinstance(item, Either):
            page.write(item.broken if broken else item.flat)
        elif isinstance(item, Concat):
            todo.extend((margin, broken, part) for part in reversed(item.parts))
        elif isinstance(item, Indent):
            todo.append((margin + STEP, broken, item.doc))
        elif isinstance(item, Group):
            breaks = item.hard or not _fits(width - page.column, item.doc, todo)
            todo.append((margin, breaks, item.doc))
        elif isinstance(item, Own):
            page.write(item.text)
        else:
            page.suffix = item.text
    page.flush()
    return "".join(page.out)


def _leaves(doc: Doc) -> Iterator[_Leaf]:
    todo: list[Doc] = [doc]
    while todo:
        item = todo.pop()
        if isinstance(item, Concat):
            todo.extend(reversed(item.parts))
        elif isinstance(item, Indent | Group):
            todo.append(item.doc)
        else:
            yield item


def flat(doc: Doc) -> str:
    """Print a document on one line, without its comments."""
    return "".join(
        leaf if isinstance(leaf, str) else leaf.flat
        for leaf in _leaves(doc)
        if not isinstance(leaf, Own | Suffix)
    )


def comments(doc: Doc) -> list[str]:
    """Return the comments in a document."""
    return [leaf.text for leaf in _leaves(doc) if isinstance(leaf, Own | Suffix)]
