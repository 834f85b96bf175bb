"""Causal language modeling: predict every token from the ones before it in its
document.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from azc.data.contract import IGNORED, Batch, Split
from azc.data.text import TextData
from azc.data.tokenizer import ends

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["CausalLMData", "packed"]

_SHORTEST = 2  # tokens of a piece: one to begin with, one to predict


def packed(
    sizes: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pack pieces into blocks of `room` tokens by best-fit decreasing.

    Pieces are placed in order of decreasing size, each into the fullest block that
    still has room for it (for language models: Ding et al. 2024). No piece may be
    larger than `room`.

    Args:
        sizes: Tokens of the pieces, [pieces].
        room: Tokens of a block.

    Returns:
        The numbers of the pieces, block after block, [pieces], and the place of the
        first piece of each block, followed by the number of pieces, [blocks + 1].
    """
    import numpy as np

    order = np.argsort(-sizes, kind="stable")
    block = np.empty(len(sizes), np.int64)
    free: defaultdict[int, list[int]] = defaultdict(list)  # blocks by their free room
    rooms: list[int] = []  # the keys of `free`, sorted
    blocks = 0
    for place, size in enumerate(sizes[order].tolist()):
        at = bisect_left(rooms, size)
        if at < len(rooms):
            left = rooms[at]
            chosen = heappop(free[left])
            if not free[left]:
                del rooms[at]
        else:
            left, chosen = room, blocks
            blocks += 1
        block[place] = chosen
        left -= size
        if left >= _SHORTEST:
            if not free[left]:
                insort(rooms, left)
            heappush(free[left], chosen)
    starts = np.zeros(blocks + 1, np.int64)
    np.cumsum(np.bincount(block, minlength=blocks), out=starts[1:])
    return order[np.argsort(block, kind="stable")], starts


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Assignment of pieces of documents to the blocks of a split.

    Attributes:
        documents: The document of each piece, by its place in the text, [pieces].
        offsets: The place in its document at which a piece begins, [pieces].
        sizes: Tokens of each piece, including its first special token, [pieces].
        starts: The first piece of each block, followed by the number of pieces,
            [blocks + 1].
    """

    documents: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]


class CausalLMData(TextData):
    """Sequences of `length` tokens for a causal language model, packed with whole
    documents.

    A document is `[CLS] … [SEP]`, or has the tokenizer's own tokens for its beginning
    and end. A document longer than a sequence is split, and each piece begins with
    `[CLS]`, so that every token of the text and the end of every document is predicted
    exactly once, from the tokens before it in its piece. `Batch.document_ids` separates
    pieces in one sequence; padding fills the rest of a sequence. The order of sequences
    is drawn from the seed.
    """

    _computed = frozenset({"_blocks"})

    @property
    def bytes_per_token(self) -> float:
        """Bytes (UTF-8) of the test documents per predicted token.

        White space and everything else that the tokenizer drops counts as it is in the
        text.
        """
        documents = self.documents["test"]
        asked = int((self.text.lengths[documents] + 1).sum())
        return int(self.text.sizes[documents].sum()) / asked

    def count(self, split: Split) -> int:
        """Return the number of sequences in a split."""
        return len(self._blocks[split].starts) - 1

    def ids(self, split: Split, places: torch.Tensor) -> torch.Tensor:
        """Build sequences of a split.

        Args:
            split: The split.
            places: Places of the sequences in the split, [B], int64.

        Returns:
            The token ids, [B, N], int64, where N is `length`.
        """
        return self._rows(split, places).input_ids

    def _training(self, places: torch.Tensor, generator: torch.Generator) -> Batch:
        return self._rows("train", places)

    def _fixed(self, split: Split, start: int, end: int) -> Batch:
        import torch

        return self._rows(split, torch.arange(start, end))

    @cached_property
    def _blocks(self) -> dict[Split, _Blocks]:
        return {split: self._pack(split) for split in self.documents}

    def _pack(self, split: Split) -> _Blocks:
        import numpy as np
        import torch

        documents = self.documents[split]
        lengths = self.text.lengths[documents] + 1  # with what ends a document
        inner = self.length - 1
        counts = -(-lengths // inner)
        of = np.repeat(np.arange(len(documents)), counts)
        offsets = _counted(counts) * inner
        sizes = 1 + np.minimum(lengths[of] - offsets, inner)
        pieces, starts = packed(sizes, self.length)
        generator = self._generator(split)
        order = torch.randperm(len(starts) - 1, generator=generator).numpy()
        held = starts[1:] - starts[:-1]
        pieces = pieces[np.repeat(starts[order], held[order]) + _counted(held[order])]
        return _Blocks(
            documents[of[pieces]],
            offsets[pieces],
            sizes[pieces],
            np.concatenate([[0], np.cumsum(held[order])]),
        )

    def _rows(self, split: Split, places: torch.Tensor) -> Batch:
        """Build a batch of the sequences of a split at `places`, [B]."""
        import numpy as np
        import torch

        first, last = ends(self.tokenizer)
        pad = self.tokenizer.pad_token_id
        blocks, rows = self._blocks[split], places.numpy()
        held = blocks.starts[rows + 1] - blocks.starts[rows]  # pieces of each row
        number = _counted(held)  # of each piece in its row
        pieces = np.repeat(blocks.starts[rows], held) + number
        sizes = blocks.sizes[pieces]
        # From here on, arrays have an entry for every token.
        place = _counted(sizes)  # in its piece; 0 is the token that begins the piece
        row = np.repeat(np.repeat(np.arange(len(rows)), held), sizes)
        column = _counted(np.bincount(row, minlength=len(rows)))
        document = np.repeat(blocks.documents[pieces], sizes)
        token = np.repeat(blocks.offsets[pieces], sizes) + place - 1
        flat = np.full(len(row), last, np.int64)
        is_text = (place > 0) & (token < self.text.lengths[document])
        of_text = self.text.starts[document[is_text]] + token[is_text]
        flat[is_text] = self.text.ids[of_text]
        flat[place == 0] = first

        def table(values: NDArray[np.int64], padding: int) -> torch.Tensor:
            found = np.full((len(rows), self.length), padding, np.int64)
            found[row, column] = values
            return torch.from_numpy(found)

        documents = table(np.repeat(number, sizes), -1)
        return Batch(
            table(flat, last if pad is None else pad),
            documents >= 0,
            table(np.where(place > 0, flat, IGNORED), IGNORED),
            causal=True,
            document_ids=documents,
        )


def _counted(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count 0, 1, … up to each of `counts`, one after the other: [sum of counts]."""
    import numpy as np

    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(before, counts)
