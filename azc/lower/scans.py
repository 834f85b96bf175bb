"""Sums and maxima over the tokens so far at many moments, and masks at these moments.

Products and softmaxes are in `azc.lower.chunkwise` and `azc.lower.softmaxes`.

Compiled graphs call these functions. There are T moments, each at a token. `real` [B, N] and
`positions` [B or 1, N] describe all N tokens. `at` [B or 1, T] is the index of the token of
each moment, `row_real` [B, T] is True if it is real, and `leading` [B, T] is True if neither
it nor any token before it is real. `real`, `row_real` and `leading` are None if all tokens
are real. `carried` is the state that the previous moments left, None at the first moment.
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
    """Choose the tokens of the moments of the last M tokens.

    Padding is computed like the real token before it, or like the first real token. So
    no sum is over no tokens, and values and gradients that are finite at real tokens are
    finite in padding as well.

    Args:
        real: Mask of real tokens, bool [B, N].
        positions: The index of every token among the real ones, int64 [B, N].
        count: M.

    Returns:
        `at`, int64 [B, M], and `leading`, bool [B, M].
    """
    tokens = real.shape[1]
    position = real.cumsum(-1)[:, tokens - count :] - 1
    leading = position < 0
    at = places_by(positions).gather(1, position.clamp(min=0))
    # Without a real token among the last M nothing need be finite, so any of them will do.
    return torch.where(leading, at.clamp(min=tokens - count), at), leading


def index_of_rows(index: torch.Tensor) -> torch.Tensor:
    """Return the indices [B, M] of the rows that moments are computed with.

    An index below 0 is that of a token of an earlier call, whose rows are not available.
    Padding then uses its own row.
    """
    own = torch.arange(index.shape[1], device=index.device)
    return torch.where(index < 0, own, index)


def running_sum(
    terms: torch.Tensor,
    row_real: torch.Tensor | None,
    leading: torch.Tensor | None,
    carried: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum terms over the real tokens so far.

    Args:
        terms: The terms, [B, H, T, r, c].
        row_real: Mask of real tokens, bool [B, T].
        leading: Mask of the moments before the first real token, bool [B, T].
        carried: The sum over the previous moments, [B, H, 1, r, c].

    Returns:
        The sums, [B, H, T, r, c], and the last sum, [B, H, 1, r, c], to carry on.
    """
    present = terms
    if row_real is not None:
        present = terms.masked_fill(~row_real[:, None, :, None, None], 0.0)
    total = present.cumsum(2)
    if carried is not None:
        total = total + carried
    last = total[:, :, -1:].clone()  # a view would keep all sums in memory
    if leading is not None:
        total = torch.where(leading[:, None, :, None, None], terms, total)
    return total, last


def running_max(
    rows: torch.Tensor,
    row_real: torch.Tensor | None,
    leading: torch.Tensor | None,
    carried: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the maximum of each column over the real tokens so far.

    Args:
        rows: The rows, [B, H, T, f].
        row_real: Mask of real tokens, bool [B, T].
        leading: Mask of the moments before the first real token, bool [B, T].
        carried: The second result for the previous moments.

    Returns:
        The maxima, [B, H, T, f, 1], and the state to carry on, [B, H, 1, f, 2]: the last
        maximum, and 1 if there was a real token, else 0.
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
    """Count the real tokens up to each moment, [B or 1, 1, T, 1, 1], in the type of
    `like`.
    """
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
    """Return a mask of the absent entries of a value at moments.

    Args:
        real: Mask of real tokens, bool [B, N]; None if all are real.
        positions: The index of every token among the real ones, int64 [B or 1, N].
        at: The index of the token of each moment, int64 [B or 1, T].
        places: The places at which entries are absent.
        radius: The radius of the band.
        by_row: Whether the rows of the value are not tokens: the value is one row at each
            moment, for example. Otherwise it has a row for every token.

    Returns:
        A bool mask that broadcasts over the value, [B or 1, 1, T or 1, N or 1, N or 1].
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
