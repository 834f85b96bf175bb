"""Text as sequences of tokens, split by whole documents.

Codes: D020 there are too few documents to split; D021 the sequences are too short; D022
a split has no tokens; D023 the training split cannot be evaluated, because it is not
fixed; D024 a part of the data has no tokens to predict.
"""

from __future__ import annotations

import copy
import hashlib
import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from azc.data.contract import Batch, Split
from azc.data.summary import SplitSummary, TextSummary
from azc.data.tokens import EncodedText
from azc.diagnostics import RunError, UsageError
from azc.numbers import count

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

__all__ = ["TextData", "check_documents", "split_documents"]

_HELD_OUT = 0.05  # fraction of documents for validation, and as many for the test
_LEAST = 3  # documents: one for each split
_AT_ONCE = 2**18  # tokens of the sequences that are built at once


def check_documents(documents: Iterable[object]) -> None:
    """Raise RunError D020 if fewer than three documents are distinct."""
    distinct: set[object] = set()
    for document in documents:
        distinct.add(document)
        if len(distinct) == _LEAST:
            return
    found = count(len(distinct), "different document")
    raise RunError(
        "D020",
        f"{found} can't be split into train, validation and test",
        "use a text with at least three documents; blank lines separate the documents of"
        " a text file, or every line is one with --documents line",
    )


def split_documents(number: int, seed: int) -> Mapping[Split, NDArray[np.int64]]:
    """Assign documents to splits at random: 5 % validation, 5 % test, the rest
    training.

    Args:
        number: Number of documents.
        seed: Random seed.

    Returns:
        The numbers of the documents in each split, [documents of the split].
    """
    import numpy as np

    order = array("q", range(number))
    random.Random(seed).shuffle(order)
    held_out = max(1, round(number * _HELD_OUT))
    shuffled = np.frombuffer(order, np.int64)
    return {
        "validation": shuffled[:held_out],
        "test": shuffled[held_out : 2 * held_out],
        "train": shuffled[2 * held_out :],
    }


class TextData(ABC):
    """Sequences and batches of each split of a text.

    Sequences are built from the tokens of the text when they are needed; none is
    stored.
    """

    summary: TextSummary | None = None
    _computed: frozenset[str] = frozenset()

    def __init__(
        self,
        text: EncodedText,
        tokenizer: PreTrainedTokenizerFast,
        *,
        length: int,
        seed: int = 0,
    ) -> None:
        """Split a text.

        Raises:
            UsageError: D021 for a `length` below 8.
            RunError: D020 for fewer than three distinct documents, D022 for a split
                without tokens.
        """
        if length < 8:
            raise UsageError(
                "D021",
                f"sequences of {length} tokens are too short",
                "use at least 8",
            )
        check_documents(text.distinct[:_LEAST])
        self.text = text
        self.tokenizer = tokenizer
        self.length = length
        self.seed = seed
        self.vocab_size = len(tokenizer)
        # Documents that have tokens, by their places in the text.
        self.documents: dict[Split, NDArray[np.int64]] = {}
        for split, numbers in split_documents(len(text.distinct), seed).items():
            places = text.distinct[numbers]
            places = places[text.lengths[places] > 0]
            if not len(places):
                raise RunError(
                    "D022", f"the {split} split has no tokens", "use more documents"
                )
            self.documents[split] = places

    @property
    @abstractmethod
    def bytes_per_token(self) -> float | None:
        """Bytes of the raw test text per predicted token, see `Data`."""

    @abstractmethod
    def count(self, split: Split) -> int:
        """Return the number of sequences in a split."""

    @abstractmethod
    def ids(self, split: Split, places: torch.Tensor) -> torch.Tensor:
        """Build sequences of a split.

        Args:
            split: The split.
            places: Places of the sequences in the split, [B], int64.

        Returns:
            The token ids, [B, N], int64, where N is `length`.
        """

    @abstractmethod
    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        """Build a batch of the training sequences at `places`, [B]."""

    @abstractmethod
    def _fixed(self, split: Split, start: int, end: int) -> Batch:
        """Build a batch of the validation or test sequences from `start` to `end`."""

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all tokens, in the order of the splits and their sequences."""
        digest = hashlib.sha256()
        for split in self.documents:
            rows = self.count(split)
            digest.update(f"{split} {(rows, self.length)}".encode())
            for ids in self.sequences(split, 0, rows):
                digest.update(ids.numpy().data)
        digest.update(self._also.encode())
        return digest.hexdigest()

    @property
    def _also(self) -> str:
        """Additional text for the fingerprint."""
        return ""

    def sequences(self, split: Split, start: int, end: int) -> Iterator[torch.Tensor]:
        """Yield the sequences of a split from `start` to `end`, several at once.

        Args:
            split: The split.
            start: The first sequence.
            end: The end of the sequences.

        Yields:
            Token ids as from `ids`, [B, N], int64.
        """
        import torch

        for places in torch.arange(start, end).split(max(1, _AT_ONCE // self.length)):
            yield self.ids(split, places)

    @property
    def splits(self) -> Mapping[Split, SplitSummary]:
        """Documents, tokens and sequences of each split."""
        lengths = self.text.lengths
        return {
            split: SplitSummary(
                len(places), int(lengths[places].sum()), self.count(split)
            )
            for split, places in self.documents.items()
        }

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Yield training batches, [batch_size, length], without end.

        Each epoch visits every sequence once, in an order drawn from `seed`. The
        incomplete last batch of an epoch is filled from the next one. Batches with
        nothing to predict are skipped.

        Raises:
            RunError: D024, if no batch has anything to predict.
        """
        import torch

        generator = self._generator("train", seed)
        order = torch.empty(0, dtype=torch.int64)
        rows, in_vain = self.count("train"), 0
        while in_vain <= rows:
            while len(order) < batch_size:
                more = torch.randperm(rows, generator=generator)
                order = torch.cat([order, more])
            batch = self._training(order[:batch_size], generator)
            order = order[batch_size:]
            in_vain = 0 if batch.asked else in_vain + batch_size
            if batch.asked:
                yield batch
        raise self._asks_for_nothing("train")

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """Yield the first `blocks` sequences of validation or test, the same every
        time.

        Raises:
            UsageError: D023 for the training split.
        """
        if split == "train":
            raise UsageError(
                "D023",
                f"the {split} split has no fixed sequences",
                "measure on validation or test",
            )
        rows = self.count(split)
        end = rows if blocks is None else min(blocks, rows)
        for start in range(0, end, batch_size):
            yield self._fixed(split, start, min(start + batch_size, end))

    def check(self, blocks: int | None = None) -> None:
        """Raise RunError D024 if a split has nothing to predict.

        For validation, only the first `blocks` sequences count.
        """
        next(self.batches(1, seed=self.seed))
        ends: dict[Split, int | None] = {"validation": blocks, "test": None}
        for split, end in ends.items():
            batches = self.held_out(split, 64, blocks=end)
            if not any(batch.asked for batch in batches):
                raise self._asks_for_nothing(split, end)

    def _asks_for_nothing(self, split: Split, blocks: int | None = None) -> RunError:
        found = self.splits[split]
        part = f"the {split} part of the text"
        help_ = "use a longer text"
        if blocks is not None and blocks < found.sequences:
            part = f"the first {count(blocks, 'sequence')} of {part}"
            help_ = "use more sequences"
        size = f"{count(found.documents, 'document')}, {count(found.tokens, 'token')}"
        return RunError(
            "D024",
            f"there is no token to predict in {part} ({size} in total)",
            f"{help_}: tokens are masked at random, and special tokens never",
        )

    def in_memory(self) -> TextData:
        """Return the same data without files of this machine, to send it to another
        one.
        """
        found = copy.copy(self)
        found.text = self.text.in_memory()
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to send to another process.

        Values that can be computed from the tokens are left out, since they are larger
        than those.
        """
        return {k: v for k, v in vars(self).items() if k not in self._computed}

    def _generator(self, purpose: str, seed: int = 0) -> torch.Generator:
        import torch

        text = f"{purpose} {self.seed} {seed}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.Generator().manual_seed(number)
