"""Functions that compiled graphs call: where tokens stand."""

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
    """The index of every token among the real ones, int64 [B, N]; [1, N] where all are,
    which have the length of `like`, [B, N, C] or [B, H, N, D].

    The padding of a sequence is counted after its real tokens, so that no two tokens of
    a sequence have the same index, and none is beyond N − 1.
    """
    if real is None:
        return torch.arange(like.shape[-2], device=like.device)[None]
    among_real = real.cumsum(-1)
    among_gone = (~real).cumsum(-1) + among_real[:, -1:]
    return torch.where(real, among_real, among_gone) - 1


def order_of(real: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor | None:
    """Where the token of every position stands, int64 [B, N]; None where neighbours are
    known to stand side by side: without padding, and on the CPU without holes in it.
    """
    if real is None:
        return None
    if real.device.type == "cpu" and not holds(real, _has_holes):
        return None
    return places_by(positions)


def places_by(positions: torch.Tensor) -> torch.Tensor:
    """Where the token of every position [B, N] stands, int64 [B, N]."""
    places = torch.arange(positions.shape[1], device=positions.device)
    # Without a sort: those that keep the order of equals can't be exported to ONNX.
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
    """Of what is told of N tokens, [B, N, …], that of the M at `rows`, None: the last ones;
    `like` is [B, M, …].
    """
    if x is None:
        return None
    if rows is not None:
        return x.index_select(1, rows)
    start = x.shape[1] - like.shape[1]
    return x if start == 0 else x[:, start:]


class Span(NamedTuple):
    """Of N tokens those that the next ones can read, L of them: the last real ones of
    each sequence that were kept, side by side, and then all that came since.

    `real`: bool [B, L], None where all are; `positions`: int64 [B or 1, L], the index of
    each among all real tokens; `places`: among these alone; `order`: int64 [B, L], where
    the token of every place stands, None where neighbours stand side by side. What is
    kept of these for later tokens: all, or the last `kept` real ones, which stand at
    `at` [B, kept], or None, at the end.
    """

    real: torch.Tensor | None
    positions: torch.Tensor
    places: torch.Tensor
    order: torch.Tensor | None
    kept: int | None = None
    at: torch.Tensor | None = None

    def last(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """What is kept of a value of these tokens, which are along an axis."""
        if self.kept is None:
            return x
        if self.at is None:
            # And not the memory of what it is a part of.
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
    """Of N tokens, of which all are told that `Padding` has, those that can be read where
    the last `reach` of the first `base` are kept; of base 0 all are. `drops`: what is out
    of reach is not kept.
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
    """Return the span of the last `reach` of `before` real tokens [B, 1] and of the tokens
    behind them, whose positions and mask are [B, M]. Where there are fewer tokens than
    `reach`, the others are padding.
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
    """Where the last real tokens of each sequence stand, int64 [B, count]; anywhere those
    that there are not. None: at the end, without padding, and on the CPU where it is on
    the left alone.
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
    """Of N tokens, of which all are told that `Padding` has, those that the last M can
    read that reach so far back; `rows` is [B or 1, M].
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
    """What is remembered of a layer, None where nothing is."""
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
    """A value of the tokens that a model is called with, and before it, along an axis,
    that of earlier tokens, which are remembered under a name. `square`: the value has
    a column for every token so far. `span`: those within a reach, where there is one.
    """
    if memory is None:
        return x
    found: torch.Tensor = memory.extend(key, x, axis, square, reach, span)
    return found


def _has_holes(real: torch.Tensor) -> torch.Tensor:
    starts = real[:, :1].sum(-1) + (real[:, 1:] & ~real[:, :-1]).sum(-1)
    return (starts > 1).any()


def pack(x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """[B, N, C] or [B, H, N, C], 0 in padding, with neighbours side by side."""
    return x if order is None else taken(x, order)


def unpack(
    x: torch.Tensor, positions: torch.Tensor, order: torch.Tensor | None
) -> torch.Tensor:
    """Undoes `pack`."""
    return x if order is None else taken(x, positions)


def taken(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The tokens at `index` [B, M] of [B, N, C] or [B, H, N, C]."""
    if x.dim() == 4 and torch.compiler.is_compiling():
        # Rows of N numbers can't be laid side by side in one graph for all lengths.
        every = index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        return x.gather(2, every)
    by_token = x if x.dim() == 3 else x.transpose(1, 2)
    batch, tokens = by_token.shape[:2]
    start = torch.arange(batch, device=index.device)[:, None] * tokens
    # Whole rows at once: `gather` takes ten times as long on a CPU.
    rows = by_token.flatten(0, 1).index_select(0, (index + start).flatten())
    made: torch.Tensor = rows.unflatten(0, (batch, index.shape[1]))
    return made if x.dim() == 3 else made.transpose(1, 2)


def alibi_slopes(heads: int, like: torch.Tensor) -> torch.Tensor:
    """The slope of each head (Press et al. 2022), [H, 1, 1], typed as a tensor."""
    power = 2 ** (int(heads).bit_length() - 1)
    # Before the division: float64 stays exact.
    head = torch.arange(1, heads + 1, device=like.device).to(like)
    exponent = head * (-8.0 / power)
    if heads != power:
        other = (head - (power + 0.5)) * (-8.0 / power)
        exponent = torch.where(head <= power, exponent, other)
    return torch.exp2(exponent)[:, None, None]
