"""Rows of a journal: candidates, their evaluations, and models trained from scratch."""

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

START = 1  # the number of the start model


@dataclass(frozen=True)
class NewCandidate:
    """A program to add to the journal.

    Attributes:
        program: Its text.
        parents: Numbers of its parents, first the one whose text it is based on; empty
            for a program without parents.
        mutation: How it was created, in words.
        key: Equal for programs with the same normal form.
        function: Equal for programs with the same values.
        kinds: Kinds of its mutations.
    """

    program: str
    parents: tuple[int, ...]
    mutation: str
    key: str
    function: str
    kinds: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Candidate(NewCandidate):
    """A program in the journal, with the round in which it was created."""

    id: int
    round: int

    @property
    def parent(self) -> int | None:
        """The first parent, or None if it has none."""
        return self.parents[0] if self.parents else None


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a candidate in a round.

    Attributes:
        round: The round.
        candidate: The candidate.
        status: "asked", "done" or "failed".
        scores: Scores by objective (see `azc.search.objectives`), only comparable
            within the round; None unless `status` is "done".
        reason: The reason of a failure.
        seconds: Duration; None if nothing was trained because the scores were known, as
            they are with fresh weights.
        weights: Fingerprint of the file with the trained weights.
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
        """The score for a ranking by one number; lower is better."""
        return first_score(self.scores)

    @property
    def counts(self) -> bool:
        """True if it counts toward the budget."""
        return self.seconds is not None


@dataclass(frozen=True)
class NewEntrant:
    """A model to train from scratch.

    Attributes:
        name: Its name.
        program: Its text.
        candidate: Its number; None if it was not found by the search.
    """

    name: str
    program: str
    candidate: int | None


@dataclass(frozen=True)
class Entrant(NewEntrant):
    """A model to train from scratch, in the journal."""

    id: int


@dataclass(frozen=True)
class Fit:
    """The result of training an entrant from scratch, for one number of steps and one
    seed.

    Attributes:
        entrant: Number of the entrant.
        seed: The seed.
        steps: Number of training steps.
        split: "validation" or "test".
        status: "done" or "failed".
        loss: Loss on the split in nats.
        reason: The reason of a failure.
        right: Accuracy by part of the data.
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
    """Return the evaluations of one round that did not fail, best first."""
    done = [e for e in evaluations if e.score is not None]
    return sorted(done, key=lambda e: (e.score, e.candidate))
