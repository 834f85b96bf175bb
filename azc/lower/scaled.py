"""The backend `sdpa`: `torch.nn.functional.scaled_dot_product_attention`.

The function receives a mask, made when the graph runs, or applies its own causal mask. No
n × n tensor is stored if it has a kernel that needs none.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from azc.lower.dot_product import DotProduct
from azc.lower.exact import without_autocast
from azc.lower.masks import gone
from azc.lower.runtime import alibi_slopes
from azc.ops.contract import Place

__all__ = ["ScaledDotProduct"]


class ScaledDotProduct(nn.Module):
    """A dot product as a module.

    Args:
        spec: The dot product.
        causal: Whether later tokens are hidden from every token.
        inhabited: Whether every sequence is known to have a real token.
        exact: Keep the types of the tensors under autocast.
    """

    def __init__(
        self, spec: DotProduct, causal: bool, inhabited: bool, exact: bool
    ) -> None:
        super().__init__()
        self.factor, self.biases = spec.factor, spec.biases
        self.radius = spec.radius
        self.causal = causal
        self.inhabited = inhabited
        self.exact = exact
        self.dropout = spec.dropout
        places: list[Place] = ["cols"]
        places += ["band"] if spec.radius is not None else []
        places += ["future"] if causal else []
        self.places = tuple(places)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        real: torch.Tensor | None,
        row_real: torch.Tensor | None,
        positions: torch.Tensor,
        row_positions: torch.Tensor,
        at: torch.Tensor | None,
        width: int,
    ) -> torch.Tensor:
        """Compute the attention of M tokens to N tokens.

        Args:
            query: The queries, [B, H, M, f].
            key: The keys, [B, H, N, f].
            value: The values, [B, H, N, c].
            real: Mask of real tokens, bool [B, N]; None if all are real.
            row_real: The same of the M tokens, bool [B, M].
            positions: The index of every token among the real ones, int64 [B or 1, N].
            row_positions: The same of the M tokens, int64 [B or 1, M].
            at: The indices of the M tokens among the N, int64 [M]; None for the last.
            width: The width of one head.

        Returns:
            The weighted sums of the values, [B, H, M, c]; arbitrary finite numbers in
            padding.
        """
        # A plain bool, also if lengths are symbolic.
        square = True if query.shape[-2] == key.shape[-2] else False  # noqa: SIM210
        newest = self.causal and not square and query.shape[-2] == 1
        # If the cache holds no more than a window, the newest token sees all of it.
        near = self.radius is None or (newest and key.shape[-2] <= self.radius + 1)
        plain = real is None and len(self.biases) == 0 and near
        causal = self.causal and square and plain
        mask: torch.Tensor | None = None
        if not causal and not (newest and plain):  # the newest token sees all
            places = tuple(p for p in self.places if p != "band" or not near)
            where = (real, row_real, positions, row_positions, at)
            mask = self.mask(query, *where, places, width)
        with without_autocast(query) if self.exact else nullcontext():
            return F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                dropout_p=self.dropout if self.training else 0.0,
                is_causal=causal,
                scale=self.factor.at(width),
            )

    def mask(
        self,
        query: torch.Tensor,
        real: torch.Tensor | None,
        row_real: torch.Tensor | None,
        positions: torch.Tensor,
        row_positions: torch.Tensor,
        at: torch.Tensor | None,
        places: tuple[Place, ...],
        width: int,
    ) -> torch.Tensor | None:
        """Make the mask of the scores, [B or 1, H or 1, M or 1, N]; see `forward`.

        Returns:
            True where a token is seen, or, with biases, the numbers to add to scores;
            None if there is nothing to mask.
        """
        absent = gone(
            row_real,
            real,
            row_positions,
            positions,
            at,
            places,
            self.radius,
            spare=True,
            inhabited=self.inhabited,
        )
        if not self.biases:
            return None if absent is None else ~absent
        wide = torch.promote_types(query.dtype, torch.float32)
        apart = (row_positions[:, :, None] - positions[:, None, :]).abs().to(wide)
        slopes = alibi_slopes(query.shape[1], apart)
        slopes = slopes * sum(each.at(width) for each in self.biases)
        bias = (-slopes * apart[:, None]).to(query.dtype)
        return bias if absent is None else bias.masked_fill(absent, -math.inf)

    def extra_repr(self) -> str:
        """Describe the factor, the masks and the biases for `repr`."""
        parts = [f"factor={self.factor.number:g}·d^{self.factor.power:g}"]
        parts += [f"radius={self.radius}"] if self.radius is not None else []
        parts += ["alibi"] if self.biases else []
        parts += ["causal"] if self.causal else []
        return ", ".join(parts)
