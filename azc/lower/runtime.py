"""Functions of compiled graphs for the places of tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from azc.lower.masks import holds, known_real

__all__ = [
    "Span",
    "alibi_slopes",
    "extended",
    "in_order",
    "memory_of",
    "newest",
    "order_of",
    "pack",
    "places_by",
    "positions_of",
    "rows_of",
    "span_of",
    "taken",
    "unpack",
    "within",
]


def positions_of(real: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Return the index of every token among the real ones.

    The padding of a sequence is counted after its real tokens, so that its tokens have
    different indices from 0 to N − 1.

    Args:
        real: Mask of real tokens, bool [B, N]; None if all are real.
        like: A tensor with N tokens, [B, N, C] or [B, H, N, D].

    Returns:
        The indices, int64 [B, N], or [1, N] if `real` is None.
    """
    if real is None:
        return torch.arange(like.shape[-2], device=like.device)[None]
    among_real = real.cumsum(-1)
    among_gone = (~real).cumsum(-1) + among_real[:, -1:]
    return torch.where(real, among_real, among_gone) - 1


def order_of(real: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor | None:
    """Return the index of the token at every position.

    Args:
        real: Mask of real tokens, bool [B, N]; None if all are real.
        positions: The index of every token among the real ones, int64 [B, N].

    Returns:
        The indices, int64 [B, N]; None if the real tokens of each sequence are known to
        be adjacent. That is known without padding, and on a CPU, where values are read.
    """
    if real is None:
        return None
    if real.device.type == "cpu" and not holds(real, _has_holes):
        return None
    return places_by(positions)


def places_by(positions: torch.Tensor) -> torch.Tensor:
    """Return the index of the token at every position: invert `positions`, int64 [B, N]."""
    places = torch.arange(positions.shape[1], device=positions.device)
    # Not a sort, because stable sorts can't be exported to ONNX.
    return torch.zeros_like(positions).scatter(
        -1, positions, places.expand_as(positions)
    )


def rows_of(memory: Any) -> torch.Tensor | None:
    """Return the indices of a layer's M new tokens among the N of its mask.

    Returns:
        int64 [M]; None if they are the last ones.
    """
    found: torch.Tensor | None = None if memory is None else memory.rows
    return found


def newest(
    x: torch.Tensor | None, like: torch.Tensor, rows: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Select the new tokens.

    Args:
        x: A tensor for N tokens, [B, N, …], or None.
        like: A tensor for the M new tokens, [B, M, …].
        rows: The indices of the new tokens, int64 [M]; None for the last ones.

    Returns:
        The rows of the new tokens, [B, M, …]; None if x is None.
    """
    if x is None:
        return None
    if rows is not None:
        return x.index_select(1, rows)
    start = x.shape[1] - like.shape[1]
    return x if start == 0 else x[:, start:]


class Span(NamedTuple):
    """The L tokens, out of N, that the new tokens can read within a reach.

    They are the last real tokens of each sequence that were cached, which are adjacent,
    followed by all tokens since.

    Attributes:
        real: Mask of real tokens, bool [B, L]; None if all are real.
        positions: The index of each token among all real tokens, int64 [B or 1, L].
        places: The index of each token among the real tokens of the span, int64
            [B or 1, L].
        order: The index of the token at every place, int64 [B, L]; None if the real
            tokens of each sequence are known to be adjacent.
        kept: The number of real tokens at the end to cache for later tokens; None to
            cache the whole span.
        at: The indices of these tokens, int64 [B, kept]; None if they are the last
            tokens of the span.
    """

    real: torch.Tensor | None
    positions: torch.Tensor
    places: torch.Tensor
    order: torch.Tensor | None
    kept: int | None = None
    at: torch.Tensor | None = None

    def last(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Select the part of a value to cache for later tokens.

        Args:
            x: A value of the tokens of the span, [B, L, C] for example.
            axis: The axis of the tokens.

        Returns:
            The part, [B, kept, C]; x itself if the whole span is cached.
        """
        if self.kept is None:
            return x
        if self.at is None:
            # A view would keep the memory of the whole value.
            return x.narrow(axis, x.shape[axis] - self.kept, self.kept).clone()
        if axis == -1:
            return taken(x.transpose(-1, -2), self.at).transpose(-1, -2)
        return taken(x, self.at)


def span_of(
    real: torch.Tensor | None,
    positions: torch.Tensor,
    order: torch.Tensor | None,
    base: int,
    reach: int,
    drops: bool,
) -> Span:
    """Return the span, out of N tokens, that new tokens can read.

    Args:
        real: Mask of real tokens, bool [B, N]; None if all are real.
        positions: The index of every token among the real ones, int64 [B or 1, N].
        order: The index of the token at every position, int64 [B, N], or None; see
            `order_of`.
        base: The number of tokens of which only the last `reach` real ones were cached;
            0 if no token was dropped.
        reach: The number of earlier tokens that a token reads.
        drops: Whether tokens out of reach are dropped from the cache now.
    """
    kept = reach if drops and positions.shape[1] > reach else None
    places = positions
    if base and real is None:
        places = positions = positions[:, base - reach :]
    elif base:
        assert real is not None
        before = real[:, :base].sum(-1, keepdim=True)
        return _span(before, positions[:, base:], real[:, base:], reach, kept)
    at = None if kept is None else _last_real(real, places, kept)
    return Span(real, positions, places, order, kept, at)


def _span(
    before: torch.Tensor,
    positions: torch.Tensor,
    real: torch.Tensor,
    reach: int,
    kept: int | None,
) -> Span:
    """Return the span of the last `reach` real tokens of a cache and of later tokens.

    Args:
        before: The number of real tokens before the later ones, [B, 1]. If it is less
            than `reach`, the span begins with padding.
        positions: The positions of the later tokens, [B, M].
        real: The mask of the later tokens, [B, M].
        reach: The number of cached tokens.
        kept: The number of tokens to cache afterwards, None for all.
    """
    slots = before - reach + torch.arange(reach, device=before.device)
    positions = torch.cat((slots, positions), 1)
    every = known_real(torch.cat((slots >= 0, real), 1))
    places = positions_of(every, positions[:, :, None])
    at = None if kept is None else _last_real(every, places, kept)
    return Span(every, positions, places, order_of(every, places), kept, at)


def _last_real(
    real: torch.Tensor | None, places: torch.Tensor, count: int
) -> torch.Tensor | None:
    """Return the indices of the last real tokens of each sequence, int64 [B, count].

    If there are fewer than `count`, the other indices are arbitrary. Return None if the
    tokens are known to be at the end. That is known without padding, and on a CPU, where
    values are read, if padding is only on the left.
    """
    if real is None:
        return None
    if real.device.type == "cpu" and holds(real, _only_at_the_left, unread=False):
        return None
    first = real.sum(-1, keepdim=True) - count
    wanted = first + torch.arange(count, device=real.device)
    return places_by(places).gather(1, wanted.clamp(min=0))


def within(
    memory: Any,
    reach: int,
    real: torch.Tensor | None,
    positions: torch.Tensor,
    order: torch.Tensor | None,
    rows: torch.Tensor,
) -> Span:
    """Return the span, out of N tokens, that the last M tokens can read.

    Args:
        memory: The layer's cache, None without one.
        reach: The number of earlier tokens that a token reads.
        real: Mask of real tokens, bool [B, N]; None if all are real.
        positions: The index of every token among the real ones, int64 [B or 1, N].
        order: The index of the token at every position, int64 [B, N], or None; see
            `order_of`.
        rows: The positions of the M new tokens, int64 [B or 1, M].
    """
    if memory is None:
        return Span(real, positions, positions, order)
    mine = memory.rows
    if mine is not None:
        assert real is not None
        seen = torch.arange(real.shape[1], device=real.device) < mine[:1]
        before = (real & seen).sum(-1, keepdim=True)
        own = positions.index_select(1, mine), real.index_select(1, mine)
        return _span(before, *own, reach, reach)
    past = positions.shape[1] - rows.shape[1]
    base = memory.base(past, reach)
    return span_of(real, positions, order, base, reach, not memory.record_past)


def _only_at_the_left(real: torch.Tensor) -> torch.Tensor:
    return (real[:, 1:] | ~real[:, :-1]).all()


def in_order(
    x: torch.Tensor | None, rows: torch.Tensor | None, axis: int, back: bool = False
) -> torch.Tensor | None:
    """Roll a value along its axis of tokens, so that the new tokens come last.

    Args:
        x: A value with N tokens along `axis`, or None.
        rows: The indices of the new tokens, int64 [M], side by side; None if they are the
            last ones already.
        axis: The axis of the tokens.
        back: Undo it.

    Returns:
        A value of the same shape.
    """
    if x is None or rows is None or x.shape[axis] == 1:
        return x
    tokens = x.shape[axis]
    shift = -rows[-1:] - 1 if back else rows[-1:] + 1
    index = (torch.arange(tokens, device=x.device) + shift) % tokens
    return x.index_select(axis, index)


def memory_of(cache: Any, layer: int) -> Any:
    """Return the cache of one layer, None without a cache."""
    return None if cache is None else cache.layers[layer]


def extended(
    x: torch.Tensor,
    memory: Any,
    key: str,
    axis: int,
    square: bool,
    reach: int | None,
    span: Span | None,
) -> torch.Tensor:
    """Extend a value of the new tokens by the cached values of earlier tokens.

    Args:
        x: The value of the new tokens, [B, H, M, c] for example.
        memory: The layer's cache, None without one.
        key: The name of the value in the cache.
        axis: The axis of the tokens.
        square: Whether x has a column for every token so far.
        reach: The number of earlier tokens that later tokens read, None for all.
        span: The tokens of the result; None if `reach` is None.

    Returns:
        The cached values followed by x, along `axis`; x itself without a cache. Without
        a reach, a cache of fixed size returns all its slots.
    """
    if memory is None:
        return x
    found: torch.Tensor = memory.extend(key, x, axis, square, reach, span)
    return found


def _has_holes(real: torch.Tensor) -> torch.Tensor:
    starts = real[:, :1].sum(-1) + (real[:, 1:] & ~real[:, :-1]).sum(-1)
    return (starts > 1).any()


def pack(x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """Move the real tokens of each sequence together.

    Args:
        x: A value that is 0 in padding, [B, N, C] or [B, H, N, C].
        order: The index of the token at every position, int64 [B, N]; None if the real
            tokens are adjacent already.
    """
    return x if order is None else taken(x, order)


def unpack(
    x: torch.Tensor, positions: torch.Tensor, order: torch.Tensor | None
) -> torch.Tensor:
    """Move tokens back to their places: undo `pack`.

    Args:
        x: A value of packed tokens, [B, N, C] or [B, H, N, C].
        positions: The position of every token, int64 [B, N].
        order: The order given to `pack`.
    """
    return x if order is None else taken(x, positions)


def taken(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Select the tokens at `index`, int64 [B, M], of x [B, N, C] or [B, H, N, C]."""
    if x.dim() == 4 and torch.compiler.is_compiling():
        # Rows may have N numbers, and can't be flattened in one graph for all lengths.
        every = index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        return x.gather(2, every)
    by_token = x if x.dim() == 3 else x.transpose(1, 2)
    batch, tokens = by_token.shape[:2]
    start = torch.arange(batch, device=index.device)[:, None] * tokens
    # `index_select` copies whole rows: `gather` takes ten times as long on a CPU.
    rows = by_token.flatten(0, 1).index_select(0, (index + start).flatten())
    made: torch.Tensor = rows.unflatten(0, (batch, index.shape[1]))
    return made if x.dim() == 3 else made.transpose(1, 2)


def alibi_slopes(heads: int, like: torch.Tensor) -> torch.Tensor:
    """Return the slope of each head (Press et al. 2022), [H, 1, 1], in the type of `like`."""
    power = 2 ** (int(heads).bit_length() - 1)
    # Converted before the division, so that float64 is exact.
    head = torch.arange(1, heads + 1, device=like.device).to(like)
    exponent = head * (-8.0 / power)
    if heads != power:
        other = (head - (power + 0.5)) * (-8.0 / power)
        exponent = torch.where(head <= power, exponent, other)
    return torch.exp2(exponent)[:, None, None]
