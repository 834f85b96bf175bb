"""Several documents in one row, each computed as if it were alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Packing", "documents_of"]


def documents_of(position_ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The document of every token, int64 [B, N], from positions that start again.

    `position_ids`: int [B or 1, N]; `real`: bool [B, N]. What stands in padding has no
    say: a document goes on behind it.
    """
    positions = position_ids.expand(real.shape)
    # The last position of a real token before each, −1 before the first.
    seen = torch.where(real, torch.arange(real.shape[1], device=real.device), -1)
    last = seen.cummax(-1).values[:, :-1]
    before = positions.gather(1, last.clamp(min=0))
    starts = real[:, 1:] & (last >= 0) & (positions[:, 1:] <= before)
    return torch.cat((torch.zeros_like(starts[:, :1]), starts), 1).cumsum(-1)


@dataclass(frozen=True)
class Packing:
    """Where the tokens of documents stand: each document is a row, padded on the right.

    `index`: int64 [D, L], where a token of a document stands among B · N; `mask`: bool
    [D, L], which of them there are; `back`: int64 [B, N], where a token stands among
    D · L, 0 in padding. `first`: bool [B, N], the first token of each document.
    """

    index: torch.Tensor
    mask: torch.Tensor
    back: torch.Tensor
    first: torch.Tensor

    @classmethod
    def of(cls, documents: torch.Tensor, real: torch.Tensor) -> Packing:
        """From the document of every token, int [B, N], and bool [B, N]."""
        batch, tokens = real.shape
        row = torch.arange(batch, device=real.device)[:, None].expand(batch, tokens)
        pairs = torch.stack((row[real], documents.to(torch.int64)[real]))
        _, number, counts = torch.unique(
            pairs, dim=1, return_inverse=True, return_counts=True
        )
        order = torch.argsort(number, stable=True)
        ends = counts.cumsum(0)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=real.device)
        place = place - (ends - counts)[number]  # of a token in its document
        longest = int(counts.max()) if len(counts) else 0
        there = real.flatten().nonzero()[:, 0]
        index = torch.zeros(
            (len(counts), longest), dtype=torch.int64, device=real.device
        )
        index[number, place] = there
        mask = torch.arange(longest, device=real.device) < counts[:, None]
        back = torch.zeros(batch * tokens, dtype=torch.int64, device=real.device)
        back[there] = number * longest + place
        first = torch.zeros(batch * tokens, dtype=torch.bool, device=real.device)
        first[there] = place == 0
        return cls(index, mask, back.view(batch, -1), first.view(batch, -1))

    def apart(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, …] as [D, L, …]."""
        return x.flatten(0, 1)[self.index]

    def together(self, x: torch.Tensor) -> torch.Tensor:
        """[D, L, …] as [B, N, …]; in padding the first token of all."""
        return x.flatten(0, 1)[self.back]
