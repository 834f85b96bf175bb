"""Embeddings: from ids to the encoder's input, and the positions of real tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from azc.check.program import ModelSpec
from azc.lower.masks import known_real
from azc.lower.modules import norm
from azc.lower.runtime import newest, order_of, positions_of, taken

__all__ = ["Embeddings", "Places"]


@dataclass(frozen=True)
class Places:
    """Positions and masks of the tokens of a batch: the arguments of compiled layers.

    Attributes:
        mask: True at real tokens, bool [B, N]; a sequence of padding only counts as
            real, so that no softmax is empty. None if all tokens are real.
        positions: Position of each token among the real ones, int64 [B or 1, N].
        order: Index of the token at each position, int64 [B, N]; None if neighbours
            are adjacent.
        real: The caller's mask, bool [B, N]; None if all tokens are real.
    """

    mask: torch.Tensor | None
    positions: torch.Tensor
    order: torch.Tensor | None
    real: torch.Tensor | None

    @classmethod
    def of(
        cls, attention_mask: torch.Tensor | None, like: torch.Tensor, past: int = 0
    ) -> Places:
        """Compute the places of the tokens of a mask.

        Args:
            attention_mask: [B, N], nonzero at real tokens; None if all are real.
            like: A value of the new tokens, [B, N − past, …].
            past: The number of earlier tokens.
        """
        real = None if attention_mask is None else known_real(attention_mask)
        if real is None or real.numel() == 0:
            tokens = past + like.shape[1]
            positions = torch.arange(tokens, device=like.device)[None]
            return cls(None, positions, None, None)
        return cls.among(real)

    @classmethod
    def among(cls, real: torch.Tensor) -> Places:
        """Compute the places of tokens of which some are real, bool [B, N]."""
        mask = real | ~real.any(-1, keepdim=True)
        positions = positions_of(real, real)
        return cls(mask, positions, order_of(real, positions), real)

    def at(self, rows: torch.Tensor) -> Places:
        """Return the places of the tokens at indices, int64 [M], without their
        order.
        """
        mask, real = (
            None if each is None else each.index_select(1, rows)
            for each in (self.mask, self.real)
        )
        return Places(mask, self.positions.index_select(1, rows), None, real)

    def newest(self, like: torch.Tensor) -> Places:
        """Return the places of only the last M tokens, without their order; `like` is
        [B, M, …].
        """
        positions = newest(self.positions, like)
        assert positions is not None
        return Places(newest(self.mask, like), positions, None, newest(self.real, like))

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """Select the last real token of every sequence: [B, C] from [B, N, C]."""
        if self.mask is None:
            return x[:, -1]
        index = torch.arange(x.shape[1], device=x.device)
        at = torch.where(self.mask, index, -1).argmax(-1, keepdim=True)
        return taken(x, at)[:, 0]

    def first(self, x: torch.Tensor) -> torch.Tensor:
        """Select the first real token of every sequence: [B, C] from [B, N, C]."""
        if self.real is None:
            return x[:, 0]
        at = (self.positions == 0).to(torch.int8).argmax(-1, keepdim=True)
        return taken(x, at)[:, 0]

    def fill(self, x: torch.Tensor) -> torch.Tensor:
        """Copy the batch's first real token to all padding of [B, N, C].

        Padding then gives finite values and gradients wherever real tokens do.
        """
        if self.real is None:
            return x
        at = self.real.flatten().to(torch.int8).argmax(-1, keepdim=True)
        first = x.flatten(0, 1).index_select(0, at)
        # If no token is real, use numbers that differ, because norms divide by the spread.
        spare = torch.linspace(-1.0, 1.0, x.shape[2], dtype=x.dtype, device=x.device)
        filler = torch.where(self.real.any(), first, spare).detach()
        return torch.where(self.real[:, :, None], x, filler)


def _sinusoids(
    positions: torch.Tensor, hidden: int, dtype: torch.dtype
) -> torch.Tensor:
    """Compute sinusoidal positions [B or 1, N, hidden]: sines in even features, cosines
    in odd ones (Vaswani et al. 2017, section 3.5).
    """
    half = torch.arange((hidden + 1) // 2, device=positions.device, dtype=torch.float32)
    rate = torch.exp(half * (-2.0 * math.log(10000.0) / hidden))
    angle = positions[:, :, None] * rate
    both = torch.stack((angle.sin(), angle.cos()), -1).flatten(2)
    return both[:, :, :hidden].to(dtype)


class Embeddings(nn.Module):
    """Sum of token, token type and position embeddings, with a norm in post-norm
    models.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.tokens = nn.Embedding(spec.vocab, spec.hidden)
        if spec.positions == "learned":
            self.positions = nn.Embedding(spec.max_length, spec.hidden)
        if spec.token_types:
            self.token_types = nn.Embedding(spec.token_types, spec.hidden)
        if spec.residual == "post":
            self.norm = norm(spec.norm, spec.hidden, spec.norm_eps, spec.bias)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(
        self,
        embeds: torch.Tensor,
        token_type_ids: torch.Tensor | None,
        places: Places,
    ) -> torch.Tensor:
        """Compute the encoder's input.

        Args:
            embeds: The embeddings of the tokens, [B, N, hidden].
            token_type_ids: int [B, N]; None for type 0.
            places: The positions of the tokens.

        Returns:
            [B, N, hidden].
        """
        spec, positions = self.spec, places.positions
        # Call tables and don't index them: the user may have replaced them.
        if spec.token_types:
            if token_type_ids is None:
                token_type_ids = torch.zeros_like(positions)
            embeds = embeds + self.token_types(token_type_ids)
        if spec.positions == "learned":
            embeds = embeds + self.positions(positions)
        elif spec.positions == "sinusoidal":
            embeds = embeds + _sinusoids(positions, spec.hidden, embeds.dtype)
        embeds = places.fill(embeds)
        if spec.residual == "post":
            embeds = self.norm(embeds)
        dropped: torch.Tensor = self.dropout(embeds)
        return dropped
