"""Actions that people and agents apply to a run.

An action waits in the journal until the loop applies it, in a round whose number is
then stored with it. So a run that is killed and resumed, with the same actions in the
same rounds, has the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from azc.search.objectives import shown_limit

__all__ = [
    "ALLOW",
    "BUDGET",
    "DRAW",
    "GO_ON",
    "KINDS",
    "LIMIT",
    "PAUSE",
    "PROPOSE",
    "STOP",
    "Act",
    "NewAct",
    "Taken",
    "allowed_after",
    "budget_after",
    "draws",
    "is_paused",
    "limits_after",
    "stopped",
]

PROPOSE, DRAW, LIMIT, BUDGET, STOP, PAUSE, GO_ON, ALLOW = KINDS = (
    "propose",
    "draw",
    "limit",
    "budget",
    "stop",
    "pause",
    "go-on",
    "allow",
)


Limits = tuple[tuple[str, float], ...]  # objectives with their maximum values


@dataclass(frozen=True)
class NewAct:
    """An action that someone requests.

    `value` depends on `kind`: "propose" has `program` (text), `parents` (numbers of
    candidates) and `note`; "draw" has `feature` and `times`, the factor by which it is
    drawn more often (0: never); "limit" has `objective` and `most`, or None to remove
    the limit; "budget" has `evaluations`; "stop" has `candidate`; "allow" has
    `time_limit`, `memory_limit` (None for no limit), or both, in the form of search
    options; "pause" and "go-on" have no value.

    Attributes:
        kind: One of `KINDS`.
        value: Its parameters.
        author: The person or agent that requests it.
    """

    kind: str
    value: Mapping[str, Any]
    author: str

    @property
    def words(self) -> str:
        """A description in one line, including the author."""
        return f"{self.author} {_WORDS[self.kind](self.value)}"


@dataclass(frozen=True)
class Act(NewAct):
    """An action in the journal.

    Attributes:
        id: Its number.
        time: When it was requested (UTC).
        round: The round in which it was applied; None while it is pending.
        candidate: The candidate that a proposal became.
        reason: The reason why it was not applied.
    """

    id: int
    time: str
    round: int | None
    candidate: int | None
    reason: str | None


@dataclass(frozen=True)
class Taken:
    """An action that is applied when a round opens.

    Attributes:
        act: Its number.
        place: For a proposal that was accepted, its place among the members of the
            round.
        reason: The reason why it was not applied.
    """

    act: int
    place: int | None = None
    reason: str | None = None


def draws(acts: Iterable[NewAct]) -> dict[str, float]:
    """Return the factor for each feature that these actions draw more or less often."""
    times = {a.value["feature"]: a.value["times"] for a in acts if a.kind == DRAW}
    return {feature: value for feature, value in times.items() if value != 1}


def limits_after(acts: Iterable[Act], limits: Limits) -> Limits:
    """Return the limits after these actions, ignoring those that could not be
    applied.
    """
    for act in acts:
        if act.kind == LIMIT and act.reason is None:
            name, most = act.value["objective"], act.value["most"]
            limits = tuple(each for each in limits if each[0] != name)
            limits += () if most is None else ((name, most),)
    return limits


def budget_after(acts: Iterable[Act], budget: int) -> int:
    """Return the budget after the pending actions among these."""
    for act in acts:
        if act.kind == BUDGET and act.round is None:
            budget = int(act.value["evaluations"])
    return budget


def allowed_after(acts: Iterable[NewAct]) -> dict[str, Any]:
    """Return the time and memory limits that these actions have set, as options."""
    found: dict[str, Any] = {}
    for act in acts:
        if act.kind == ALLOW:
            found |= act.value
    return found


def stopped(acts: Iterable[Act]) -> dict[int, Act]:
    """Return the candidates that must not be trained any more.

    Each comes with the action that stopped it.
    """
    return {act.value["candidate"]: act for act in acts if act.kind == STOP}


def is_paused(acts: Iterable[NewAct]) -> bool:
    """Return whether the run is paused after these actions."""
    last = [act.kind for act in acts if act.kind in (PAUSE, GO_ON)]
    return last[-1:] == [PAUSE]


def _drawn(value: Mapping[str, Any]) -> str:
    feature, times = value["feature"], value["times"]
    if times == 0:
        return f"bans `{feature}`"
    if times == 1:
        return f"leaves `{feature}` to the strategy"
    return f"draws `{feature}` {times:g} times as often"


def _limited(value: Mapping[str, Any]) -> str:
    name, most = value["objective"], value["most"]
    return (
        f"removes the limit on {name}"
        if most is None
        else f"limits {name} to {shown_limit(name, most)}"
    )


def _allowed(value: Mapping[str, Any]) -> str:
    words = []
    if "time_limit" in value:
        words.append(f"{value['time_limit']:,.10g} seconds")
    if "memory_limit" in value:
        size = value["memory_limit"]
        words.append("all memory" if size is None else f"{size:,} bytes of memory")
    return f"allows each candidate {' and '.join(words)}"


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    PROPOSE: lambda value: (
        "proposes a program" + (f": {value['note']}" if value["note"] else "")
    ),
    DRAW: _drawn,
    LIMIT: _limited,
    BUDGET: lambda value: f"sets the budget to {value['evaluations']:,} evaluations",
    STOP: lambda value: f"stops candidate {value['candidate']:04}",
    PAUSE: lambda value: "pauses the run",
    GO_ON: lambda value: "continues the run",
    ALLOW: _allowed,
}
