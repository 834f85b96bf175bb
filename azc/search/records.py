"""What a journal has rows of: candidates, their evaluations, and what is trained alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from azc.search.objectives import Scores, first_score

__all__ = [
    "START",
    "Candidate",
    "Entrant",
    "Evaluation",
    "Fit",
    "NewCandidate",
    "NewEntrant",
    "ranked",
]

START = 1  # the candidate that a run begins with


@dataclass(frozen=True)
class NewCandidate:
    """A program about to enter the journal.

    `parents`: numbers of candidates, the one whose text it goes on with first; none where
    nobody bore it. `key` is equal for programs that are one in normal form, `function`
    for those that have the same values. `kinds` are those of the mutations.
    """

    program: str
    parents: tuple[int, ...]
    mutation: str
    key: str
    function: str
    kinds: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Candidate(NewCandidate):
    """A program in the journal; `round` is where it was born."""

    id: int
    round: int

    @property
    def parent(self) -> int | None:
        """The first of its parents, None where it has none."""
        return self.parents[0] if self.parents else None


@dataclass(frozen=True)
class Evaluation:
    """One candidate in one round.

    `scores`: by objective, see `azc.search.objectives`, comparable within the round
    alone; None unless `status` is "done". `seconds`: how long it took; None where there
    was nothing to train, because the scores were known, as they are with fresh weights.
    `weights`: the fingerprint of the file with the trained weights.
    """

    round: int
    candidate: int
    status: str
    scores: Scores | None
    reason: str | None
    seconds: float | None
    weights: str | None = None

    @property
    def score(self) -> float | None:
        """What a ranking by one number goes by; lower is better."""
        return first_score(self.scores)

    @property
    def counts(self) -> bool:
        """Whether it is one of those that the budget is for."""
        return self.seconds is not None


@dataclass(frozen=True)
class NewEntrant:
    """A program to be trained alone: `candidate` is its number, None for one that the
    search has not found.
    """

    name: str
    program: str
    candidate: int | None


@dataclass(frozen=True)
class Entrant(NewEntrant):
    """A program that is trained alone, in the journal."""

    id: int


@dataclass(frozen=True)
class Fit:
    """An entrant trained alone for so many steps from one seed, measured on the
    validation or the test part. `loss`: in nats. `right`: the share of answers that are,
    by the name of each part of the data.
    """

    entrant: int
    seed: int
    steps: int
    split: str
    status: str
    loss: float | None
    reason: str | None
    right: Mapping[str, float] = field(default_factory=dict)


def ranked(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Those of one round that did not fail, best first."""
    done = [e for e in evaluations if e.score is not None]
    return sorted(done, key=lambda e: (e.score, e.candidate))
