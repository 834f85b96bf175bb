"""Functions that compiled graphs call: where tokens stand."""

from __future__ import annotations

from typing import Any

import torch

from azc.lower.masks import holds

__all__ = [
    "alibi_slopes",
    "extended",
    "memory_of",
    "newest",
    "order_of",
    "pack",
    "positions_of",
    "recent",
    "taken",
    "unpack",
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
    places = torch.arange(positions.shape[1], device=positions.device)
    # Without a sort: those that keep the order of equals can't be exported to ONNX.
    return torch.zeros_like(positions).scatter(
        -1, positions, places.expand_as(positions)
    )


def newest(x: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    """Of what is told of N tokens, [B, N, …], that of the last M; `like` is [B, M, …]."""
    if x is None:
        return None
    start = x.shape[1] - like.shape[1]
    return x if start == 0 else x[:, start:]


def recent(
    x: torch.Tensor, rows: torch.Tensor, order: torch.Tensor | None, before: int
) -> torch.Tensor:
    """Of N tokens, [B, N, C] or [B, H, N, C], the last M and so many before them, where
    neighbours are known to stand side by side; else all. `rows` is [B or 1, M].
    """
    count = rows.shape[1]
    if order is not None or x.shape[-2] == count:
        return x
    return x[..., max(0, x.shape[-2] - count - before) :, :]


def memory_of(cache: Any, layer: int) -> Any:
    """What is remembered of a layer, None where nothing is."""
    return None if cache is None else cache.layers[layer]


def extended(
    x: torch.Tensor, memory: Any, key: str, axis: int, square: bool
) -> torch.Tensor:
    """A value of the tokens that a model is called with, and before it, along an axis,
    that of earlier tokens, which are remembered under a name. `square`: the value has
    a column for every token so far.
    """
    if memory is None:
        return x
    found: torch.Tensor = memory.extend(key, x, axis, square)
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
