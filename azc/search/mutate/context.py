"""What every mutation is made with, and what one step of it hands on."""

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
    """The space, the priorities of what is put in, those of kinds of mutation where a
    search has some, and the only source of chance.
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
        """The widths that a convolution may be given."""
        kernels = self.space.kernels
        return tuple(each for each in kernels if self._is_drawn(conv_feature(each)))

    def _is_drawn(self, feature: str) -> bool:
        return self.space.draws.get(feature, 1.0) > 0

    def draw(self, features: Iterable[str]) -> str:
        """One of the features (at least one, all of them to be drawn), by priority and by
        what a person favours.
        """
        return self.priorities.draw(list(features), self.rng, self.space.draws)

    def chance(self, share: float) -> bool:
        """True in so large a share of all cases."""
        return self.rng.random() < share

    def pick(self, options: Sequence[_T]) -> _T:
        """One of the options (at least one), all alike."""
        return self.rng.choice(options)

    def shuffled(self, options: Iterable[_T]) -> list[_T]:
        """The options in random order."""
        found = list(options)
        self.rng.shuffle(found)
        return found

    def ordered(self, weights: Mapping[str, float]) -> list[str]:
        """The kinds of mutation in random order, a heavy one more likely to come first,
        and one of a high priority.
        """
        if self.kinds is not None:
            shares = self.kinds.weights(list(weights))
            pairs = zip(weights.items(), shares, strict=True)
            weights = {kind: weight * share for (kind, weight), share in pairs}
        keys = {each: self.rng.random() ** (1 / w) for each, w in weights.items()}
        return sorted(keys, key=keys.__getitem__, reverse=True)


@dataclass(frozen=True)
class Step:
    """One mutation done: what came of it, its kind, and what it did in words."""

    draft: Draft
    kind: str
    words: str
