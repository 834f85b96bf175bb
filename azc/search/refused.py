"""Children that are not trained, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "EQUAL",
    "FAULT",
    "KNOWN",
    "Refused",
    "refused_json",
    "refused_reason",
    "refused_words",
]

KNOWN, EQUAL, FAULT = "known", "equal", "fault"


@dataclass(frozen=True)
class Refused:
    """A child that was not to be trained.

    `why`: "known" where it is a candidate in normal form, "equal" where it computes what
    one computes, and `same` is the key or the function of that candidate; "fault" where a
    program of it can't be trained, or it is over a limit, for a `reason`.
    """

    parents: tuple[int, ...]
    mutation: str
    why: str
    same: str | None
    reason: str | None


def refused_reason(refused: Refused) -> str:
    """Why, in a few words."""
    words = {KNOWN: "it is known already", EQUAL: "it computes what a known one does"}
    return words.get(refused.why) or refused.reason or ""


def _faults(refused: Iterable[Refused]) -> list[tuple[str, int]]:
    # What was measured, after a colon, is another figure for each.
    reasons = (each.reason.partition(": ")[0] for each in refused if each.reason)
    return Counter(reasons).most_common()


def refused_words(refused: Iterable[Refused]) -> str:
    """How many and why, in a line; empty where there are none."""
    refused = list(refused)
    counts = Counter(each.why for each in refused)
    parts = []
    if counts[KNOWN]:
        parts.append(f"{counts[KNOWN]:,} known already")
    if counts[EQUAL]:
        parts.append(f"{counts[EQUAL]:,} computing what a known one does")
    parts += [f"{count:,} because {reason}" for reason, count in _faults(refused)]
    if not parts:
        return ""
    children = "child" if len(refused) == 1 else "children"
    return f"{len(refused):,} {children} not trained: {', '.join(parts)}"


def refused_json(refused: Iterable[Refused]) -> dict[str, Any]:
    """`known`, `equal`: how many; `faults`: how many by reason."""
    refused = list(refused)
    counts = Counter(each.why for each in refused)
    return {
        KNOWN: counts[KNOWN],
        EQUAL: counts[EQUAL],
        "faults": dict(_faults(refused)),
    }
