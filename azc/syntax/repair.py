"""Repair of text that is not azg but has only one possible meaning.

It covers characters that look like those of the language, and the markers of a merge
conflict. Replacements have the same length, so that offsets stay valid, and each one is
reported as an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from azc.diagnostics import Diagnostic, Fix
from azc.source import Source
from azc.syntax.hidden import HIDDEN, called

__all__ = ["Region", "blank", "conflicts", "lookalikes"]

Region = tuple[int, int]

# Typed by word processors, chat programs, slides and papers.
_LOOKALIKES = {
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00d7\u2217\u22c5\u00b7\u2219\u2715\u2a2f\uff0a", "*"),
    **dict.fromkeys("\u00f7\u2215\u2044\uff0f", "/"),
    **dict.fromkeys("\uff08\u207d", "("),
    **dict.fromkeys("\uff09\u207e", ")"),
    **dict.fromkeys("\uff0c\u201a\u3001", ","),
    "\uff0b": "+",
    "\uff1d": "=",
    "\uff20": "@",
    "\uff3b": "[",
    "\uff3d": "]",
    "\uff5b": "{",
    "\uff5d": "}",
    "\uff0e": ".",
    "\uff03": "#",
    **dict.fromkeys("\u00a0\u1680\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u2299\u2218", "*"),
    **{chr(code): " " for code in range(0x2000, 0x200B)},
}
_SPACES = "".join(
    char for char, replacement in _LOOKALIKES.items() if replacement == " "
)
_OTHERS = "".join(
    char for char, replacement in _LOOKALIKES.items() if replacement != " "
)
_RUN = re.compile(
    rf"#[^\n]*|(?P<hidden>[{HIDDEN}]+)|(?P<turned>(?<=[\w)])\^(?:T\b|[⊤ᵀ]))|[{_SPACES}]+|[{_OTHERS}]"
)
# Markers are longer where the text itself has lines that begin like them.
_MARKER = re.compile(r"^([<|=>%+\\-])\1{6,}(?=[ \r\n]|\Z)", re.MULTILINE)
_JUJUTSU = frozenset("%+-\\")


def blank(text: str, regions: list[Region]) -> str:
    """Return the text with some regions replaced by spaces, except for line ends."""
    for start, end in regions:
        spaces = re.sub(r"[^\n]", " ", text[start:end])
        text = text[:start] + spaces + text[end:]
    return text


def lookalikes(source: Source, text: str, most: int) -> tuple[str, list[Diagnostic]]:
    """Replace lookalikes by the characters that they stand for.

    Args:
        source: The source, for spans.
        text: Its text, perhaps with regions blanked.
        most: The largest number of diagnostics.

    Returns:
        The repaired text and the diagnostics.
    """
    found: list[Diagnostic] = []

    def meant(match: re.Match[str]) -> str:
        run = match[0]
        if run.startswith("#"):
            return run
        if match["turned"]:
            replacement = fix = ".T"
        elif match["hidden"]:
            replacement, fix = " " * len(run), ""
        else:
            replacement = fix = _LOOKALIKES[run[0]] * len(run)
        if len(found) < most:
            found.append(_lookalike(source, match.start(), run, fix))
        return replacement

    return _RUN.sub(meant, text), found


def _lookalike(source: Source, start: int, run: str, replacement: str) -> Diagnostic:
    span = source.span(start, start + len(run))
    if run.startswith("^"):
        message = f"unexpected `{run}`: a transpose is not a power"
    else:
        shown = f"`{run[0]}`, " if replacement.strip() else ""
        message = f"unexpected {shown}{called(run[0])}"
    help_ = f"write `{replacement}`" if replacement.strip() else "write a space"
    if not replacement:
        help_ = "remove it" if len(run) == 1 else "remove them"
    return Diagnostic("AZG001", message, span, help_, fix=Fix(span, replacement))


def conflicts(source: Source) -> tuple[list[Region], Diagnostic | None]:
    """Find merge conflicts.

    One side is kept: of git's conflicts the first one, of Jujutsu's, where a side may
    be a difference, the first one written in full.

    Returns:
        The regions to skip, and the diagnostic, None if there is no conflict.
    """
    found = list(_conflicts(source.text))
    if not found:
        return [], None
    regions = [each for markers in found for each in _not_kept(source.text, markers)]
    kinds = list(dict.fromkeys(marker[0] for marker in found[0]))
    whose = "Jujutsu" if any(kind[0] in _JUJUTSU for kind in kinds) else "git"
    message = f"unresolved merge conflict: these are {whose}'s markers"
    listed = f"{', '.join(kinds[:-1])} and {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    help_ = f"keep one side, and remove the others and the lines with {listed}"
    span = source.span(*found[0][0].span())
    return regions, Diagnostic("AZG001", message, span, help_)


def _conflicts(text: str) -> Iterator[list[re.Match[str]]]:
    """Iterate over the markers of each conflict, which may be incomplete."""
    groups: list[list[re.Match[str]]] = [[]]
    for marker in _MARKER.finditer(text):
        kind = marker[0][0]
        if kind == "<":
            groups.append([])
        # Outside a conflict, lines of these characters are not markers.
        if kind not in _JUJUTSU or (groups[-1] and groups[-1][0][0][0] == "<"):
            groups[-1].append(marker)
        if kind == ">":
            groups.append([])
    # A line of `=` alone is not a conflict.
    yield from (each for each in groups if any(m[0][0] != "=" for m in each))


def _not_kept(text: str, markers: list[re.Match[str]]) -> list[Region]:
    """Return the regions of a conflict outside the kept side, or only its markers if it
    has no end.
    """
    lines = [(m.start(), _line_end(text, m.end())) for m in markers]
    kinds = [marker[0][0] for marker in markers]
    if kinds[-1] != ">":
        return lines
    jujutsu = any(kind in _JUJUTSU for kind in kinds)
    kept = 0 if kinds[0] == "<" else -1  # the side above the first marker
    if jujutsu:
        kept = kinds.index("+") if "+" in kinds else len(kinds) - 1
    before = [(lines[0][0], lines[kept][1])] if kept >= 0 else []
    after = [(lines[kept + 1][0], lines[-1][1])] if kept + 1 < len(lines) else []
    return before + after


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
