"""Children that are refused, with reasons."""

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
    """A child that is not trained.

    Attributes:
        parents: Its parents.
        mutation: How it was created, in words.
        why: "known" if its normal form is that of a candidate, "equal" if it computes
            the same function as one, "fault" if one of its programs can't be trained,
            or if it exceeds a limit.
        same: The key or function of that candidate.
        reason: The reason of a "fault".
    """

    parents: tuple[int, ...]
    mutation: str
    why: str
    same: str | None
    reason: str | None


def refused_reason(refused: Refused) -> str:
    """Return the reason in a few words."""
    words = {KNOWN: "already known", EQUAL: "equivalent to a known program"}
    return words.get(refused.why) or refused.reason or ""


def _faults(refused: Iterable[Refused]) -> list[tuple[str, int]]:
    # Cut off the measured value after a colon, which differs for each child.
    reasons = (each.reason.partition(": ")[0] for each in refused if each.reason)
    return Counter(reasons).most_common()


def refused_words(refused: Iterable[Refused]) -> str:
    """Return a summary of numbers and reasons in one line; empty if there are none."""
    refused = list(refused)
    counts = Counter(each.why for each in refused)
    parts = []
    if counts[KNOWN]:
        parts.append(f"{counts[KNOWN]:,} already known")
    if counts[EQUAL]:
        parts.append(f"{counts[EQUAL]:,} equivalent to a known program")
    parts += [f"{count:,} because {reason}" for reason, count in _faults(refused)]
    if not parts:
        return ""
    children = "child" if len(refused) == 1 else "children"
    return f"{len(refused):,} {children} not trained: {', '.join(parts)}"


def refused_json(refused: Iterable[Refused]) -> dict[str, Any]:
    """Return the numbers of `known` and `equal` children, and of `faults` by reason."""
    refused = list(refused)
    counts = Counter(each.why for each in refused)
    return {
        KNOWN: counts[KNOWN],
        EQUAL: counts[EQUAL],
        "faults": dict(_faults(refused)),
    }
