"""A corpus as blocks of tokens, whole documents held out.

Codes: D020 there are too few documents to split; D021 a text is cut into sequences that
are too short; D022 a split has no tokens; D023 the training split has nothing fixed to
measure on.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from azc.data.contract import Batch, Split
from azc.data.corpus import Corpus
from azc.diagnostics import RunError, UsageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = ["TextData", "split_documents"]

_HELD_OUT = 0.05  # of the documents, for validation and again for the test


def split_documents(
    documents: Sequence[str], seed: int
) -> Mapping[Split, tuple[str, ...]]:
    """Whole documents in three parts, 90/5/5 by seed; equal documents stay together.

    Raises RunError D020 for fewer than three different documents.
    """
    distinct = list(dict.fromkeys(documents))
    if len(distinct) < 3:
        raise RunError(
            "D020",
            f"{len(distinct)} different document(s) cannot be split into train, "
            "validation and test",
            "give a text with at least three documents, divided by blank lines",
        )
    random.Random(seed).shuffle(distinct)
    held_out = max(1, round(len(distinct) * _HELD_OUT))
    return {
        "validation": tuple(distinct[:held_out]),
        "test": tuple(distinct[held_out : 2 * held_out]),
        "train": tuple(distinct[2 * held_out :]),
    }


class TextData(ABC):
    """Blocks `[count, length]` of each split of a corpus, and batches of them."""

    blocks: dict[Split, torch.Tensor]

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerFast,
        *,
        length: int,
        seed: int = 0,
    ) -> None:
        """Raises UsageError D021 for `length` below 8, RunError D020 and D022."""
        if length < 8:
            raise UsageError(
                "D021",
                f"sequences of {length} tokens are too short",
                "take at least 8",
            )
        self.tokenizer = tokenizer
        self.length = length
        self.seed = seed
        self.vocab_size = len(tokenizer)
        self.documents = split_documents(corpus.documents, seed)

    @property
    def fingerprint(self) -> str:
        """The sha256 of all tokens, in the order and the splits that they are used in."""
        digest = hashlib.sha256()
        for split, blocks in self.blocks.items():
            digest.update(f"{split} {tuple(blocks.shape)}".encode())
            digest.update(blocks.numpy().tobytes())
        return digest.hexdigest()

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Endless training batches `[batch_size, length]`.

        Every block comes once an epoch in an order drawn from `seed`; an epoch's
        incomplete last batch is filled from the next.
        """
        import torch

        generator = self._generator("train", seed)
        order = torch.empty(0, dtype=torch.int64)
        while True:
            while len(order) < batch_size:
                count = len(self.blocks["train"])
                more = torch.randperm(count, generator=generator)
                order = torch.cat([order, more])
            yield self._training(order[:batch_size], generator)
            order = order[batch_size:]

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """The first `blocks` blocks of validation or test, the same each time.

        Raises UsageError D023 for the training split.
        """
        if split == "train":
            raise UsageError(
                "D023",
                f"the {split} split has nothing fixed",
                "measure on validation or test",
            )
        whole = self._fixed(split)
        end = len(whole.input_ids) if blocks is None else blocks
        end = min(end, len(whole.input_ids))
        for start in range(0, end, batch_size):
            yield whole.rows(start, min(start + batch_size, end))

    @abstractmethod
    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        """A batch of the training blocks at these places."""

    @abstractmethod
    def _fixed(self, split: Split) -> Batch:
        """All blocks of validation or test."""

    def _encoded(self, split: Split) -> list[tuple[str, list[int]]]:
        """The documents of a split that have tokens, with these."""
        tokenizer: Any = self.tokenizer
        texts = self.documents[split]
        encoded = tokenizer.backend_tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        pairs = zip(texts, encoded, strict=True)
        found = [(text, document.ids) for text, document in pairs if document.ids]
        if not found:
            raise RunError(
                "D022", f"the {split} split has no tokens", "give more documents"
            )
        return found

    def _generator(self, purpose: str, seed: int = 0) -> torch.Generator:
        import torch

        text = f"{purpose} {self.seed} {seed}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.Generator().manual_seed(number)
