"""The interface between a strategy and the loop: ask and tell.

The loop owns the budget, the numbers of candidates and the journal. A strategy owns its
own state, and passes it to the loop as a JSON value that the loop stores but does not
read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.objectives import Scores, first_score
from azc.search.options import EvolveOptions

__all__ = ["Child", "MakeStrategy", "Scored", "Strategy"]


@dataclass(frozen=True)
class Scored:
    """A candidate in a completed round.

    Attributes:
        candidate: Its number.
        genome: Its program.
        scores: Its scores by objective; None if it failed.
        kinds: Kinds of the mutations that created it, if it is new in this round.
    """

    candidate: int
    genome: Genome
    scores: Scores | None
    kinds: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """The score for a search with one objective: lower is better, None for a
        failure.
        """
        return first_score(self.scores)


@dataclass(frozen=True)
class Child:
    """A new program.

    Attributes:
        genome: The program.
        parents: Any number of candidates, first the one whose text it is based on; none
            for a program without parents, such as one that a person wrote.
        description: How it was created, in one line.
        kinds: Kinds of its mutations, which are returned with its scores.
    """

    genome: Genome
    parents: tuple[int, ...]
    description: str
    kinds: tuple[str, ...] = field(default=(), repr=False)


class Strategy(Protocol):
    """A search strategy."""

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> Sequence[int | Child]:
        """Return the candidates to score next: numbers of known ones, and new children.

        The loop scores them in this order, at most `count`, until the budget is spent.
        It refuses children that are already known by their key or function, and
        children that can't be trained. It then asks for replacements. An empty answer,
        or a hundred refusals without a new child, ends the search.

        Args:
            count: Size of the round.
            rng: Source of randomness.
            known: Keys and functions of all candidates with their numbers, and those
                refused in this round with the number of a related candidate.
        """

    def tell(self, round: Sequence[Scored]) -> None:
        """Learn the scores of a whole round, which come from one snapshot."""

    def state(self) -> object:
        """Return the complete state as a JSON value."""

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state that `state` returned; `genome` returns the program of a
        candidate.
        """

    def display(self) -> Mapping[str, str]:
        """Return values to show during the search: names with short texts, in order."""


MakeStrategy = Callable[[Genome, SpaceSpec, EvolveOptions], Strategy]
