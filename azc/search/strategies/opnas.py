"""OP-NAS, operation-priority evolution (Gao et al. 2022)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.baselines import initial_children
from azc.search.genome import Genome, space_features
from azc.search.mutate import Mutation, Rates, mutate
from azc.search.options import EvolveOptions
from azc.search.population import (
    DEEP,
    Member,
    Population,
    Variation,
    answer,
    best,
    known_with,
    room,
    untried,
)
from azc.search.priorities import Priorities
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["OpNas", "op_nas"]

# For the priorities of mutation kinds: there are few kinds, and each is soon tried often.
# These values worked best on a table of trained models (docs/studies/strategies.md).
KIND_ALPHA, KIND_TEMPERATURE = 0.1, 0.1


class OpNas:
    """Operation-priority evolution: the best of a round are the parents of the next.

    Parents are scored again with their children, so that only scores of one snapshot of
    the shared weights are compared. A child is 1 to `mutations` mutations from its
    parent. The first rounds begin with the programs in `first`.

    If no child was better than the parents for `patience` rounds, the climb restarts
    from mutants of the start model, up to `DEEP` mutations away. The best candidate of
    all climbs is scored again in every round, but has no children. With a patience of
    0, there are no restarts.

    With `learn_kinds`, the kind of a mutation (another width of a convolution, an
    inserted operation) is also drawn by priority, which is computed from the ranks of
    the children that it created, as for operations.
    """

    def __init__(
        self,
        start: Genome,
        space: SpaceSpec,
        *,
        parents: int,
        alpha: float,
        rates: Rates,
        mutations: int = 1,
        temperature: float = 1.0,
        patience: int = 0,
        learn_kinds: bool = False,
        first: Callable[[], Sequence[Child]] = tuple,
    ) -> None:
        self.first = first
        self.space = space
        self.count = parents
        self.rates = rates
        self.mutations = mutations
        self.start = Member(START, start)
        self.parents: Population = (self.start,)  # empty when the climb restarts
        self.best: Population = ()  # the best of earlier climbs
        self.patience = patience
        self.idle = 0
        self.priorities = Priorities.start(space_features(space), alpha, temperature)
        self.kinds = (
            Priorities.start((), KIND_ALPHA, KIND_TEMPERATURE) if learn_kinds else None
        )

    def tell(self, round: Sequence[Scored]) -> None:
        """Select the parents from a round, and update the priorities with its
        programs.
        """
        if found := best(round, len(round)):
            self._climb(found)
        # For priorities, higher is better, and NaN is a failure.
        scores = [math.nan if s.score is None else -s.score for s in round]
        features = [s.genome.features for s in round]
        self.priorities = self.priorities.tell(zip(features, scores, strict=True))
        if self.kinds is not None:
            made = [frozenset(s.kinds) for s in round]
            self.kinds = self.kinds.tell(zip(made, scores, strict=True))

    def _climb(self, found: Population) -> None:
        """Select parents from the scored members of a round, or none to restart."""
        before = {member.candidate for member in self.parents}
        top = {member.candidate for member in self.best}
        climbed = tuple(m for m in found if m.candidate not in top)[: self.count]
        self.idle = 0 if {m.candidate for m in climbed[:1]} - before else self.idle + 1
        self.parents = climbed or self.parents
        if self.patience and self.idle >= self.patience:
            self.best, self.parents, self.idle = found[:1], (), 0

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """Return the best candidate, the parents, and children; nothing once no child
        is new.

        Candidates are scored again as far as there is room.
        """
        again = room((*self.best, *self.parents), count)
        wanted = count - len(again)
        parents = self.parents or (self.start,)
        most = self.mutations if self.parents else DEEP
        variation = Variation(self._mutate, most, self._wander)
        children = untried(self.first(), wanted, known)
        children += variation.children(
            wanted - len(children),
            lambda place: parents[place % len(parents)],
            rng,
            known_with(known, children),
        )
        begun = self.priorities.candidates > 0
        return answer(again, children, wanted, begun)

    def _mutate(self, genome: Genome, rng: random.Random) -> Mutation | None:
        return mutate(genome, self.space, rng, self.priorities, self.rates, self.kinds)

    def _wander(self, genome: Genome, rng: random.Random) -> Mutation | None:
        # Without priorities of kinds: everything that a good kind creates may be known.
        return mutate(genome, self.space, rng, self.priorities, self.rates)

    def state(self) -> object:
        """Return the parents, the best candidate, and the priorities."""
        kinds = {} if self.kinds is None else {"kinds": self.kinds.as_json()}
        return {
            "parents": [parent.candidate for parent in self.parents],
            "best": [member.candidate for member in self.best],
            "idle": self.idle,
            "priorities": self.priorities.as_json(),
            **kinds,
        }

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        self.priorities = Priorities.from_json(known["priorities"])
        self.parents, self.best = (
            tuple(Member(n, genome(n)) for n in known.get(name, ()))
            for name in ("parents", "best")
        )
        self.idle = known.get("idle", 0)  # missing in older runs
        if self.kinds is not None:
            self.kinds = Priorities.from_json(known["kinds"])

    def display(self) -> dict[str, str]:
        """Return the state to show.

        The probability of every feature if all can be drawn comes first, the highest
        first, then the mean rank and the number of children of each kind of mutation.
        """
        features = [row.feature for row in self.priorities.table()]
        chances = zip(features, self.priorities.weights(features), strict=True)
        kinds = self.kinds.table() if self.kinds is not None else []
        return {
            **{name: f"{100 * chance:.1f}%" for name, chance in chances},
            **{f"mutation: {k.feature}": f"{k.mean:.2f} of {k.seen}" for k in kinds},
        }


def op_nas(start: Genome, space: SpaceSpec, options: EvolveOptions) -> OpNas:
    """Create OP-NAS from the options of a run."""
    return OpNas(
        start,
        space,
        parents=options.parents,
        alpha=options.alpha,
        rates=Rates(options.inter_rate, options.intra_rate),
        mutations=options.mutations or 1,
        temperature=options.temperature,
        patience=options.patience,
        learn_kinds=options.learn_kinds,
        first=initial_children(start, space, options),
    )
