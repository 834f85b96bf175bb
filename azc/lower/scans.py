"""What the values of a causal program come to at many moments: sums, maxima and softmaxes
over the tokens so far, and what is absent then.

Compiled graphs call these. There are T moments, each that of a token; `real` and
`positions` are of all N tokens, `at` [B, T] says which token each moment is that of,
`row_real` [B, T] whether it is real, and `leading` [B, T] whether no real token is before
it or is it. What is `carried` comes from the moments before, None at the first.
"""

from __future__ import annotations

import math

import torch

from azc.lower.exact import matmul
from azc.ops.contract import Place

__all__ = [
    "gone_at",
    "index_of_rows",
    "last_sum",
    "moments_of",
    "read_sum",
    "running_count",
    "running_max",
    "running_softmax",
    "running_sum",
]


def moments_of(real: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the last M tokens of each sequence: the token that each is computed as, [B, M],
    and whether no real token is before it or is it, bool [B, M].

    Padding is computed as the real token before it is, or as the first one: so nothing
    is a sum of no tokens, and what is finite at real tokens, and has a finite gradient
    there, is so in padding.
    """
    tokens = real.shape[1]
    every = torch.arange(tokens, device=real.device)
    last = torch.where(real, every, -1).cummax(-1).values[:, tokens - count :]
    # Without a real token among the last ones there is nothing that must be finite.
    first = real.to(torch.int8).argmax(-1, keepdim=True).clamp(min=tokens - count)
    leading = last < 0
    return torch.where(leading, first, last), leading


def index_of_rows(index: torch.Tensor) -> torch.Tensor | None:
    """The rows [B, M] that moments are computed with; None where each has its own. An
    index below 0 is of a token that is not at hand: padding is then computed as itself.
    """
    own = torch.arange(index.shape[1], device=index.device)
    if torch.compiler.is_compiling() or bool((index != own).any()):
        return torch.where(index < 0, own, index)
    return None


def running_sum(
    terms: torch.Tensor,
    row_real: torch.Tensor,
    leading: torch.Tensor,
    carried: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of terms [B, H, T, r, c] over the real tokens so far, and the last of it."""
    real = row_real[:, None, :, None, None]
    total = torch.where(real, terms, 0.0).cumsum(2)
    if carried is not None:
        total = total + carried
    first = leading[:, None, :, None, None]
    last = total[:, :, -1:].clone()  # and not what it is a part of
    return torch.where(first, terms, total), last


def read_sum(
    query: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    row_real: torch.Tensor,
    leading: torch.Tensor,
    carried: torch.Tensor | None,
) -> torch.Tensor:
    """query @ Σ leftᵀ right over the real tokens so far, [B, H, T, 1, c], without the sums
    themselves (the chunks of Hua et al. 2022 and Yang et al. 2024).

    `query`: [B, H, T, 1, f]; `left`: [B, H, T, f]; `right`: [B, H, T, c].
    """
    rows = query.squeeze(-2)
    scores = matmul(rows, left.transpose(-1, -2))
    index = torch.arange(scores.shape[-1], device=scores.device)
    seen = (index <= index[:, None]) & row_real[:, None, :]
    own = (index == index[:, None]) & leading[:, None, :]
    found = matmul(torch.where((seen | own)[:, None], scores, 0.0), right)
    if carried is not None:
        found = found + matmul(rows.to(carried), carried.squeeze(2))
    return found.unsqueeze(-2)


def last_sum(
    left: torch.Tensor,
    right: torch.Tensor,
    row_real: torch.Tensor,
    carried: torch.Tensor | None,
) -> torch.Tensor:
    """Σ leftᵀ right over the real tokens so far, the last moment's, [B, H, 1, f, c]."""
    wide = torch.promote_types(left.dtype, torch.float32)
    left = torch.where(row_real[:, None, :, None], left, 0.0).to(wide)
    total = matmul(left.transpose(-1, -2), right.to(wide)).unsqueeze(2)
    return total if carried is None else total + carried


def running_max(
    rows: torch.Tensor,
    row_real: torch.Tensor,
    leading: torch.Tensor,
    carried: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The maximum of rows [B, H, T, f] over the real tokens so far, [B, H, T, f, 1], and
    what is carried on, [B, H, 1, f, 2]: the last of it, and whether there is any.
    """
    real = row_real[:, None, :, None]
    top = torch.where(real, rows, -math.inf).cummax(2).values
    if carried is not None:
        before, begun = carried.unbind(-1)
        top = torch.maximum(top, torch.where(begun > 0, before, -math.inf))
    found = torch.where(leading[:, None, :, None], rows, top).unsqueeze(-1)
    last = top[:, :, -1:]
    begun = last > -math.inf
    return found, torch.stack((torch.where(begun, last, 0.0), begun.to(last)), -1)


def running_softmax(
    rows: torch.Tensor,
    values: torch.Tensor,
    row_real: torch.Tensor,
    leading: torch.Tensor,
    carried: torch.Tensor | None,
    outer: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of values over the real tokens so far, weighted by a softmax of rows
    [B, H, T, f] over these tokens, and what is carried on.

    `values`: [B, H, T, c], which each of the f weights goes with (`outer`), for a mean
    [B, H, T, f, c]; or [B, H, T, f], for one of [B, H, T, f, 1]. Carried are the sum of
    weighted values, that of the weights and their greatest exponent so far, by which both
    are scaled (Milakov and Gimelshein 2018): [B, H, 1, f, c or 1, and 2].
    """
    real = row_real[:, None, :, None]
    rows = torch.where(real, rows, -math.inf)
    own = values.unsqueeze(-2) if outer else values.unsqueeze(-1)
    values = torch.where(real, values, 0.0)
    # The scale has no part in the result, so that it needs no gradient.
    top = rows.detach().cummax(2).values
    if carried is not None:
        sums, weight, before = carried.split((carried.shape[-1] - 2, 1, 1), -1)
        before = torch.where(weight > 0, before, -math.inf).detach().squeeze(-1)
        top = torch.maximum(top, before)
    scale = torch.where(top > -math.inf, top, 0.0)
    # The weight of token j at moment t, [B, H, T, f, T].
    index = torch.arange(rows.shape[2], device=rows.device)
    seen = (index <= index[:, None])[:, None]
    exponents = rows.transpose(-1, -2).unsqueeze(2) - scale.unsqueeze(-1)
    weights = torch.where(seen, exponents, -math.inf).exp()
    if outer:
        total = matmul(weights, values.unsqueeze(2))
    else:
        total = (weights * values.transpose(-1, -2).unsqueeze(2)).sum(-1, keepdim=True)
    count = weights.sum(-1, keepdim=True)
    if carried is not None:
        faded = (before - scale).exp().unsqueeze(-1)
        total, count = total + faded * sums, count + faded * weight
    first = leading[:, None, :, None, None]
    found = torch.where(first, own, total / torch.where(first, 1.0, count))
    parts = (total, count, scale.unsqueeze(-1))
    return found, torch.cat([part[:, :, -1:] for part in parts], -1)


def running_count(
    real: torch.Tensor, at: torch.Tensor, like: torch.Tensor
) -> torch.Tensor:
    """How many tokens are real up to each moment, [B, 1, T, 1, 1]."""
    seen = real.cumsum(-1).gather(1, at.expand(real.shape[0], -1))
    return seen[:, None, :, None, None].to(like)


def gone_at(
    real: torch.Tensor,
    positions: torch.Tensor,
    at: torch.Tensor,
    places: tuple[Place, ...],
    radius: int | None,
    by_row: bool,
) -> torch.Tensor:
    """Where entries of a value are absent at moments, bool [B, 1, T or 1, N or 1, N or 1].

    `by_row`: the value is a row at each moment, or has rows of no tokens; else it has a
    row for every token.
    """
    tokens = real.shape[1]
    every = torch.arange(tokens, device=real.device)
    unseen = ~real[:, None, :] | (every > at[:, :, None])  # [B, T, N]
    found = torch.zeros((), dtype=torch.bool, device=real.device)
    if "rows" in places:
        found = found | unseen[:, None, :, :, None]
    if "cols" in places:
        found = found | unseen[:, None, :, None, :]
    if "band" in places:
        assert radius is not None
        mine = positions
        if by_row:
            mine = positions.expand(at.shape[0], -1).gather(
                1, at.expand(real.shape[0], -1)
            )
        apart = (mine[:, :, None] - positions[:, None, :]).abs() > radius
        apart = apart[:, None, :, None, :] if by_row else apart[:, None, None]
        found = found | apart
    if "future" in places:
        found = found | (every > every[:, None])
    return found
