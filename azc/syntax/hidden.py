"""Characters that hide or reorder text (AZG007).

In a comment they can make a program look like another one (Boucher and Anderson 2021,
"Trojan Source"), so `azc check` warns about them. Elsewhere they are errors, like any
character outside the language.

Joiners and direction marks are allowed: words of many languages, and emoji, need them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from azc.diagnostics import Diagnostic, Fix
from azc.source import Source

__all__ = ["HIDDEN", "called", "hidden_in"]

# Parts of a character class in a regular expression.
_CONTROL = r"\x00-\x08\x0b\x0e-\x1f\x7f-\x9f"
_TURNS = "\u202a-\u202e\u2066-\u2069"
_NO_WIDTH = (
    "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_BLANK = "\u115f\u1160\u3164\uffa0"  # fillers of Hangul: letters without a shape
_ENDS = "\u2028\u2029"  # line ends for some programs and not for azc
HIDDEN = f"{_CONTROL}{_TURNS}{_NO_WIDTH}{_BLANK}{_ENDS}"
_RUN = re.compile(rf"(?:[{HIDDEN}]|\r(?!\n|\Z))+")

# Control characters have no names in Unicode.
_NAMES = {
    "\0": "null",
    "\a": "bell",
    "\b": "backspace",
    "\r": "carriage return",
    "\x1b": "escape",
    "\x7f": "delete",
}


def called(char: str) -> str:
    """Describe a character: `U+200B (zero width space)`."""
    name = unicodedata.name(char, _NAMES.get(char, "a control character"))
    return f"U+{ord(char):04X} ({name.lower()})"


def hidden_in(source: Source, comments: Iterable[tuple[int, str]]) -> list[Diagnostic]:
    """Return a warning for each comment that contains such characters.

    Args:
        source: The text.
        comments: The offset and text of each comment.
    """
    found = []
    for offset, text in comments:
        runs = list(_RUN.finditer(text))
        if not runs:
            continue
        chars = list(dict.fromkeys("".join(run[0] for run in runs)))
        shown = ", ".join(map(called, chars[:2]))
        more = len(chars) - 2
        shown += f" and {more} more" if more > 0 else ""
        message = f"{shown} in a comment can hide or reorder text"
        help_ = "remove it" if len(chars) == len(runs) == 1 else "remove them"
        start, end = offset + runs[0].start(), offset + runs[0].end()
        fix = Fix(source.span(offset, offset + len(text)), _RUN.sub("", text))
        span = source.span(start, end)
        found.append(Diagnostic("AZG007", message, span, help_, "warning", fix))
    return found
