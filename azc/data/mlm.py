"""Masked language modelling: whole documents held out, and masks that a seed fixes.

Codes: D020 there are too few documents to split; D021 a text is cut into sequences that
are too short; D022 a split has no tokens; D023 the training split has nothing fixed to
measure on.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from azc.data.contract import Batch, Split
from azc.data.corpus import Corpus
from azc.diagnostics import RunError, UsageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = ["MaskedLMData", "split_documents"]

_HELD_OUT = 0.05  # of the documents, for validation and again for the test
_MEASURED = 0.15  # of the tokens of validation and test are masked, as for BERT
_REDRAWS = 100


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


class MaskedLMData:
    """A corpus as blocks of `length` tokens, masked for training and for measuring.

    Each block is `[CLS] … [SEP]`; documents follow one another, a `[SEP]` between.
    `mask_rate` of the tokens of training are masked; of validation and test always 15 %,
    with masks that depend on the seed alone.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerFast,
        *,
        length: int,
        seed: int = 0,
        mask_rate: float = 0.15,
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
        self.mask_rate = mask_rate
        self.vocab_size = len(tokenizer)
        self.blocks: dict[Split, torch.Tensor] = {
            split: self._pack(split, texts)
            for split, texts in split_documents(corpus.documents, seed).items()
        }
        self._fixed = {
            split: self._mask(self.blocks[split], self._generator(split), _MEASURED)
            for split in ("validation", "test")
        }

    @property
    def fingerprint(self) -> str:
        """The sha256 of all tokens, in the order and the splits that they are used in."""
        digest = hashlib.sha256()
        for split, blocks in self.blocks.items():
            digest.update(f"{split} {tuple(blocks.shape)}".encode())
            digest.update(blocks.numpy().tobytes())
        return digest.hexdigest()

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Endless training batches `[batch_size, length]`, masked anew each time.

        Every block comes once an epoch in an order drawn from `seed`; an epoch's
        incomplete last batch is filled from the next.
        """
        import torch

        generator = self._generator("train", seed)
        blocks = self.blocks["train"]
        order = torch.empty(0, dtype=torch.int64)
        while True:
            while len(order) < batch_size:
                more = torch.randperm(len(blocks), generator=generator)
                order = torch.cat([order, more])
            batch = self._mask(blocks[order[:batch_size]], generator, self.mask_rate)
            # By chance a tiny batch may ask for nothing: the mean over it is NaN.
            for _ in range(_REDRAWS):
                if batch.masked:
                    break
                batch = self._mask(
                    blocks[order[:batch_size]], generator, self.mask_rate
                )
            yield batch
            order = order[batch_size:]

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """The first `blocks` masked blocks of validation or test, the same each time.

        Raises UsageError D023 for the training split, which has no fixed masks.
        """
        if split not in self._fixed:
            raise UsageError(
                "D023",
                f"the {split} split has no fixed masks",
                "measure on validation or test",
            )
        whole = self._fixed[split]
        end = len(whole.input_ids) if blocks is None else blocks
        end = min(end, len(whole.input_ids))
        for start in range(0, end, batch_size):
            yield whole.rows(start, min(start + batch_size, end))

    def _pack(self, split: Split, texts: Sequence[str]) -> torch.Tensor:
        import torch

        tokenizer: Any = self.tokenizer
        encoded = tokenizer.backend_tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        stream: list[int] = []
        for document in encoded:
            if document.ids:
                stream += [*document.ids, tokenizer.sep_token_id]
        if not stream:
            raise RunError(
                "D022", f"the {split} split has no tokens", "give more documents"
            )
        inner = self.length - 2
        stream.pop()  # each block brings its own last [SEP]
        count = -(-len(stream) // inner)
        pad = tokenizer.pad_token_id
        blocks = torch.full((count, self.length), pad, dtype=torch.int64)
        blocks[:, 0] = tokenizer.cls_token_id
        stream_tensor = torch.tensor(stream, dtype=torch.int64)
        whole = len(stream) // inner
        blocks[:whole, 1:-1] = stream_tensor[: whole * inner].view(whole, inner)
        blocks[:whole, -1] = tokenizer.sep_token_id
        rest = stream_tensor[whole * inner :]
        if len(rest):
            blocks[-1, 1 : 1 + len(rest)] = rest
            blocks[-1, 1 + len(rest)] = tokenizer.sep_token_id
        return blocks

    def _generator(self, purpose: str, seed: int = 0) -> torch.Generator:
        import torch

        text = f"{purpose} {self.seed} {seed}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.Generator().manual_seed(number)

    def _mask(
        self, blocks: torch.Tensor, generator: torch.Generator, rate: float
    ) -> Batch:
        """Mask so many: of those 80 % become [MASK], 10 % any token, 10 % stay."""
        import torch
        from transformers import DataCollatorForLanguageModeling

        collator: Any = DataCollatorForLanguageModeling(
            self.tokenizer, mlm_probability=rate
        )
        collator.generator = generator
        special = torch.isin(blocks, torch.tensor(self.tokenizer.all_special_ids))
        real = blocks != self.tokenizer.pad_token_id
        ids, labels = collator.torch_mask_tokens(blocks.clone(), special)
        return Batch(ids, real, labels)
