"""OP-NAS, operation-priority evolution (Gao et al. 2022)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.genome import Genome, space_features
from azc.search.journal import START
from azc.search.mutate import Rates, mutate
from azc.search.options import EvolveOptions
from azc.search.priorities import Priorities
from azc.search.strategies.base import Child, Scored

__all__ = ["OpNas", "op_nas"]

_TRIES = 12  # mutations of a parent tried for a child that is not known yet
_WALK = 64  # mutations after that, each of the known program before


class OpNas:
    """The best of a round are the parents of the next and are scored again in it.

    A round's scores are from one snapshot of the shared weights, so that only candidates
    of one round are ever compared.
    """

    def __init__(
        self,
        start: Genome,
        space: SpaceSpec,
        *,
        parents: int,
        alpha: float,
        rates: Rates,
    ) -> None:
        self.space = space
        self.count = parents
        self.rates = rates
        self.parents: list[tuple[int, Genome]] = [(START, start)]
        self.priorities = Priorities.start(space_features(space), alpha)

    def tell(self, round: Sequence[Scored]) -> None:
        """Takes the parents from a round, and what its programs say of operations."""
        order = sorted(
            (s for s in round if s.score is not None),
            key=lambda s: (s.score, s.candidate),
        )
        if order:
            self.parents = [(s.candidate, s.genome) for s in order[: self.count]]
        # Higher is better there, and a NaN has failed.
        self.priorities = self.priorities.tell(
            (s.genome.features, math.nan if s.score is None else -s.score)
            for s in round
        )

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """The parents again, as far as there is room for children too, and children;
        nothing once no child is new.

        Wherever the budget cuts the list off, about a third of it are parents, the best
        of them first.
        """
        again = self.parents[: max(1, min(len(self.parents), count // 3))]
        children: list[Child] = []
        seen = set(known)
        wanted = count - len(again)
        for i in range(wanted):
            child = self._child(self.parents[i % len(self.parents)], seen, rng, known)
            if child is None:
                break
            children.append(child)
            seen.add(child.genome.key)
        begun = self.priorities.candidates > 0
        if begun and wanted and not children:
            return []
        stride = -(-len(children) // len(again))
        asked: list[int | Child] = []
        for place, (number, _) in enumerate(again):
            asked += [number, *children[place * stride : (place + 1) * stride]]
        return asked

    def _child(
        self,
        parent: tuple[int, Genome],
        seen: set[str],
        rng: random.Random,
        known: Mapping[str, int],
    ) -> Child | None:
        """A new program: a mutation of the parent, or of a known one some steps away
        where all around the parent seems to be known.
        """
        number, genome = parent
        for step in range(_TRIES + _WALK):
            made = mutate(genome, self.space, rng, self.priorities, self.rates)
            if made is None:
                continue
            if made.genome.key not in seen:
                return Child(made.genome, number, made.description)
            if step >= _TRIES and made.genome.key in known:
                number, genome = known[made.genome.key], made.genome
        return None

    def state(self) -> object:
        """The parents' numbers, and the priorities."""
        numbers = [number for number, _ in self.parents]
        return {"parents": numbers, "priorities": self.priorities.as_json()}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Takes in what `state` gave. Raises `KeyError` or `TypeError` for another's."""
        known = cast(dict[str, Any], state)
        self.priorities = Priorities.from_json(known["priorities"])
        self.parents = [(number, genome(number)) for number in known["parents"]]

    def display(self) -> dict[str, str]:
        """The probability of every feature where all may be drawn, the highest first."""
        features = [row.feature for row in self.priorities.table()]
        chances = zip(features, self.priorities.weights(features), strict=True)
        return {name: f"{100 * chance:.1f}%" for name, chance in chances}


def op_nas(start: Genome, space: SpaceSpec, options: EvolveOptions) -> OpNas:
    """OP-NAS as the options of a run have it."""
    return OpNas(
        start,
        space,
        parents=options.parents,
        alpha=options.alpha,
        rates=Rates(options.inter_rate, options.intra_rate),
    )
