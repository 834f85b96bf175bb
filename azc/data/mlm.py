"""Masked language modeling: text with masks that are determined by a seed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from azc.data.contract import IGNORED, Batch, Split
from azc.data.text import TextData
from azc.data.tokens import EncodedText

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

__all__ = ["MaskedLMData"]

_MEASURED = 0.15  # fraction of validation and test tokens that are masked, as for BERT
_AT_ONCE = 2**21  # validation or test tokens that are masked at once
_HELD_OUT: tuple[Split, ...] = ("validation", "test")
_REDRAWS = 100


class MaskedLMData(TextData):
    """Sequences of `length` tokens for a masked language model.

    Each sequence is `[CLS] … [SEP]`; documents follow one another, separated by
    `[SEP]`. `mask_rate` of the training tokens are masked, with new masks every time.
    For validation and test it is always 15 %, with masks that depend on the seed only.
    """

    bytes_per_token = None
    _computed = frozenset({"_ends", "_measured"})

    def __init__(
        self,
        text: EncodedText,
        tokenizer: PreTrainedTokenizerFast,
        *,
        length: int,
        seed: int = 0,
        mask_rate: float = 0.15,
    ) -> None:
        """Split a text and prepare its sequences.

        Raises:
            UsageError: D021 for a `length` below 8.
            RunError: D020 and D022, as in `TextData`.
        """
        super().__init__(text, tokenizer, length=length, seed=seed)
        self.mask_rate = mask_rate

    def count(self, split: Split) -> int:
        """Return the number of sequences in a split."""
        return -(-int(self._ends[split][-1] - 1) // (self.length - 2))

    def ids(self, split: Split, places: torch.Tensor) -> torch.Tensor:
        """Build sequences of a split.

        Args:
            split: The split.
            places: Places of the sequences in the split, [B], int64.

        Returns:
            The token ids before masking, [B, N], int64, where N is `length`.
        """
        import numpy as np
        import torch

        tokenizer: Any = self.tokenizer
        inner = self.length - 2
        ends, documents = self._ends[split], self.documents[split]
        # Places in the stream of the split: all documents, each followed by a [SEP].
        stream = places.numpy()[:, None] * inner + np.arange(inner)
        real = stream < ends[-1] - 1  # each sequence brings its own last [SEP]
        found = stream[real]
        number = np.searchsorted(ends, found, side="right")
        rest = ends[number] - found - 1  # tokens of the document from this one on
        last = self.text.starts[documents[number] + 1]
        flat = np.full(len(found), tokenizer.sep_token_id, np.int64)
        is_token = rest > 0
        flat[is_token] = self.text.ids[(last - rest)[is_token]]
        ids = np.full((len(places), self.length), tokenizer.pad_token_id, np.int64)
        ids[:, 0] = tokenizer.cls_token_id
        ids[:, 1:-1][real] = flat
        rows = np.arange(len(places))
        ids[rows, 1 + real.sum(1)] = tokenizer.sep_token_id
        return torch.from_numpy(ids)

    @cached_property
    def _ends(self) -> dict[Split, NDArray[np.int64]]:
        """The end of each document, with its [SEP], in the stream of its split,
        [documents].
        """
        import numpy as np

        lengths = self.text.lengths
        return {
            split: np.cumsum(lengths[places] + 1)
            for split, places in self.documents.items()
        }

    @cached_property
    def _special(self) -> torch.Tensor:
        """Ids that are never masked."""
        import torch

        return torch.tensor(self.tokenizer.all_special_ids)

    @property
    def _also(self) -> str:
        # Earlier versions masked a large split in one go, which drew other masks.
        in_parts = max(map(self.count, _HELD_OUT)) > self._at_once
        return "masked in parts" if in_parts else ""

    @property
    def _at_once(self) -> int:
        """The number of validation or test sequences that are masked at once."""
        return max(1, _AT_ONCE // self.length)

    @cached_property
    def _measured(self) -> dict[Split, tuple[int, Batch]]:
        """The masked sequences of validation and test that were used last, with their
        first place.
        """
        return {}

    def _fixed(self, split: Split, start: int, end: int) -> Batch:
        step = self._at_once
        middle = (start // step + 1) * step
        if end > middle:
            parts = self._fixed(split, start, middle), self._fixed(split, middle, end)
            return Batch.joined(parts)
        first = middle - step
        if self._measured.get(split, (None,))[0] != first:
            import torch

            last = min(middle, self.count(split))
            ids = torch.cat([*self.sequences(split, first, last)])
            purpose = f"{split} {first}" if first else split
            generator = self._generator(purpose)
            masked = self._mask(ids, generator, _MEASURED)
            self._measured[split] = first, masked
        return self._measured[split][1].rows(start - first, end - first)

    def check(self, blocks: int | None = None) -> None:
        """Raise RunError D024 if a split has nothing to predict."""
        super().check(blocks)
        self._measured.clear()  # perhaps only other processes will need them

    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        sequences = self.ids("train", places)
        batch = self._mask(sequences, generator, self.mask_rate)
        # By chance a tiny batch may have no masks: its mean loss would be NaN.
        for _ in range(_REDRAWS):
            if batch.asked:
                return batch
            batch = self._mask(sequences, generator, self.mask_rate)
        return self._mask_one(sequences, generator)

    def _mask(
        self, sequences: torch.Tensor, generator: torch.Generator, rate: float
    ) -> Batch:
        """Mask tokens at a rate: 80 % of them become [MASK], 10 % a random token, 10 %
        stay.
        """
        import torch
        from transformers import DataCollatorForLanguageModeling

        collator: Any = DataCollatorForLanguageModeling(
            self.tokenizer, mlm_probability=rate
        )
        collator.generator = generator
        special = torch.isin(sequences, self._special)
        real = sequences != self.tokenizer.pad_token_id
        ids, labels = collator.torch_mask_tokens(sequences.clone(), special)
        return Batch(ids, real, labels)

    def _mask_one(self, sequences: torch.Tensor, generator: torch.Generator) -> Batch:
        """Mask a single token, if there is one that may be masked."""
        import torch

        ids, labels = sequences.clone(), torch.full_like(sequences, IGNORED)
        places = (~torch.isin(sequences, self._special)).nonzero()
        if len(places):
            chosen = torch.randint(len(places), (1,), generator=generator)
            row, column = places[chosen].unbind(-1)
            labels[row, column] = ids[row, column]
            ids[row, column] = self.tokenizer.mask_token_id
        return Batch(ids, sequences != self.tokenizer.pad_token_id, labels)
