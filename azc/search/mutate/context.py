"""Context and result of a mutation."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from azc.check.program import SpaceSpec
from azc.mixing.convolution import conv_feature
from azc.search.mutate.draft import Draft
from azc.search.priorities import Priorities

__all__ = ["Context", "Step"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Context:
    """Context of a mutation.

    Attributes:
        space: The search space.
        rng: The only source of randomness.
        priorities: Priorities of features.
        kinds: Priorities of mutation kinds, if the search has any.
    """

    space: SpaceSpec
    rng: random.Random
    priorities: Priorities
    kinds: Priorities | None = None

    @cached_property
    def ops(self) -> frozenset[str]:
        """The operations that may be put into a program."""
        return frozenset(op for op in self.space.ops or () if self._is_drawn(op))

    @cached_property
    def kernels(self) -> tuple[int, ...]:
        """The widths that a convolution may have."""
        kernels = self.space.kernels
        return tuple(each for each in kernels if self._is_drawn(conv_feature(each)))

    def _is_drawn(self, feature: str) -> bool:
        return self.space.draws.get(feature, 1.0) > 0

    def draw(self, features: Iterable[str]) -> str:
        """Draw one of the features by priority and by the factors that people have set.

        There must be at least one, and none may be banned.
        """
        return self.priorities.draw(list(features), self.rng, self.space.draws)

    def chance(self, share: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < share

    def pick(self, options: Sequence[_T]) -> _T:
        """Draw one of the options (at least one) uniformly."""
        return self.rng.choice(options)

    def shuffled(self, options: Iterable[_T]) -> list[_T]:
        """Return the options in random order."""
        found = list(options)
        self.rng.shuffle(found)
        return found

    def ordered(self, weights: Mapping[str, float]) -> list[str]:
        """Return the kinds of mutation in random order.

        A kind with a high weight or priority is more likely to come first.
        """
        if self.kinds is not None:
            shares = self.kinds.weights(list(weights))
            pairs = zip(weights.items(), shares, strict=True)
            weights = {kind: weight * share for (kind, weight), share in pairs}
        keys = {each: self.rng.random() ** (1 / w) for each, w in weights.items()}
        return sorted(keys, key=keys.__getitem__, reverse=True)


@dataclass(frozen=True)
class Step:
    """The result of one mutation: the new draft, the kind of mutation, and a
    description.
    """

    draft: Draft
    kind: str
    words: str
