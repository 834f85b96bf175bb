"""What a search tells while it runs. Rounds are counted from 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "Closed",
    "Comparing",
    "Ended",
    "Event",
    "Fitted",
    "Opened",
    "Retried",
    "Scored",
    "Warming",
]


@dataclass(frozen=True)
class Warming:
    """The supernet has trained `step` of `steps` steps; `reason`: why the last path
    failed and left nothing in it.
    """

    step: int
    steps: int
    reason: str | None = None


@dataclass(frozen=True)
class Opened:
    """A round of `size` candidates begins; `spent` of `budget` evaluations are done.

    `display`: what the strategy shows of itself, names with short texts.
    """

    round: int
    size: int
    spent: int
    budget: int
    display: Mapping[str, str]


@dataclass(frozen=True)
class Scored:
    """A candidate was scored (nats) or has failed."""

    round: int
    candidate: int
    parent: int | None
    mutation: str
    score: float | None
    reason: str | None
    seconds: float
    spent: int
    budget: int


@dataclass(frozen=True)
class Retried:
    """A candidate came to nothing, perhaps because of the machine, and is run again."""

    candidate: int
    reason: str


@dataclass(frozen=True)
class Closed:
    """A round is over: its best candidate and score, None where every one failed."""

    round: int
    best: int | None
    score: float | None


@dataclass(frozen=True)
class Ended:
    """The search has ended before its budget was spent."""

    reason: str
    spent: int
    budget: int


@dataclass(frozen=True)
class Comparing:
    """The winner and the start are to be trained alone, `done` of `total` times so far."""

    done: int
    total: int


@dataclass(frozen=True)
class Fitted:
    """A program was trained alone: test loss in nats, or the reason of a failure."""

    role: str
    seed: int
    loss: float | None
    reason: str | None
    done: int
    total: int


Event = Warming | Opened | Scored | Retried | Closed | Ended | Comparing | Fitted
