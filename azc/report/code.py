"""Syntax highlighting of programs and of their differences."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from azc.report.html import element, join

__all__ = ["DiffLine", "diff_lines", "highlight", "prose", "show_diff"]

# Tokens that are highlighted; all other text is shown as it is.
_TOKEN = re.compile(
    r"(?P<c>\#[^\n]*)"
    r"|(?P<k>\b(?:from|import|as|attention|return|model|layers|repeat|space|true|false)\b)"
    r"|(?P<f>\b[A-Za-z_][A-Za-z0-9_]*(?=\())"
    r"|(?P<n>(?<![A-Za-z_0-9])\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<o>\.T\b|[-+*/@=])"
)
_WORDS = re.compile(r"\w+|\s+|.")


def highlight(program: str) -> Markup:
    """Highlight comments, keywords, functions, numbers and operators in a program."""
    parts: list[object] = []
    end = 0
    for found in _TOKEN.finditer(program):
        parts.append(program[end : found.start()])
        parts.append(element("i", found[0], class_=found.lastgroup))
        end = found.end()
    return join([*parts, program[end:]])


def prose(sentence: str) -> Markup:
    """Mark up a sentence, with text between backticks as code."""
    parts = re.split(r"`([^`]*)`", sentence)
    return join(element("code", p) if i % 2 else p for i, p in enumerate(parts))


@dataclass(frozen=True)
class DiffLine:
    """A line of a difference.

    Attributes:
        sign: "+", "-", " " for an unchanged line, or "…" for omitted lines.
        parts: Pieces of the text, each with whether it changed.
    """

    sign: str
    parts: tuple[tuple[str, bool], ...]


def diff_lines(old: str, new: str, around: int = 1) -> list[DiffLine]:
    """Compare two texts.

    Args:
        old: The text before.
        new: The text after. Line breaks at the end of either are ignored.
        around: Number of lines to show around each change.
    """
    before, after = (each.removesuffix("\n").split("\n") for each in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    found: list[DiffLine] = []
    for group in matcher.get_grouped_opcodes(around):
        if found:
            found.append(DiffLine("…", ()))
        for tag, i, end_i, j, end_j in group:
            if tag == "equal":
                found += (DiffLine(" ", ((line, False),)) for line in before[i:end_i])
            else:
                found += _changed(before[i:end_i], after[j:end_j])
    return found


def _changed(old: list[str], new: list[str]) -> Iterator[DiffLine]:
    """Yield changed lines; if their number is unchanged, they are compared word by
    word.
    """
    pairs = [_words(a, b) for a, b in zip(old, new, strict=False)]
    by_word = len(old) == len(new)
    for sign, lines in (("-", old), ("+", new)):
        for place, line in enumerate(lines):
            parts = pairs[place][sign == "+"] if by_word else ((line, False),)
            yield DiffLine(sign, parts)


_Parts = tuple[tuple[str, bool], ...]


def _words(old: str, new: str) -> tuple[_Parts, _Parts]:
    a, b = _WORDS.findall(old), _WORDS.findall(new)
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    before = tuple(("".join(a[i:k]), t != "equal") for t, i, k, _, _ in codes if i < k)
    after = tuple(("".join(b[j:m]), t != "equal") for t, _, _, j, m in codes if j < m)
    return before, after


def show_diff(lines: list[DiffLine]) -> Markup:
    """Render a difference as a block of code.

    Signs stay in the text, so that lines differ by more than color.
    """
    shown = []
    for line in lines:
        parts = [element("b", t) if changed else t for t, changed in line.parts]
        name = {"+": "ins", "-": "del"}.get(line.sign, "span")
        shown.append(element(name, line.sign, " ", *parts, "\n"))
    return element("pre", element("code", *shown), class_="diff")
