"""Search with a surrogate: a regression predicts which of many mutants are worth
evaluating.
"""

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

_POOL = 8  # mutants per requested child
_FREE = 4  # one in this many children is selected regardless of its prediction
_MEMORY = 400  # latest evaluations that the regression is fitted to
_RIDGE = 1.0

History = list[tuple[int, Mapping[str, float], float]]  # round, features, score


def program_features(genome: Genome) -> dict[str, float]:
    """Describe a model by numeric features.

    They are the mixer of each layer, the frequency of each operation in the programs,
    the arguments of layers, and the number of layers.
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
    """Predict scores of programs by ridge regression, up to a common constant.

    Scores of different rounds are not comparable, so features and scores are centered
    by round (fixed effects), and only differences within rounds are fitted.

    Args:
        history: Round, features and score of past evaluations.
        wanted: Features of the programs to predict.

    Returns:
        A prediction for each program.
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
    # Round, so that the order of summation on a machine does not matter.
    return [round(float(value), 9) for value in table(wanted) @ weights]


class Surrogate:
    """Search with a surrogate model.

    Of many mutants of the best candidates, 1 to `mutations` mutations away, it selects
    those with the best predictions of a regression on all rounds. One child in four is
    selected at random, so that the regression also learns about others. The first round
    consists of mutants of the start model, up to `DEEP` mutations away.
    """

    def __init__(
        self, start: Genome, mutate: Mutate, *, kept: int, mutations: int = 2
    ) -> None:
        self.start = Member(START, start)
        self.first = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        self.kept = kept
        self.best: Population = (self.start,)
        self.scored: list[tuple[int, int, float]] = []  # round, candidate, score
        self.features: dict[int, Mapping[str, float]] = {}
        self.round = 0

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """Return the best candidates and children; nothing once no child is new."""
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
        return [(number, self.features[c], score) for number, c, score in self.scored]

    def tell(self, round: Sequence[Scored]) -> None:
        """Store the scores of the round."""
        for each in round:
            if each.score is not None:
                self.scored.append((self.round, each.candidate, each.score))
                self.features[each.candidate] = program_features(each.genome)
        self.scored = self.scored[-_MEMORY:]
        self.best = best(round, self.kept) or self.best
        self.round += 1

    def state(self) -> object:
        """Return the best candidates, and the scores that the regression is fitted
        to.
        """
        numbers = [member.candidate for member in self.best]
        return {"best": numbers, "told": self.scored, "round": self.round}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        self.scored = [(number, c, score) for number, c, score in known["told"]]
        self.features = {
            c: program_features(genome(c))
            for c in dict.fromkeys(c for _, c, _ in self.scored)
        }
        self.best = tuple(Member(n, genome(n)) for n in known["best"])
        self.round = known["round"]

    def display(self) -> dict[str, str]:
        """Return the best of the last round, and the number of scores in the
        regression.
        """
        return {"best": names(self.best), "scores known": str(len(self.scored))}


def surrogate(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Surrogate:
    """Create a search with a surrogate from the options of a run."""
    return Surrogate(
        start,
        evenly(space, options),
        kept=options.parents,
        mutations=options.mutations or 2,
    )
