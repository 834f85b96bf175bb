"""What a search tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Closed", "Event", "Fitted", "Opened", "Scored", "Warming"]


@dataclass(frozen=True)
class Warming:
    """The supernet has trained `step` of `steps` steps."""

    step: int
    steps: int


@dataclass(frozen=True)
class Opened:
    """A round of `size` candidates begins; `spent` of `budget` evaluations are done.

    `priorities`: sampling probability by operation.
    """

    round: int
    size: int
    spent: int
    budget: int
    priorities: dict[str, float]


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
class Closed:
    """A round is over: its best candidate and score, and its start's if it was in it."""

    round: int
    best: int | None
    score: float | None


@dataclass(frozen=True)
class Fitted:
    """A program was trained alone: test loss in nats, or the reason of a failure."""

    role: str
    seed: int
    loss: float | None
    reason: str | None
    done: int
    total: int


Event = Warming | Opened | Scored | Closed | Fitted
