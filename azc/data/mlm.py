"""Masked language modelling: text with masks that a seed fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azc.data.contract import Batch, Split
from azc.data.corpus import Corpus
from azc.data.text import TextData

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = ["MaskedLMData"]

_MEASURED = 0.15  # of the tokens of validation and test are masked, as for BERT
_REDRAWS = 100


class MaskedLMData(TextData):
    """A corpus as blocks of `length` tokens, masked for training and for measuring.

    Each block is `[CLS] … [SEP]`; documents follow one another, a `[SEP]` between.
    `mask_rate` of the tokens of training are masked, anew each time; of validation and
    test always 15 %, with masks that depend on the seed alone.
    """

    bytes_per_token = None

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
        super().__init__(corpus, tokenizer, length=length, seed=seed)
        self.mask_rate = mask_rate
        self.blocks = {split: self._pack(split) for split in self.documents}
        held_out: tuple[Split, ...] = ("validation", "test")
        self._measured = {
            split: self._mask(self.blocks[split], self._generator(split), _MEASURED)
            for split in held_out
        }

    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        blocks = self.blocks["train"][places]
        batch = self._mask(blocks, generator, self.mask_rate)
        # By chance a tiny batch may ask for nothing: the mean over it is NaN.
        for _ in range(_REDRAWS):
            if batch.asked:
                break
            batch = self._mask(blocks, generator, self.mask_rate)
        return batch

    def _fixed(self, split: Split) -> Batch:
        return self._measured[split]

    def _pack(self, split: Split) -> torch.Tensor:
        import torch

        tokenizer: Any = self.tokenizer
        stream: list[int] = []
        for _, ids in self._encoded(split):
            stream += [*ids, tokenizer.sep_token_id]
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
