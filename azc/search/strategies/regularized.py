"""Regularized evolution (Real et al. 2019): tournaments, one mutation, the oldest
dies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.baselines import initial_children
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.population import (
    DEEP,
    Member,
    Mutate,
    Population,
    Variation,
    answer,
    best,
    evenly,
    known_with,
    latest,
    names,
    oldest_die,
    room,
    tournament,
    untried,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["Regularized", "regularized"]


class Regularized:
    """Regularized evolution (aging evolution).

    A parent is the best of a random sample of the population. The oldest members die,
    however good they are, so that a lucky score does not survive. The first candidates
    are the programs in `first`, then mutants of the start model, up to `DEEP` mutations
    away, until there are `size`. After that, a child is 1 to `mutations` mutations away
    from the winner of a tournament.

    Scores of two snapshots are not comparable. So the `kept` best candidates of a round
    are scored again in the next, and a tournament is held among the living members that
    were scored in the last round: its children, and the older ones that are still among
    the best. (Ranks within rounds would not do, since they treat the best of a poor
    round like the best of a good one.) Scoring a member again does not make it younger.
    A member that has died may be scored again as the best candidate found, but has no
    more children.
    """

    def __init__(
        self,
        start: Genome,
        mutate: Mutate,
        *,
        size: int,
        tournament: int,
        kept: int,
        mutations: int = 1,
        first: Callable[[], Sequence[Child]] = tuple,
    ) -> None:
        self.start = Member(START, start)
        self.given = first
        self.size = size
        self.tournament = tournament
        self.kept = kept
        self.first = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        self.population: Population = ()
        self.best: Population = (self.start,)
        self.round = 0
        self.born = 0  # the youngest candidate so far

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """Return the best candidates and children; nothing once no child is new."""
        again = room(self.best, count)
        wanted = count - len(again)
        children = untried(self.given(), wanted, known)
        mutants = min(wanted, max(0, self.size - max(self.born, START))) - len(children)
        children += self.first.children(
            mutants, lambda _: self.start, rng, known_with(known, children)
        )
        contestants = latest(self.population) or (self.start,)
        children += self.variation.children(
            wanted - len(children),
            lambda _: tournament(contestants, self.tournament, rng),
            rng,
            known_with(known, children),
        )
        return answer(again, children, wanted, self.round > 0)

    def tell(self, round: Sequence[Scored]) -> None:
        """Add the children that did not fail, and remove the oldest members."""
        scored = {m.candidate: m for m in best(round, len(round), self.round)}
        failed = {s.candidate for s in round if s.score is None}
        living = [
            scored.pop(m.candidate, m)
            for m in self.population
            if m.candidate not in failed
        ]
        children = [scored[number] for number in sorted(scored) if number > self.born]
        self.population = oldest_die((*living, *children), self.size)
        self.best = best(round, self.kept) or self.best
        self.round += 1
        self.born = max(self.born, *(s.candidate for s in round))

    def state(self) -> object:
        """Return the population with rounds and scores, the best candidates, and the
        progress.
        """
        return {
            "population": [[m.candidate, m.round, m.score] for m in self.population],
            "best": [m.candidate for m in self.best],
            "round": self.round,
            "born": self.born,
        }

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        self.population = tuple(
            Member(number, genome(number), round, score)
            for number, round, score in known["population"]
        )
        self.best = tuple(Member(n, genome(n)) for n in known["best"])
        self.round, self.born = known["round"], known["born"]

    def display(self) -> dict[str, str]:
        """Return the best of the last round, and the living members."""
        living = self.population
        return {
            "best": names(self.best),
            "living": f"{len(living)} of {self.size}",
            "oldest": names(living[:1]),
        }


def regularized(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Regularized:
    """Create regularized evolution from the options of a run."""
    return Regularized(
        start,
        evenly(space, options),
        size=options.population,
        tournament=options.tournament,
        kept=options.parents,
        mutations=options.mutations or 1,
        first=initial_children(start, space, options),
    )
