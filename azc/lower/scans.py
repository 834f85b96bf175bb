"""What the values of a causal program come to at many moments: sums and maxima over the
tokens so far, and what is absent then. (`azc.lower.chunkwise` has the rest.)

Compiled graphs call these. There are T moments, each that of a token; `real` and
`positions` are of all N tokens, `at` [B or 1, T] says which token each moment is that of,
`row_real` [B, T] whether it is real, and `leading` [B, T] whether no real token is before
it or is it; `real`, `row_real` and `leading` are None where all tokens are real. What is
`carried` comes from the moments before, None at the first.
"""

from __future__ import annotations

import math

import torch

from azc.lower.runtime import places_by
from azc.lower.softmaxes import running_top
from azc.ops.contract import Place

__all__ = [
    "gone_at",
    "index_of_rows",
    "moments_of",
    "running_count",
    "running_max",
    "running_sum",
]


def moments_of(
    real: torch.Tensor, positions: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the last M tokens of each sequence: the token that each is computed as, [B, M],
    and whether no real token is before it or is it, bool [B, M].

    Padding is computed as the real token before it is, or as the first one: so nothing
    is a sum of no tokens, and what is finite at real tokens, and has a finite gradient
    there, is so in padding. `positions`: int64 [B, N], which count the real tokens.
    """
    tokens = real.shape[1]
    position = real.cumsum(-1)[:, tokens - count :] - 1
    leading = position < 0
    at = places_by(positions).gather(1, position.clamp(min=0))
    # Without a real token among the last ones there is nothing that must be finite.
    return torch.where(leading, at.clamp(min=tokens - count), at), leading


def index_of_rows(index: torch.Tensor) -> torch.Tensor:
    """The rows [B, M] that moments are computed with. An index below 0 is of a token that
    is not at hand: padding is then computed as itself.
    """
    own = torch.arange(index.shape[1], device=index.device)
    return torch.where(index < 0, own, index)


def running_sum(
    terms: torch.Tensor,
    row_real: torch.Tensor | None,
    leading: torch.Tensor | None,
    carried: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of terms [B, H, T, r, c] over the real tokens so far, and the last of it."""
    present = terms
    if row_real is not None:
        present = terms.masked_fill(~row_real[:, None, :, None, None], 0.0)
    total = present.cumsum(2)
    if carried is not None:
        total = total + carried
    last = total[:, :, -1:].clone()  # and not what it is a part of
    if leading is not None:
        total = torch.where(leading[:, None, :, None, None], terms, total)
    return total, last


def running_max(
    rows: torch.Tensor,
    row_real: torch.Tensor | None,
    leading: torch.Tensor | None,
    carried: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The maximum of rows [B, H, T, f] over the real tokens so far, [B, H, T, f, 1], and
    what is carried on, [B, H, 1, f, 2]: the last of it, and whether there is any.
    """
    present = rows
    if row_real is not None:
        present = rows.masked_fill(~row_real[:, None, :, None], -math.inf)
    top = running_top(present)
    if carried is not None:
        before, begun = carried.unbind(-1)
        top = torch.maximum(top, torch.where(begun > 0, before, -math.inf))
    last = top[:, :, -1:]
    begun = last > -math.inf
    if leading is not None:
        top = torch.where(leading[:, None, :, None], rows, top)
    last = torch.stack((torch.where(begun, last, 0.0), begun.to(last)), -1)
    return top.unsqueeze(-1), last


def running_count(
    real: torch.Tensor | None, at: torch.Tensor, like: torch.Tensor
) -> torch.Tensor:
    """How many tokens are real up to each moment, [B or 1, 1, T, 1, 1]."""
    seen = at + 1
    if real is not None:
        seen = real.cumsum(-1).gather(1, at)
    return seen[:, None, :, None, None].to(like)


def gone_at(
    real: torch.Tensor | None,
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
    every = torch.arange(positions.shape[1], device=positions.device)
    unseen = every > at[:, :, None]  # [B, T, N]
    if real is not None:
        unseen = unseen | ~real[:, None, :]
    found = torch.zeros((), dtype=torch.bool, device=positions.device)
    if "rows" in places:
        found = found | unseen[:, None, :, :, None]
    if "cols" in places:
        found = found | unseen[:, None, :, None, :]
    if "band" in places:
        assert radius is not None
        mine = positions
        if by_row:
            mine = positions.gather(1, at)
        apart = (mine[:, :, None] - positions[:, None, :]).abs() > radius
        apart = apart[:, None, :, None, :] if by_row else apart[:, None, None]
        found = found | apart
    if "future" in places:
        found = found | (every > every[:, None])
    return found
