"""Local search: hill climbing, with restarts."""

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
    untried,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["LocalSearch", "local"]

_PATIENCE = 2  # rounds without improvement until a restart


class LocalSearch:
    """Hill climbing: all children are mutants of the best candidate so far, the top.

    The top is scored again with its children. After `patience` rounds without
    improvement, the climb restarts from the best of a round of mutants of the start
    model, up to `DEEP` mutations away. The first rounds begin with the programs in
    `first`. The best candidate of all climbs is scored again in every round, so it is
    never forgotten.
    """

    def __init__(
        self,
        start: Genome,
        mutate: Mutate,
        *,
        mutations: int = 1,
        patience: int = _PATIENCE,
        first: Callable[[], Sequence[Child]] = tuple,
    ) -> None:
        self.first = first
        self.start = Member(START, start)
        self.afresh = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        self.patience = patience
        self.best = self.start
        self.top: Member | None = self.start  # None when the climb restarts
        self.idle = 0
        self.begun = False

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """Return the best candidate, the top, and children; nothing once no child is
        new.
        """
        again: Population = (self.best,)
        if self.top is not None and self.top.candidate != self.best.candidate:
            again = (self.best, self.top)[: max(1, count - 1)]
        wanted = count - len(again)
        variation = self.variation if self.top else self.afresh
        parent = self.top or self.start
        children = untried(self.first(), wanted, known)
        children += variation.children(
            wanted - len(children), lambda _: parent, rng, known_with(known, children)
        )
        return answer(again, children, wanted, self.begun)

    def tell(self, round: Sequence[Scored]) -> None:
        """Move to a better child, or count a round without improvement."""
        self.begun = True
        ranked = best(round, len(round))
        top, elsewhere = self.top, self.best.candidate
        if ranked:
            self.best = ranked[0]
        if top is not None and top.candidate == elsewhere:
            hill = ranked
        else:
            hill = tuple(m for m in ranked if m.candidate != elsewhere)
        if top is None:
            self.top = hill[0] if hill else None
        else:
            # A round of two has no room for the top, so its child must beat the best.
            asked = any(s.candidate == top.candidate for s in round)
            rivals = hill if asked else ranked
            found = rivals[0] if rivals else top
            if found.candidate in (top.candidate, elsewhere):
                self.idle += 1
            else:
                self.top, self.idle = found, 0
        if self.idle >= self.patience:
            self.top, self.idle = None, 0

    def state(self) -> object:
        """Return the best candidate, the top, and the number of rounds without
        improvement.
        """
        return {
            "best": self.best.candidate,
            "top": self.top and self.top.candidate,
            "idle": self.idle,
            "begun": self.begun,
        }

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        number = known["best"]
        self.best = Member(number, genome(number))
        top = known["top"]
        self.top = None if top is None else Member(top, genome(top))
        self.idle, self.begun = known["idle"], known["begun"]

    def display(self) -> dict[str, str]:
        """Return the best candidate and the top of the current climb."""
        top = "restarting" if self.top is None else names((self.top,))
        return {"best": names((self.best,)), "top": top, "idle rounds": str(self.idle)}


def local(start: Genome, space: SpaceSpec, options: EvolveOptions) -> LocalSearch:
    """Create a local search from the options of a run."""
    return LocalSearch(
        start,
        evenly(space, options),
        mutations=options.mutations or 1,
        first=initial_children(start, space, options),
    )
