"""Events that a search reports while it runs. Rounds are counted from 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from azc.data.progress import Progress
from azc.data.summary import TextSummary
from azc.search.noise import Noise
from azc.search.objectives import LOSS, Scores, first_score

__all__ = [
    "Acted",
    "Closed",
    "Comparing",
    "Ended",
    "Event",
    "Fitted",
    "Noisy",
    "Opened",
    "Paused",
    "Progress",
    "Read",
    "Retried",
    "Scored",
    "Skipped",
    "Started",
    "Warming",
]


@dataclass(frozen=True)
class Read:
    """The text of the run was read. `Progress` events come before it."""

    text: TextSummary


@dataclass(frozen=True)
class Started:
    """A process starts to work in the folder of a run, which is new or resumed.

    The `data` that the options name is not loaded yet.
    """

    folder: Path
    data: str
    is_new: bool


@dataclass(frozen=True)
class Warming:
    """The supernet has trained `step` of `steps` steps; `reason` is why the last path
    failed.
    """

    step: int
    steps: int
    reason: str | None = None


@dataclass(frozen=True)
class Skipped:
    """Children of a round are not trained; `words` has their number and the reasons."""

    round: int
    words: str


@dataclass(frozen=True)
class Opened:
    """A round of `size` candidates starts; `spent` of `budget` evaluations are done.

    Attributes:
        round: The round.
        size: Number of candidates.
        spent: Number of evaluations spent.
        budget: The budget.
        display: Values that the strategy shows: names with short texts.
        objectives: The objectives of the run, see `azc.search.objectives`.
    """

    round: int
    size: int
    spent: int
    budget: int
    display: Mapping[str, str]
    objectives: tuple[str, ...] = (LOSS,)


@dataclass(frozen=True)
class Scored:
    """A candidate was scored, or failed."""

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
    """A program failed, perhaps because of the machine, and is evaluated again."""

    name: str
    reason: str


@dataclass(frozen=True)
class Closed:
    """A round is complete.

    `best` is its best candidate (see `azc.search.ranking.leading`), with its scores;
    both are None if every candidate failed.
    """

    round: int
    best: int | None
    scores: Scores | None


@dataclass(frozen=True)
class Ended:
    """The search ended before its budget was spent."""

    reason: str
    spent: int
    budget: int


@dataclass(frozen=True)
class Comparing:
    """The final training: `done` of about `total` training runs are complete."""

    done: int
    total: int


@dataclass(frozen=True)
class Fitted:
    """A model was trained from scratch: loss in nats on a split, or the reason of a
    failure.
    """

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
    """An action was applied; or it could not be, for a `reason`."""

    words: str
    reason: str | None


@dataclass(frozen=True)
class Paused:
    """The run is paused."""


@dataclass(frozen=True)
class Noisy:
    """The scores of the candidates differ by no more than seeds do."""

    noise: Noise


Event = (
    Started
    | Progress
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
    | Noisy
)
