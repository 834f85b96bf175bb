"""A surrogate: a regression foretells which of many mutants are worth an evaluation."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from azc.check.program import AttentionUse, SpaceSpec
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
    names,
    room,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Surrogate", "foretold", "program_features", "surrogate"]

_POOL = 8  # mutants for every child that is asked for
_FREE = 4  # one of so many children is drawn without regard to what is foretold
_MEMORY = 400  # evaluations that the regression looks back on
_RIDGE = 1.0

History = list[tuple[int, Mapping[str, float], float]]  # round, features, score


def program_features(genome: Genome) -> dict[str, float]:
    """What a model is described by: what each layer mixes with, how often each operation
    occurs in a layer's program, arguments of layers, and how many layers there are.
    """
    found: Counter[str] = Counter()
    layers = genome.spec.layers
    for place, layer in enumerate(layers):
        mixing = layer.mixing
        if isinstance(mixing, AttentionUse):
            what = "attention"
            found.update(mixing.program.live_operations)
        else:
            what = f"{mixing.kind} conv {mixing.kernel}"
        found[what] += 1
        found[f"layer {place + 1}: {what}"] += 1
        found[f"activation {layer.activation}"] += 1
        found[f"heads {layer.heads}"] += 1
        found[f"ffn {layer.ffn}"] += 1
    scaled = {name: count / len(layers) for name, count in found.items()}
    return scaled | {"layers": len(layers) / 4}


def foretold(history: History, wanted: Sequence[Mapping[str, float]]) -> list[float]:
    """What a ridge regression makes of programs, up to a number that is the same for all.

    Scores of two rounds do not compare: features and scores are taken from their means
    over their round (fixed effects), so that only differences within rounds are fitted.
    """
    import numpy as np

    names = sorted({name for _, features, _ in history for name in features})
    if not names or not wanted:
        return [0.0] * len(wanted)

    def table(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
        return np.array([[row.get(name, 0.0) for name in names] for row in rows])

    x, y = table([row for _, row, _ in history]), np.array([s for *_, s in history])
    by_round: dict[int, list[int]] = defaultdict(list)
    for place, (number, *_) in enumerate(history):
        by_round[number].append(place)
    for places in by_round.values():
        x[places] -= x[places].mean(axis=0)
        y[places] -= y[places].mean()
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(len(names)), x.T @ y)
    # Rounded, so that how sums are ordered on a machine decides nothing.
    return [round(float(value), 9) for value in table(wanted) @ weights]


class Surrogate:
    """Of many mutants of the best, 1 to `mutations` away, those of which a regression on
    all rounds foretells most; one in four drawn freely, so that it learns of others too.

    The first round is of mutants of the start, up to `DEEP` mutations away.
    """

    def __init__(
        self, start: Genome, mutate: Mutate, *, kept: int, mutations: int = 2
    ) -> None:
        self.start = Member(START, start)
        self.first = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        self.kept = kept
        self.best: Population = (self.start,)
        self.told: list[tuple[int, int, float]] = []  # round, candidate, score
        self.features: dict[int, Mapping[str, float]] = {}
        self.round = 0

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """The best again, and children; nothing once no child is new."""
        again = room(self.best, count)
        wanted = count - len(again)
        if not self.round:
            made = self.first.children(wanted, lambda _: self.start, rng, known)
            return answer(again, made, wanted, begun=False)
        parents = self.best
        pool = self.variation.children(
            wanted * _POOL, lambda place: parents[place % len(parents)], rng, known
        )
        free = pool[: wanted // _FREE]
        rest = pool[len(free) :]
        values = foretold(self._history(), [program_features(c.genome) for c in rest])
        order = sorted(range(len(rest)), key=lambda place: (values[place], place))
        children = [*(rest[place] for place in order[: wanted - len(free)]), *free]
        return answer(again, children, wanted, begun=True)

    def _history(self) -> History:
        return [(number, self.features[c], score) for number, c, score in self.told]

    def tell(self, round: Sequence[Scored]) -> None:
        """Remembers how the round did."""
        for each in round:
            if each.score is not None:
                self.told.append((self.round, each.candidate, each.score))
                self.features[each.candidate] = program_features(each.genome)
        self.told = self.told[-_MEMORY:]
        self.best = best(round, self.kept) or self.best
        self.round += 1

    def state(self) -> object:
        """The best, and the scores that the regression is made of."""
        numbers = [member.candidate for member in self.best]
        return {"best": numbers, "told": self.told, "round": self.round}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Takes in what `state` gave. Raises `KeyError` or `TypeError` for another's."""
        known = cast(dict[str, Any], state)
        self.told = [(number, c, score) for number, c, score in known["told"]]
        self.features = {
            c: program_features(genome(c))
            for c in dict.fromkeys(c for _, c, _ in self.told)
        }
        self.best = tuple(Member(n, genome(n)) for n in known["best"])
        self.round = known["round"]

    def display(self) -> dict[str, str]:
        """The best of the last round, and how much the regression knows."""
        return {"best": names(self.best), "scores known": str(len(self.told))}


def surrogate(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Surrogate:
    """Search with a surrogate as the options of a run have it."""
    return Surrogate(
        start,
        evenly(space, options),
        kept=options.parents,
        mutations=options.mutations or 2,
    )
