"""Causal language modelling: every token told from those before it in its document."""

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

_SHORTEST = 2  # tokens of a piece: one to begin with, one to be told


def packed(
    sizes: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pack pieces into blocks of so much `room`, none of them larger than that: each into
    the fullest block that has room for it, the largest first (best-fit decreasing; for
    language models Ding et al. 2024).

    Args:
        sizes: Tokens of the pieces, [pieces].
        room: Tokens of a block.

    Returns:
        The numbers of the pieces, block after block, [pieces], and where each block
        begins among them, with the end of the last one, [blocks + 1].
    """
    import numpy as np

    order = np.argsort(-sizes, kind="stable")
    block = np.empty(len(sizes), np.int64)
    free: defaultdict[int, list[int]] = defaultdict(list)  # blocks by their free room
    rooms: list[int] = []  # that there are
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
    """Which pieces of documents are in which block of a split, [pieces] each.

    Attributes:
        documents: Documents that the pieces are of, by their places in the text.
        offsets: Where in its document a piece begins.
        sizes: Tokens of the pieces with what they begin with.
        starts: Where the blocks begin among the pieces, with the end, [blocks + 1].
    """

    documents: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]


class CausalLMData(TextData):
    """A text as sequences of `length` tokens, each of which holds whole documents.

    A document is `[CLS] … [SEP]`, or what the tokenizer has to begin and end one with.
    One longer than a sequence is cut, and each piece begins with `[CLS]`: so every token of
    the text, and the end of every document, is asked for once, and told from what stands
    before it in its piece. `Batch.document_ids` tell pieces in one sequence apart; what is
    left of a sequence is padding, behind them. Sequences come in an order drawn from the
    seed.
    """

    _computed = frozenset({"_blocks"})

    @property
    def bytes_per_token(self) -> float:
        """Bytes (UTF-8) of the test documents, for each token that is asked for: white
        space and what else the tokenizer leaves out count as they stand in the text.
        """
        documents = self.documents["test"]
        asked = int((self.text.lengths[documents] + 1).sum())
        return int(self.text.sizes[documents].sum()) / asked

    def count(self, split: Split) -> int:
        """Return how many sequences a split has."""
        return len(self._blocks[split].starts) - 1

    def ids(self, split: Split, places: torch.Tensor) -> torch.Tensor:
        """Make the sequences of a split at these places, [places, length], int64."""
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
        """The sequences of a split at these places."""
        import numpy as np
        import torch

        first, last = ends(self.tokenizer)
        pad = self.tokenizer.pad_token_id
        blocks, rows = self._blocks[split], places.numpy()
        held = blocks.starts[rows + 1] - blocks.starts[rows]  # pieces of each row
        number = _counted(held)  # of each piece in its row
        pieces = np.repeat(blocks.starts[rows], held) + number
        sizes = blocks.sizes[pieces]
        # From here on there is an entry for every token.
        place = _counted(sizes)  # in its piece, where the first one begins it
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
    """0, 1, … for each of these counts, one after the other: [sum of counts]."""
    import numpy as np

    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(before, counts)
