"""What is no azg but can mean one thing only: read as that, and told.

Characters that look like one of the language, and the markers of a merge conflict. What
is put in their place is as long, so that places stay what they are.
"""

from __future__ import annotations

import re
import unicodedata

from azc.diagnostics import Diagnostic, Fix
from azc.source import Source

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
    **dict.fromkeys("\u00a0\u1680\u202f\u205f\u3000\u200b\u2060\ufeff", " "),
    **{chr(code): " " for code in range(0x2000, 0x200B)},
}
_RUN = re.compile(
    f"#[^\n]*|(?P<found>[{''.join(c for c, mend in _LOOKALIKES.items() if mend == ' ')}]+"
    f"|[{''.join(c for c, mend in _LOOKALIKES.items() if mend != ' ')}])"
)
_MARKER = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?=[ \r\n]|\Z)", re.MULTILINE)


def blank(text: str, regions: list[Region]) -> str:
    """The text with spaces for all but line ends in some regions."""
    for start, end in regions:
        spaces = re.sub(r"[^\n]", " ", text[start:end])
        text = text[:start] + spaces + text[end:]
    return text


def lookalikes(source: Source, text: str, most: int) -> tuple[str, list[Diagnostic]]:
    """The text with the characters that were meant, and at most so many diagnostics."""
    found: list[Diagnostic] = []

    def meant(match: re.Match[str]) -> str:
        run = match["found"]
        if not run:
            return match[0]
        mend = _LOOKALIKES[run[0]] * len(run)
        if len(found) < most:
            found.append(_lookalike(source, match.start(), run, mend))
        return mend

    return _RUN.sub(meant, text), found


def _lookalike(source: Source, start: int, run: str, mend: str) -> Diagnostic:
    span = source.span(start, start + len(run))
    char = run[0]
    name = unicodedata.name(char, "a control character").lower()
    shown = f"`{char}`, " if mend[0] != " " else ""
    message = f"unexpected {shown}U+{ord(char):04X} ({name})"
    help_ = "write a space" if mend[0] == " " else f"write `{mend}`"
    return Diagnostic("AZG001", message, span, help_, fix=Fix(span, mend))


def conflicts(source: Source) -> tuple[list[Region], Diagnostic | None]:
    """The regions that a merge conflict leaves to skip, and the diagnostic that tells.

    What is kept is the side between `<<<<<<<` and the next marker.
    """
    markers = list(_MARKER.finditer(source.text))
    told = [m for m in markers if not m[0].startswith("=")]
    if not told:
        return [], None
    regions: list[Region] = []
    skipping = -1  # where what is not kept begins
    for marker in markers:
        end = source.text.find("\n", marker.end())
        end = len(source.text) if end < 0 else end
        kind = marker[0][0]
        if kind in "|=" and skipping < 0:
            skipping = marker.start()
        elif kind == ">" and skipping >= 0:
            regions.append((skipping, end))
            skipping = -1
        elif kind in "<>":
            regions.append((marker.start(), end))
    if skipping >= 0:  # no end of it: the markers alone
        regions.append((skipping, skipping + 7))
    span = source.span(told[0].start(), told[0].end())
    message = "unresolved merge conflict: these are git's markers"
    help_ = "keep one side and remove the lines with <<<<<<<, ======= and >>>>>>>"
    return regions, Diagnostic("AZG001", message, span, help_)
