"""A text as sequences of tokens, whole documents held out.

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

_HELD_OUT = 0.05  # of the documents, for validation and again for the test
_LEAST = 3  # documents: one for each split
_AT_ONCE = 2**18  # tokens of the sequences that are made at once


def check_documents(documents: Iterable[object]) -> None:
    """Raise RunError D020 for documents of which fewer than three are different."""
    distinct: set[object] = set()
    for document in documents:
        distinct.add(document)
        if len(distinct) == _LEAST:
            return
    found = count(len(distinct), "different document")
    raise RunError(
        "D020",
        f"{found} can't be split into train, validation and test",
        "give a text with at least three documents; blank lines divide a text file into"
        " documents, and --documents line its lines",
    )


def split_documents(number: int, seed: int) -> Mapping[Split, NDArray[np.int64]]:
    """Draw from a seed which of so many documents are in which split: 5 % are for
    validation, 5 % for the test, and the rest is for training.

    Returns:
        Numbers of documents, [documents of the split].
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
    """Sequences `[count, length]` of each split of a text, and batches of them.

    Sequences are made of the text's tokens when they are asked for: none is held.
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
        """Raises UsageError D021 for `length` below 8, RunError D020 for fewer than three
        different documents and D022 for a split without tokens.
        """
        if length < 8:
            raise UsageError(
                "D021",
                f"sequences of {length} tokens are too short",
                "take at least 8",
            )
        check_documents(text.distinct[:_LEAST])
        self.text = text
        self.tokenizer = tokenizer
        self.length = length
        self.seed = seed
        self.vocab_size = len(tokenizer)
        # Documents with tokens, by their places in the text.
        self.documents: dict[Split, NDArray[np.int64]] = {}
        for split, numbers in split_documents(len(text.distinct), seed).items():
            places = text.distinct[numbers]
            places = places[text.lengths[places] > 0]
            if not len(places):
                raise RunError(
                    "D022", f"the {split} split has no tokens", "give more documents"
                )
            self.documents[split] = places

    @property
    @abstractmethod
    def bytes_per_token(self) -> float | None:
        """See `Data`."""

    @abstractmethod
    def count(self, split: Split) -> int:
        """Return how many sequences a split has."""

    @abstractmethod
    def ids(self, split: Split, places: torch.Tensor) -> torch.Tensor:
        """Make the sequences of a split at these places, [places, length], int64."""

    @abstractmethod
    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        """A batch of the training sequences at these places."""

    @abstractmethod
    def _fixed(self, split: Split, start: int, end: int) -> Batch:
        """The sequences of validation or test from `start` to `end`."""

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all tokens, in the order and the splits that they are used in."""
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
        """What else a fingerprint is of, than the tokens."""
        return ""

    def sequences(self, split: Split, start: int, end: int) -> Iterator[torch.Tensor]:
        """Yield the sequences of a split from `start` to `end`, some at once, as `ids`."""
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
        """Yield endless training batches `[batch_size, length]`.

        Every sequence comes once an epoch in an order drawn from `seed`; an epoch's
        incomplete last batch is filled from the next. Batches that ask for nothing are
        left out.

        Raises:
            RunError: D024 where no batch asks for anything.
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
        """Yield the first `blocks` sequences of validation or test, the same each time.

        Raises:
            UsageError: D023 for the training split.
        """
        if split == "train":
            raise UsageError(
                "D023",
                f"the {split} split has nothing fixed",
                "measure on validation or test",
            )
        rows = self.count(split)
        end = rows if blocks is None else min(blocks, rows)
        for start in range(0, end, batch_size):
            yield self._fixed(split, start, min(start + batch_size, end))

    def check(self, blocks: int | None = None) -> None:
        """Raise RunError D024 where a split asks for nothing; of validation the first
        `blocks` sequences.
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
        help_ = "give a longer text"
        if blocks is not None and blocks < found.sequences:
            part = f"the first {count(blocks, 'sequence')} of {part}"
            help_ = "measure on more sequences"
        size = f"{count(found.documents, 'document')}, {count(found.tokens, 'token')}"
        return RunError(
            "D024",
            f"there is no token to predict in {part} ({size} in all)",
            f"{help_}: tokens are masked at random, and special ones never",
        )

    def in_memory(self) -> TextData:
        """The same without files of this machine: it can be sent to another one."""
        found = copy.copy(self)
        found.text = self.text.in_memory()
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: not what it can compute from the tokens, which
        take less than that.
        """
        return {k: v for k, v in vars(self).items() if k not in self._computed}

    def _generator(self, purpose: str, seed: int = 0) -> torch.Generator:
        import torch

        text = f"{purpose} {self.seed} {seed}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.Generator().manual_seed(number)
