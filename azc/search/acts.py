"""What people and agents do to a run: acts, in the order in which they came.

An act waits in the journal until the loop takes it up, in a round whose number it then
has. So a run that is killed and goes on with the same acts in the same rounds comes to
the same end.
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


Limits = tuple[tuple[str, float], ...]  # objectives, each with the most there may be


@dataclass(frozen=True)
class NewAct:
    """What somebody wants done.

    `value`, by kind: "propose" has `program`, its text, `parents`, numbers of candidates,
    and `note`; "draw" has `feature` and `times`, how many times as often it is drawn (0:
    never); "limit" has `objective` and `most`, None where there is to be no limit any
    more; "budget" has `evaluations`; "stop" has `candidate`; "allow" has `time_limit`,
    `memory_limit` (None for no limit), or both, as the options of a search have them;
    "pause" and "go-on" have nothing.
    """

    kind: str
    value: Mapping[str, Any]
    author: str

    @property
    def words(self) -> str:
        """What is done and by whom, in a line."""
        return f"{self.author} {_WORDS[self.kind](self.value)}"


@dataclass(frozen=True)
class Act(NewAct):
    """An act in the journal, since a `time` (UTC).

    `round`: where the loop took it up, None while it waits. `candidate`: what a proposal
    became. `reason`: why it came to nothing.
    """

    id: int
    time: str
    round: int | None
    candidate: int | None
    reason: str | None


@dataclass(frozen=True)
class Taken:
    """An act that a round is opened with: `place` among its members, of a proposal that
    is one of them; `reason`, where it came to nothing.
    """

    act: int
    place: int | None = None
    reason: str | None = None


def draws(acts: Iterable[NewAct]) -> dict[str, float]:
    """How many times as often each feature is drawn after these, where that is not 1."""
    times = {a.value["feature"]: a.value["times"] for a in acts if a.kind == DRAW}
    return {feature: value for feature, value in times.items() if value != 1}


def limits_after(acts: Iterable[Act], limits: Limits) -> Limits:
    """What limits are after these, but for those that came to nothing."""
    for act in acts:
        if act.kind == LIMIT and act.reason is None:
            name, most = act.value["objective"], act.value["most"]
            limits = tuple(each for each in limits if each[0] != name)
            limits += () if most is None else ((name, most),)
    return limits


def budget_after(acts: Iterable[Act], budget: int) -> int:
    """What a budget is once those of these that wait are taken up."""
    for act in acts:
        if act.kind == BUDGET and act.round is None:
            budget = int(act.value["evaluations"])
    return budget


def allowed_after(acts: Iterable[NewAct]) -> dict[str, Any]:
    """Return the limits of time and memory that these have set, as options."""
    found: dict[str, Any] = {}
    for act in acts:
        if act.kind == ALLOW:
            found |= act.value
    return found


def stopped(acts: Iterable[Act]) -> dict[int, Act]:
    """The candidates that are to be trained no more, each with the act that says so."""
    return {act.value["candidate"]: act for act in acts if act.kind == STOP}


def is_paused(acts: Iterable[NewAct]) -> bool:
    """Whether the run is to wait after these."""
    last = [act.kind for act in acts if act.kind in (PAUSE, GO_ON)]
    return last[-1:] == [PAUSE]


def _drawn(value: Mapping[str, Any]) -> str:
    feature, times = value["feature"], value["times"]
    if times == 0:
        return f"bans `{feature}`"
    if times == 1:
        return f"leaves `{feature}` to the strategy"
    return f"has `{feature}` drawn {times:g} times as often"


def _limited(value: Mapping[str, Any]) -> str:
    name, most = value["objective"], value["most"]
    return (
        f"lifts the limit of {name}"
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
    BUDGET: lambda value: f"gives a budget of {value['evaluations']:,} evaluations",
    STOP: lambda value: f"stops candidate {value['candidate']:04}",
    PAUSE: lambda value: "pauses the run",
    GO_ON: lambda value: "lets the run go on",
    ALLOW: _allowed,
}
