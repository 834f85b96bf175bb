"""Packing of several documents in one row, each computed as if it were alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

__all__ = ["Packing", "documents_of", "next_labels", "places_in_documents"]


def documents_of(position_ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Number the documents in each row, from positions that start again.

    Positions in padding are ignored: a document continues after padding.

    Args:
        position_ids: int [B or 1, N].
        real: True at real tokens, bool [B, N].

    Returns:
        The document of every token, int64 [B, N].
    """
    positions = position_ids.expand(real.shape)
    # The last position of a real token before each, −1 before the first.
    seen = torch.where(real, torch.arange(real.shape[1], device=real.device), -1)
    last = seen.cummax(-1).values[:, :-1]
    before = positions.gather(1, last.clamp(min=0))
    starts = real[:, 1:] & (last >= 0) & (positions[:, 1:] <= before)
    return F.pad(starts, (1, 0)).cumsum(-1)


def places_in_documents(documents: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the index of every real token in its document.

    Args:
        documents: The documents that `documents_of` returns, int64 [B, N].
        real: True at real tokens, bool [B, N].

    Returns:
        The indices, int64 [B, N].
    """
    index = real.cumsum(-1) - 1
    start = torch.ones_like(real)
    start[:, 1:] = documents[:, 1:] != documents[:, :-1]
    # A token that starts a document is real; the first token of a row may be padding.
    before = torch.where(start, index.clamp(min=0), 0)
    return index - before.cummax(-1).values


def next_labels(
    labels: torch.Tensor, real: torch.Tensor | None, documents: torch.Tensor | None
) -> torch.Tensor:
    """Return for every token the label of the next token of its document.

    Args:
        labels: int [B, N].
        real: True at real tokens, bool [B, N]; None if all are real.
        documents: The document of every token, int [B or 1, N]; None if each row is
            one.

    Returns:
        The labels, int64 [B, N]; −100 in padding and at the end of a document.
    """
    labels = labels.long()
    if real is None and documents is None:
        return F.pad(labels[:, 1:], (0, 1), value=-100)
    if documents is None:
        documents = torch.zeros_like(labels)
    # Documents one after the other, then the padding.
    document = documents.to(torch.int64).expand(labels.shape)
    order = document.argsort(dim=-1, stable=True)
    if real is not None:
        gone = (~real).to(torch.int8).gather(-1, order)
        order = order.gather(-1, gone.argsort(dim=-1, stable=True))
        labels = labels.masked_fill(~real, -100)
    document, label = document.gather(-1, order), labels.gather(-1, order)
    same = document[:, 1:] == document[:, :-1]
    if real is not None:
        same = same & real.gather(-1, order)[:, :-1]
    after = F.pad(torch.where(same, label[:, 1:], -100), (0, 1), value=-100)
    return torch.empty_like(after).scatter(-1, order, after)


@dataclass(frozen=True)
class Packing:
    """Indices that put each document in its own row, padded on the right.

    Attributes:
        index: Index of each token of a document among B · N, int64 [D, L].
        mask: True at tokens of the document, bool [D, L].
        back: Index of each token among D · L, int64 [B, N]; 0 in padding.
    """

    index: torch.Tensor
    mask: torch.Tensor
    back: torch.Tensor

    @classmethod
    def of(cls, documents: torch.Tensor, real: torch.Tensor) -> Packing:
        """Compute the packing from the document of every token, int [B, N], and a mask,
        bool [B, N].
        """
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
        return cls(index, mask, back.view(batch, -1))

    def apart(self, x: torch.Tensor) -> torch.Tensor:
        """Split rows into documents: [B, N, …] to [D, L, …]."""
        return x.flatten(0, 1)[self.index]

    def together(self, x: torch.Tensor) -> torch.Tensor:
        """Join documents into rows: [D, L, …] to [B, N, …]; padding gets the very first
        token.
        """
        return x.flatten(0, 1)[self.back]
