"""Operation priorities: which operation to draw next, from its success and novelty.

The priority of a feature i (an operation, or a width of convolution) is the upper
confidence bound of Gao et al. 2022,

    u_i = mu_i + alpha * sqrt(2 ln N / N_i)

where mu_i is the mean score of the candidates that have i, N_i is their number, and N
is the number of all candidates. To draw one of several features, the probability of
each is the softmax of u.

Scores of two rounds come from two snapshots of the shared weights and are not
comparable. So the score of a candidate is its rank in its round: 1 for the best, 0 for
the worst and for failures.
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
_UNKNOWN = 0.5  # the mean rank before the first round


@dataclass(frozen=True)
class PriorityRow:
    """Statistics of a feature.

    Attributes:
        feature: The feature.
        seen: Number of candidates that have it.
        mean: Their mean rank.
        priority: Its priority.
    """

    feature: str
    seen: int
    mean: float
    priority: float


@dataclass(frozen=True)
class Priorities:
    """Statistics of all features. Immutable.

    Attributes:
        alpha: Weight of novelty.
        seen: Number of candidates that have each feature.
        total: Sum of their ranks.
        candidates: Number of all candidates.
        ranks: Sum of the ranks of all candidates.
        temperature: Temperature of the softmax.
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
        """Create priorities for features, none of which was tried."""
        names = sorted(set(features))
        seen = MappingProxyType(dict.fromkeys(names, 0))
        total = MappingProxyType(dict.fromkeys(names, 0.0))
        return cls(alpha, seen, total, 0, 0.0, temperature)

    def tell(self, results: Iterable[tuple[frozenset[str], float]]) -> Priorities:
        """Return the priorities updated with the features and scores of one round.

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
        """Return the mean rank of the candidates with a feature, or of all if none has
        it.
        """
        seen = self.seen.get(feature, 0)
        if seen:
            return self.total[feature] / seen
        return self.ranks / self.candidates if self.candidates else _UNKNOWN

    def priority(self, feature: str) -> float:
        """Return the upper confidence bound u; unseen features count as seen once."""
        seen = max(self.seen.get(feature, 0), 1)
        spread = math.sqrt(2.0 * math.log(max(self.candidates, 1)) / seen)
        return self.mean(feature) + self.alpha * spread

    def weights(self, options: Sequence[str]) -> list[float]:
        """Return the probability of each option if exactly these can be drawn."""
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
        """Draw one of the options (at least one) by priority, weighted by the factors
        in `times`.
        """
        weights = self.weights(options)
        weights = [w * times.get(o, 1.0) for o, w in zip(options, weights, strict=True)]
        return rng.choices(options, weights)[0]

    def table(self) -> list[PriorityRow]:
        """Return the statistics of all features, the highest priority first."""
        rows = [
            PriorityRow(name, count, self.mean(name), self.priority(name))
            for name, count in self.seen.items()
        ]
        return sorted(rows, key=lambda row: (-row.priority, row.feature))

    def as_json(self) -> dict[str, Any]:
        """Return the priorities as a JSON object."""
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
        """Create priorities from the object that `as_json` returned.

        Raise KeyError for anything else.
        """
        features = value["features"]
        return cls(
            value["alpha"],
            MappingProxyType({name: row[0] for name, row in features.items()}),
            MappingProxyType({name: row[1] for name, row in features.items()}),
            value["candidates"],
            value["ranks"],
            value.get("temperature", 1.0),  # missing in older runs
        )


def _ranks(scores: Sequence[float]) -> list[float]:
    """Rank scores from 0 (worst) to 1 (best); ties share a rank, a single score has
    rank ½.
    """
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
