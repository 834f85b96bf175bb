"""The backend `sdpa`: `torch.nn.functional.scaled_dot_product_attention`.

It is given a mask, made as it runs, or makes its own. No n × n tensor is kept where it has
a kernel without one.
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
    """A dot product as a module: `forward(query, key, value, real, row_real, positions,
    row_positions, at, width)`.

    `query`: [B, H, M, f]; `key`: [B, H, N, f]; `value`: [B, H, N, c]. `real`: bool
    [B, N], None where all tokens are; positions: int64 [B or 1, N]; those of rows are
    of the last M tokens, or of those `at`, int64 [M]. `width`: that of a head. Gives
    [B, H, M, c]; anything finite in padding. `exact`: autocast leaves the tensors in the
    type that they have.
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
        """The sums of the values, weighted."""
        # A plain bool also where lengths are symbols.
        square = True if query.shape[-2] == key.shape[-2] else False  # noqa: SIM210
        newest = self.causal and not square and query.shape[-2] == 1
        # What is kept of earlier tokens is in the window of the next one.
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
        """True where a token is seen, or what is added to scores; None for nothing."""
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
        """What it does."""
        parts = [f"factor={self.factor.number:g}·d^{self.factor.power:g}"]
        parts += [f"radius={self.radius}"] if self.radius is not None else []
        parts += ["alibi"] if self.biases else []
        parts += ["causal"] if self.causal else []
        return ", ".join(parts)
