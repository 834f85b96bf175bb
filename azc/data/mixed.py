"""A mix of several kinds of data that share a vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from azc.data.contract import Batch, Data, Split

__all__ = ["MixedData"]


class MixedData:
    """Data of several parts that take turns: with n parts, each has every n-th training
    batch.

    Parts have equal weight, regardless of how many positions their sequences predict.
    """

    bytes_per_token = None

    def __init__(self, parts: Sequence[Data]) -> None:
        self.parts = tuple(parts)
        self.vocab_size = max(part.vocab_size for part in parts)
        summaries = (part.summary for part in parts)
        self.summary = next((each for each in summaries if each is not None), None)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the fingerprints of its parts, in their order."""
        prints = " ".join(part.fingerprint for part in self.parts)
        return hashlib.sha256(prints.encode()).hexdigest()

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Yield batches of the parts in turn, without end."""
        streams = [part.batches(batch_size, seed=seed) for part in self.parts]
        while True:
            for stream in streams:
                yield next(stream)

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """Yield the first `blocks` sequences of each part, one part after the other."""
        for part in self.parts:
            yield from part.held_out(split, batch_size, blocks=blocks)

    def check(self, blocks: int | None = None) -> None:
        """Raise RunError D024 if a split of a part has nothing to predict."""
        for part in self.parts:
            part.check(blocks)

    def in_memory(self) -> MixedData:
        """Return the same data without files of this machine."""
        return MixedData([part.in_memory() for part in self.parts])
