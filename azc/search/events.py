"""Events that a search reports while it runs. Rounds are counted from 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from azc.data.progress import Progress
from azc.data.summary import TextSummary
from azc.search.objectives import Scores, first_score

__all__ = [
    "Acted",
    "Closed",
    "Comparing",
    "Ended",
    "Event",
    "Fitted",
    "Opened",
    "Paused",
    "Progress",
    "Read",
    "Retried",
    "Scored",
    "Skipped",
    "Warming",
]


@dataclass(frozen=True)
class Read:
    """The text of the run is read; before, `Progress` tells how far that is."""

    text: TextSummary


@dataclass(frozen=True)
class Warming:
    """The supernet has trained `step` of `steps` steps; `reason`: why the last path
    failed and left nothing in it.
    """

    step: int
    steps: int
    reason: str | None = None


@dataclass(frozen=True)
class Skipped:
    """Children that a round was asked for are not trained; how many and why, in words."""

    round: int
    words: str


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
    """A candidate was scored, by objective, or has failed."""

    round: int
    candidate: int
    parents: tuple[int, ...]
    mutation: str
    scores: Scores | None
    reason: str | None
    seconds: float
    spent: int
    budget: int

    @property
    def score(self) -> float | None:
        """The score for a ranking by one number."""
        return first_score(self.scores)


@dataclass(frozen=True)
class Retried:
    """A program came to nothing, perhaps because of the machine, and is run again."""

    name: str
    reason: str


@dataclass(frozen=True)
class Closed:
    """A round is over: its best candidate (see `azc.search.ranking.leading`) and its
    scores; None where every one failed.
    """

    round: int
    best: int | None
    scores: Scores | None


@dataclass(frozen=True)
class Ended:
    """The search has ended before its budget was spent."""

    reason: str
    spent: int
    budget: int


@dataclass(frozen=True)
class Comparing:
    """Programs are to be trained alone, `done` of about `total` times so far."""

    done: int
    total: int


@dataclass(frozen=True)
class Fitted:
    """A program was trained alone: loss in nats on a split, or the reason of a failure."""

    name: str
    seed: int
    steps: int
    split: str
    loss: float | None
    reason: str | None
    done: int
    total: int


@dataclass(frozen=True)
class Acted:
    """The loop takes up what somebody wants done; `reason`: why it comes to nothing."""

    words: str
    reason: str | None


@dataclass(frozen=True)
class Paused:
    """The run waits until somebody lets it go on."""


Event = (
    Progress
    | Read
    | Warming
    | Skipped
    | Opened
    | Scored
    | Retried
    | Closed
    | Ended
    | Comparing
    | Fitted
    | Acted
    | Paused
)
