"""Softmaxes over the tokens so far, and maxima over them, in chunks (see `chunkwise`).

The scale of the weights changes with every moment. The weight of token j at moment t is
exp(x_j − m_t), where m_t is the largest exponent so far (Milakov and Gimelshein 2018). It
is the product of exp(x_j − m_h) and exp(m_h − m_t) for any h from j to t, and neither
factor is above 1. In a chunk of 2^L moments, take the smallest block of 2^l moments that has
j in its first half and t in its second half, and let h be the last moment of the first half.
Then token j has only L different first factors, and moment t only L second factors. (The
order of these sums is that of Sklansky 1960; decays between chunks follow Yang et al. 2024.)

Nothing that a moment reads depends on later tokens, so its rounding does not, either.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from azc.lower.chunkwise import (
    in_chunks,
    one_later,
    present,
    side_by_side,
)
from azc.lower.exact import matmul

__all__ = [
    "SoftmaxMean",
    "read_mean",
    "running_softmax",
    "running_top",
    "softmax_mean",
]

CHUNK = 32  # moments in a chunk, a power of 2


class Factors(NamedTuple):
    """The weights between the moments of a chunk, for each of the L sizes of blocks.

    Attributes:
        left: The factor by which weights decay from the end of the first half of a block
            to each moment, [B, H, K, L, C, f]; 0 in the first half.
        right: The weight of each token at the end of the first half of a block,
            [B, H, K, L, C, f]; 0 in the second half.
        seen: 1 if a moment is in the second half and a token in the first half of the
            same block, else 0; [L, C, C].
    """

    left: torch.Tensor
    right: torch.Tensor
    seen: torch.Tensor

    def sums(self, values: torch.Tensor | None = None) -> torch.Tensor:
        """Sum the weights of the tokens before each moment in its chunk.

        Args:
            values: Factors of the weights, [B, H, K, C, f]; None for 1.

        Returns:
            The sums, [B, H, K, C, f].
        """
        right = self.right
        if values is not None:
            right = right * values.unsqueeze(3)
        return (self.left * matmul(self.seen, right)).sum(3)


def _factors(exponents: torch.Tensor, top: torch.Tensor) -> Factors:
    """Compute the weights between the moments of each chunk.

    Args:
        exponents: The exponents, [B, H, K, C, f].
        top: The largest exponent so far, [B, H, K, C, f].
    """
    length = exponents.shape[3]
    levels = length.bit_length() - 1
    index = torch.arange(length, device=top.device)
    # Sizes of half a block, as constants: Inductor has no powers of an index.
    sizes = [2**i for i in range(levels)]
    size = torch.tensor(sizes, dtype=torch.int64, device=top.device)[:, None]
    block = index // (2 * size)
    first = index // size % 2 == 0
    end = top.index_select(3, (block * 2 * size + size - 1).flatten())
    end = end.unflatten(3, (levels, length))
    left = (end - top.unsqueeze(3)).masked_fill(first[:, :, None], -math.inf).exp()
    right = exponents.unsqueeze(3) - end
    right = right.masked_fill(~first[:, :, None], -math.inf).exp()
    seen = ~first[:, :, None] & first[:, None, :]
    seen = seen & (block[:, :, None] == block[:, None, :])
    return Factors(left, right, seen.to(top.dtype))


class SoftmaxMean(NamedTuple):
    """The mean of values over the tokens so far, weighted by a softmax over these tokens of
    each of f columns of exponents.

    Attributes:
        exponents: The exponents in chunks, [B, H, K, C, f], −∞ in padding.
        top: The largest exponent so far, [B, H, K, C, f]. The sums at each moment are
            scaled by exp(−top).
        own: The weight of each moment's own token, [B, H, K, C, f].
        factors: The weights of the tokens before each moment in its chunk.
        weight: The sum of all weights at each moment, [B, H, K, C, f].
        values: The values in chunks, [B, H, K, C, c], 0 in padding.
        before: The sums of weighted values over everything before each chunk,
            [B, H, K, f, c]; None if there is only one chunk and nothing before it.
        fade: The factor of `before` at each moment, [B, H, K, C, f]; None likewise.
        last: The sums over all moments, of weighted values and of weights, and their
            scale, [B, H, 1, f, c + 2].
        rows: The values [B, H, T, c] with their padding.
    """

    exponents: torch.Tensor
    top: torch.Tensor
    own: torch.Tensor
    factors: Factors
    weight: torch.Tensor
    values: torch.Tensor
    before: torch.Tensor | None
    fade: torch.Tensor | None
    last: torch.Tensor
    rows: torch.Tensor


def softmax_mean(
    exponents: torch.Tensor,
    values: torch.Tensor,
    row_real: torch.Tensor | None,
    leading: torch.Tensor | None,
    carried: torch.Tensor | None,
    outer: bool = True,
) -> SoftmaxMean:
    """Average values over the real tokens so far with the weights of a softmax.

    Args:
        exponents: The exponents of the weights, [B, H, T, f].
        values: The values, [B, H, T, c], or [B, H, T, f] without `outer`.
        row_real: Mask of real tokens, bool [B, T]; None if all are real.
        leading: Mask of the moments before the first real token, bool [B, T]; None if
            all are real.
        carried: `last` of the previous moments, [B, H, 1, f, c + 2]; c is 1 without
            `outer`. None if there are none.
        outer: Average each column of values with each of the f columns of weights; else
            each with its own column of weights.
    """
    rows = values
    exponents = present(exponents, row_real, -math.inf)
    exponents = in_chunks(exponents, CHUNK, -math.inf)
    values = in_chunks(present(values, row_real, 0.0), CHUNK)
    first, scale = _first(exponents, values.shape[-1] if outer else 1, carried)
    # The scale cancels in the result, so that it needs no gradient.
    top = torch.maximum(_top_so_far(exponents.detach()), scale.unsqueeze(3))
    own = (exponents - top).exp()
    factors = _factors(exponents, top)
    weight = own + factors.sums()
    ends = top[:, :, :, -1]
    weights = (exponents - ends.unsqueeze(3)).exp()
    if outer:
        sums = matmul(weights.transpose(-1, -2), values)
    else:
        sums = (weights * values).sum(3).unsqueeze(-1)
    sums = torch.cat((sums, weights.sum(3).unsqueeze(-1)), -1)
    states, starts, last = _over_chunks(sums, ends, first, scale)
    before = fade = None
    if carried is not None or sums.shape[2] > 1:
        before = states[..., :-1]
        fade = (starts.unsqueeze(3) - top).exp()
        weight = weight + fade * states[..., -1].unsqueeze(3)
    if leading is not None:  # where all weights are 0
        alone = leading.to(weight)[:, None, :, None]
        weight = weight + in_chunks(alone, CHUNK, 1.0)
    return SoftmaxMean(
        exponents, top, own, factors, weight, values, before, fade, last, rows
    )


def _first(
    exponents: torch.Tensor, width: int, carried: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums before the first moment, and their scale.

    Returns:
        The sums of weighted values and of weights, [B, H, 1, f, c + 1], and the scale,
        [B, H, 1, f]: the lowest finite number if the sums are empty.
    """
    least = torch.finfo(exponents.dtype).min
    if carried is None:
        shape = (*exponents.shape[:2], 1, exponents.shape[-1])
        scale = exponents.new_full(shape, least)
        return exponents.new_zeros((*shape, width + 1)), scale
    sums, scale = carried[..., :-1], carried[..., -1].detach()
    return sums, torch.where(sums[..., -1] > 0, scale, least)


def _over_chunks(
    sums: torch.Tensor, tops: torch.Tensor, first: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Add up the sums of chunks.

    Args:
        sums: The sum of each chunk, [B, H, K, f, c].
        tops: The scale of each sum, which is that at the end of the chunk, [B, H, K, f].
        first: The sum before the first chunk, [B, H, 1, f, c].
        scale: The scale of `first`, [B, H, 1, f].

    Returns:
        The sums before each chunk, [B, H, K, f, c]; their scales, [B, H, K, f]; and the
        sum over all chunks with its scale, [B, H, 1, f, c + 1].
    """
    count = sums.shape[2]
    starts = one_later(tops, scale)
    before = first * (scale - starts).exp().unsqueeze(-1)
    if count > 1:
        apart = tops.transpose(2, 3).unsqueeze(-2) - starts.transpose(2, 3).unsqueeze(
            -1
        )
        index = torch.arange(count, device=sums.device)
        fade = apart.masked_fill(index >= index[:, None], -math.inf).exp()
        before = before + matmul(fade, sums.transpose(2, 3)).transpose(2, 3)
    ends = tuple(x.narrow(2, count - 1, 1) for x in (before, starts, tops, sums))
    last = ends[0] * (ends[1] - ends[2]).exp().unsqueeze(-1) + ends[3]
    return before, starts, torch.cat((last, ends[2].unsqueeze(-1)), -1)


def read_mean(
    query: torch.Tensor, mean: SoftmaxMean, leading: torch.Tensor | None
) -> torch.Tensor:
    """Multiply a query with the mean so far, at every moment.

    Args:
        query: The query rows, [B, H, T, 1, f].
        mean: The mean.
        leading: Mask of the moments before the first real token, bool [B, T]. They read
            only their own token.

    Returns:
        query @ mean, [B, H, T, 1, c].
    """
    rows, factors = query.squeeze(-2), mean.factors
    chunks = in_chunks(rows, CHUNK) / mean.weight
    found = (chunks * mean.own).sum(-1, keepdim=True) * mean.values
    left = chunks.unsqueeze(3) * factors.left
    scores = matmul(left, factors.right.transpose(-1, -2)) * factors.seen
    found = found + matmul(scores.sum(3), mean.values)
    if mean.before is not None and mean.fade is not None:
        found = found + matmul(chunks * mean.fade, mean.before)
    found = side_by_side(found, rows.shape[2])
    if leading is not None:
        alone = rows.sum(-1, keepdim=True) * mean.rows
        found = torch.where(leading[:, None, :, None], alone, found)
    return found.unsqueeze(-2)


def running_softmax(
    exponents: torch.Tensor,
    values: torch.Tensor,
    row_real: torch.Tensor | None,
    leading: torch.Tensor | None,
    carried: torch.Tensor | None,
    outer: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average values as `softmax_mean` does, and form the means.

    Returns:
        The means at every moment, [B, H, T, f, c], or [B, H, T, f, 1] without `outer`;
        and the state to carry on, `SoftmaxMean.last`.
    """
    mean = softmax_mean(exponents, values, row_real, leading, carried, outer)
    if outer:
        total = _outer_sums(mean)
    else:
        total = mean.own * mean.values + mean.factors.sums(mean.values)
        total = total.unsqueeze(-1)
    if mean.before is not None and mean.fade is not None:
        total = total + mean.fade.unsqueeze(-1) * mean.before.unsqueeze(3)
    found = side_by_side(total / mean.weight.unsqueeze(-1), values.shape[2])
    if leading is not None:
        alone = values.unsqueeze(-2 if outer else -1)
        found = torch.where(leading[:, None, :, None, None], alone, found)
    return found, mean.last


def _outer_sums(mean: SoftmaxMean) -> torch.Tensor:
    """Sum the outer products of weights and values so far in the chunk of each moment,
    [B, H, K, C, f, c].
    """
    length = mean.top.shape[3]
    index = torch.arange(length, device=mean.top.device)
    apart = mean.exponents.transpose(-1, -2).unsqueeze(3) - mean.top.unsqueeze(-1)
    later = (index > index[:, None])[:, None, :]
    weights = apart.masked_fill(later, -math.inf).exp()  # [B, H, K, C, f, C]
    sums = matmul(weights.flatten(3, 4), mean.values)
    made: torch.Tensor = sums.unflatten(3, (length, mean.top.shape[4]))
    return made


# Maxima


def running_top(rows: torch.Tensor) -> torch.Tensor:
    """Return the largest entry of each column so far, of rows [B, H, T, f]."""
    if not torch.compiler.is_exporting():
        return rows.cummax(2).values
    top = _top_so_far(in_chunks(rows, CHUNK, -math.inf))
    return side_by_side(top, rows.shape[2])


def _top_so_far(chunks: torch.Tensor) -> torch.Tensor:
    """Return the largest entry of each column up to each moment, [B, H, K, C, f]."""
    if not torch.compiler.is_exporting():
        top: torch.Tensor = chunks.flatten(2, 3).cummax(2).values
        by_chunk: torch.Tensor = top.unflatten(2, chunks.shape[2:4])
        return by_chunk
    # ONNX has no running maximum.
    ends, step = chunks.amax(3), 1
    while step < chunks.shape[3]:
        earlier = F.pad(chunks, (0, 0, step, -step), value=-math.inf)
        chunks, step = torch.maximum(chunks, earlier), 2 * step
    index = torch.arange(ends.shape[2], device=ends.device)
    before = torch.where(
        (index < index[:, None])[:, :, None], ends.unsqueeze(2), -math.inf
    )
    return torch.maximum(chunks, before.amax(3).unsqueeze(3))
