"""Operation priorities: what to draw next, by what has done well and what is untried.

The priority of a feature i (an operation, or a width of convolution) is the upper
confidence bound of Gao et al. 2022,

    u_i = mu_i + alpha * sqrt(2 ln N / N_i)

with mu_i the mean score of the candidates that have i, N_i how many have it, and N how
many there are. Where some may be drawn, the probability of each is the softmax of u.

Scores of two rounds come from two snapshots of the shared weights and don't compare, so
what counts is a candidate's rank in its round: 1 for the best, 0 for the worst and for
what failed.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["Priorities", "PriorityRow"]

_ALIKE: Mapping[str, float] = MappingProxyType({})
_UNKNOWN = 0.5  # the mean rank, before anything was told


@dataclass(frozen=True)
class PriorityRow:
    """One feature: `seen` in so many candidates, their mean rank, and its priority."""

    feature: str
    seen: int
    mean: float
    priority: float


@dataclass(frozen=True)
class Priorities:
    """What a search knows of each feature. Immutable.

    `seen` and `total`: for each feature, how many candidates have it and the sum of
    their ranks. `candidates` and `ranks`: the same for all candidates.
    """

    alpha: float
    seen: Mapping[str, int]
    total: Mapping[str, float]
    candidates: int
    ranks: float
    temperature: float = 1.0

    @classmethod
    def start(
        cls, features: Iterable[str], alpha: float, temperature: float = 1.0
    ) -> Priorities:
        """The features of a space, none of them tried."""
        names = sorted(set(features))
        seen = MappingProxyType(dict.fromkeys(names, 0))
        total = MappingProxyType(dict.fromkeys(names, 0.0))
        return cls(alpha, seen, total, 0, 0.0, temperature)

    def tell(self, results: Iterable[tuple[frozenset[str], float]]) -> Priorities:
        """With the candidates of one round: the features of each and its score.

        Higher scores are better; a NaN or an infinity means that the candidate failed.
        """
        round_ = list(results)
        scores = [score for _, score in round_]
        seen, total = dict(self.seen), dict(self.total)
        ranks = _ranks(scores)
        for (features, _), rank in zip(round_, ranks, strict=True):
            for feature in sorted(features):
                seen[feature] = seen.get(feature, 0) + 1
                total[feature] = total.get(feature, 0.0) + rank
        return Priorities(
            self.alpha,
            MappingProxyType(seen),
            MappingProxyType(total),
            self.candidates + len(round_),
            self.ranks + sum(ranks),
            self.temperature,
        )

    def mean(self, feature: str) -> float:
        """The mean rank of the candidates that have it; of all, if none has."""
        seen = self.seen.get(feature, 0)
        if seen:
            return self.total[feature] / seen
        return self.ranks / self.candidates if self.candidates else _UNKNOWN

    def priority(self, feature: str) -> float:
        """The upper confidence bound u; what was never seen counts as seen once."""
        seen = max(self.seen.get(feature, 0), 1)
        spread = math.sqrt(2.0 * math.log(max(self.candidates, 1)) / seen)
        return self.mean(feature) + self.alpha * spread

    def weights(self, options: Sequence[str]) -> list[float]:
        """The probability of each option where these alone may be drawn."""
        bounds = [self.priority(option) for option in options]
        highest = max(bounds, default=0.0)
        shares = [math.exp((u - highest) / self.temperature) for u in bounds]
        return [share / sum(shares) for share in shares]

    def draw(
        self,
        options: Sequence[str],
        rng: random.Random,
        times: Mapping[str, float] = _ALIKE,
    ) -> str:
        """One of the options (at least one), by priority; `times` as often as by that,
        for those that a person favours.
        """
        weights = self.weights(options)
        weights = [w * times.get(o, 1.0) for o, w in zip(options, weights, strict=True)]
        return rng.choices(options, weights)[0]

    def table(self) -> list[PriorityRow]:
        """All features, the highest priority first."""
        rows = [
            PriorityRow(name, count, self.mean(name), self.priority(name))
            for name, count in self.seen.items()
        ]
        return sorted(rows, key=lambda row: (-row.priority, row.feature))

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all that is known."""
        return {
            "alpha": self.alpha,
            "temperature": self.temperature,
            "candidates": self.candidates,
            "ranks": self.ranks,
            "features": {
                name: [count, self.total[name]] for name, count in self.seen.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Priorities:
        """The priorities that `as_json` wrote. Raises KeyError for anything else."""
        features = value["features"]
        return cls(
            value["alpha"],
            MappingProxyType({name: row[0] for name, row in features.items()}),
            MappingProxyType({name: row[1] for name, row in features.items()}),
            value["candidates"],
            value["ranks"],
            value.get("temperature", 1.0),  # a run from before there was one
        )


def _ranks(scores: Sequence[float]) -> list[float]:
    """From 0 (the worst) to 1 (the best); equals share, one alone is in the middle."""
    order = sorted(score for score in scores if math.isfinite(score))
    last = len(order) - 1
    found: list[float] = []
    for score in scores:
        if not math.isfinite(score):
            found.append(0.0)
        elif last == 0:
            found.append(_UNKNOWN)
        else:
            worse, not_better = bisect_left(order, score), bisect_right(order, score)
            found.append((worse + not_better - 1) / 2 / last)
    return found
