"""NSGA-II, multi-objective search (Deb et al. 2002)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.pareto import by_front, fronts, points
from azc.search.population import (
    DEEP,
    Member,
    Mutate,
    Population,
    Variation,
    answer,
    evenly,
    names,
    tournament,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["Nsga2", "nsga2"]


class Nsga2:
    """NSGA-II: the better half of a round survives, front by front.

    In the last front that survives in part, the members far from their neighbors are
    preferred. Survivors are scored again with as many children, so that only scores of
    one snapshot are compared. A parent is the better of two random members. The first
    round consists of mutants of the start model, up to `DEEP` mutations away.
    """

    def __init__(
        self,
        start: Genome,
        mutate: Mutate,
        *,
        objectives: Sequence[str],
        mutations: int = 1,
    ) -> None:
        self.objectives = tuple(objectives)
        self.first = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        # Best first; the score of a member is its place.
        self.population: Population = (Member(START, start),)
        self.front = 0
        self.begun = False

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """Return the population and children; nothing once no child is new."""
        again = self.population[: max(1, count // 2)]
        wanted = count - len(again)
        variation = self.variation if self.begun else self.first
        children = variation.children(
            wanted, lambda _: tournament(again, 2, rng), rng, known
        )
        return answer(again, children, wanted, self.begun)

    def tell(self, round: Sequence[Scored]) -> None:
        """Keep the better half."""
        order = by_front(sorted(round, key=_by_number), self.objectives)
        if order:
            kept = order[: max(1, len(round) // 2)]
            self.population = tuple(
                Member(s.candidate, s.genome, score=float(place))
                for place, s in enumerate(kept)
            )
            self.front = len(fronts(points(order, self.objectives))[0])
        self.begun = True

    def state(self) -> object:
        """Return the population, best first, and the size of the first front in its
        round.
        """
        numbers = [member.candidate for member in self.population]
        return {"population": numbers, "front": self.front, "begun": self.begun}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        self.population = tuple(
            Member(number, genome(number), score=float(place))
            for place, number in enumerate(known["population"])
        )
        self.front, self.begun = known["front"], known["begun"]

    def display(self) -> dict[str, str]:
        """Return the size of the first front in the last round, and the survivors."""
        return {"on the front": str(self.front), "living": names(self.population)}


def _by_number(scored: Scored) -> tuple[float, int]:
    score = scored.score
    return (float("inf") if score is None else score, scored.candidate)


def nsga2(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Nsga2:
    """Create NSGA-II from the options of a run."""
    return Nsga2(
        start,
        evenly(space, options),
        objectives=options.objectives,
        mutations=options.mutations or 1,
    )
