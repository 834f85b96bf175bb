"""Random search around the start model: the baseline for all other strategies."""

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
    names,
    room,
    untried,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["RandomSearch", "random_search"]


class RandomSearch:
    """Random search: mutants of the start model, 1 to `mutations` mutations away.

    Each number of mutations is equally likely. The `kept` best candidates of a round
    are scored again in the next, so the best of the last round has been compared with
    the best of all rounds, each time on one snapshot. The first rounds begin with the
    programs in `first`.
    """

    def __init__(
        self,
        start: Genome,
        mutate: Mutate,
        *,
        kept: int,
        mutations: int = DEEP,
        first: Callable[[], Sequence[Child]] = tuple,
    ) -> None:
        self.first = first
        self.start = Member(START, start)
        self.variation = Variation(mutate, mutations)
        self.kept = kept
        self.best: Population = (self.start,)
        self.begun = False

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """Return the best candidates and mutants; nothing once no mutant is new."""
        again = room(self.best, count)
        wanted = count - len(again)
        children = untried(self.first(), wanted, known)
        children += self.variation.children(
            wanted - len(children),
            lambda _: self.start,
            rng,
            known_with(known, children),
        )
        return answer(again, children, wanted, self.begun)

    def tell(self, round: Sequence[Scored]) -> None:
        """Keep the best of the round."""
        self.best = best(round, self.kept) or self.best
        self.begun = True

    def state(self) -> object:
        """Return the best candidates, and whether a round is complete."""
        return {"best": [m.candidate for m in self.best], "begun": self.begun}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        self.best = tuple(Member(n, genome(n)) for n in known["best"])
        self.begun = known["begun"]

    def display(self) -> dict[str, str]:
        """Return the best of the last round."""
        return {"best": names(self.best)}


def random_search(
    start: Genome, space: SpaceSpec, options: EvolveOptions
) -> RandomSearch:
    """Create a random search from the options of a run."""
    return RandomSearch(
        start,
        evenly(space, options),
        kept=options.parents,
        mutations=options.mutations or DEEP,
        first=initial_children(start, space, options),
    )
