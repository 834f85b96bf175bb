"""Causal language modelling: every token told from those before it in its document."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from azc.data.contract import IGNORED, Batch, Split
from azc.data.corpus import Corpus
from azc.data.text import TextData
from azc.data.tokenizer import ends

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = ["CausalLMData", "packed"]

_SHORTEST = 2  # tokens of a piece: one to begin with, one to be told


def packed(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Which pieces go into which block of so much `room`, none larger than that: each
    into the fullest that has room for it, the largest first (best-fit decreasing; for
    language models Ding et al. 2024).
    """
    blocks: list[list[int]] = []
    left: list[tuple[int, int]] = []  # of blocks that are not full, the fullest first
    for piece in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        at = bisect_left(left, (sizes[piece], -1))
        if at < len(left):
            free, block = left.pop(at)
        else:
            free, block = room, len(blocks)
            blocks.append([])
        blocks[block].append(piece)
        if free - sizes[piece] >= _SHORTEST:
            insort(left, (free - sizes[piece], block))
    return blocks


class CausalLMData(TextData):
    """A corpus as blocks of `length` tokens, each of which holds whole documents.

    A document is `[CLS] … [SEP]`, or what the tokenizer has to begin and end one with.
    One longer than a block is cut, and each piece begins with `[CLS]`: so every token of
    the text, and the end of every document, is asked for once, and told from what stands
    before it in its piece. `Batch.document_ids` tell pieces in one block apart; what is
    left of a block is padding, behind them. Blocks come in an order drawn from the seed.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerFast,
        *,
        length: int,
        seed: int = 0,
    ) -> None:
        """Raises UsageError D021 for `length` below 8, RunError D020 and D022."""
        super().__init__(corpus, tokenizer, length=length, seed=seed)
        self._whole = {split: self._pack(split) for split in self.documents}
        self.blocks = {split: each.input_ids for split, each in self._whole.items()}

    @property
    def bytes_per_token(self) -> float:
        """Bytes (UTF-8) of the test documents, for each token that is asked for: white
        space and what else the tokenizer leaves out count as they stand in the text.
        """
        texts = (text for text, _ in self._encoded("test"))
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        return size / self._whole["test"].asked

    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        return self._whole["train"].at(places)

    def _fixed(self, split: Split) -> Batch:
        return self._whole[split]

    def _pack(self, split: Split) -> Batch:
        import torch

        first, last = ends(self.tokenizer)
        inner = self.length - 1
        whole = ([*ids, last] for _, ids in self._encoded(split))
        pieces = [
            [first, *told[start : start + inner]]
            for told in whole
            for start in range(0, len(told), inner)
        ]
        blocks = packed([len(piece) for piece in pieces], self.length)
        order = torch.randperm(len(blocks), generator=self._generator(split))
        placed = [[pieces[each] for each in blocks[row]] for row in order.tolist()]

        def table(rows: Iterable[Iterable[int]], padding: int) -> torch.Tensor:
            lists = (list(row) for row in rows)
            return torch.tensor(
                [row + [padding] * (self.length - len(row)) for row in lists]
            )

        pad = self.tokenizer.pad_token_id
        ids = table(map(chain.from_iterable, placed), last if pad is None else pad)
        told = ((x for piece in row for x in (IGNORED, *piece[1:])) for row in placed)
        numbers = ((i for i, piece in enumerate(row) for _ in piece) for row in placed)
        documents = table(numbers, -1)
        return Batch(
            ids,
            documents >= 0,
            table(told, IGNORED),
            causal=True,
            document_ids=documents,
        )
