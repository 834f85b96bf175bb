"""Functions that compiled graphs call: masks, and where tokens stand.

Codes: U002 inputs of a program are not of one shape; U004 a mask does not fit its
inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from azc.diagnostics import UsageError

__all__ = [
    "holds",
    "mask_fault",
    "order_of",
    "pack",
    "positions_of",
    "real_tokens",
    "taken",
    "unpack",
]


def holds(
    tensor: torch.Tensor,
    condition: Callable[[torch.Tensor], Any],
    unread: bool = True,
) -> bool:
    """Whether a condition holds for the values of a tensor; `unread` where they can't be
    read: under `torch.compile`, a trace and `vmap`, in an export, in a CUDA graph, on
    the meta device. Values on a GPU are waited for.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    if traced or torch.compiler.is_compiling():
        return unread
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        return unread
    try:
        return bool(condition(tensor.detach()))
    except RuntimeError:  # tensors without data of their own say so in many ways
        return unread


def _zeros_and_ones(mask: torch.Tensor) -> torch.Tensor:
    return ((mask == 0) | (mask == 1)).all()


def mask_fault(
    name: str, mask: torch.Tensor, batch: int | torch.SymInt, tokens: int | torch.SymInt
) -> tuple[str, str] | None:
    """What is wrong with a mask and what is wanted of it; None where nothing is.

    A bool mask is not looked into. Of another type it must hold 0 and 1 alone: one that
    is added to scores (0 and −∞) means the opposite.
    """
    wanted = "True or 1 at real tokens, False or 0 in padding"
    if tuple(mask.shape) != (batch, tokens):
        shape = list(mask.shape)
        return f"{name} is [B, N] = [{batch}, {tokens}]; got {shape}", wanted
    if mask.dtype != torch.bool and not holds(mask, _zeros_and_ones):
        return f"{name} is bool, or 0 and 1; it holds other numbers", wanted
    return None


def real_tokens(
    mask: torch.Tensor | None, inputs: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """The mask [B, N] as bool, all True where there is none.

    `inputs`: tensors [B, H, N, D] by name. Raises `UsageError` for inputs that are not
    or are of unlike shapes, and for a mask of another shape or of other numbers than 0
    and 1.
    """
    (first, like), *rest = inputs.items()
    for name, tensor in inputs.items():
        if tensor.dim() != 4:
            shape = list(tensor.shape)
            raise UsageError(
                "U002", f"inputs are tensors [B, H, N, D]; {name} is {shape}"
            )
    for name, tensor in rest:
        if tensor.shape != like.shape:
            shapes = f"{first} is {list(like.shape)}, {name} is {list(tensor.shape)}"
            raise UsageError("U002", f"inputs are of one shape [B, H, N, D]; {shapes}")
    batch, tokens = like.shape[0], like.shape[2]
    if mask is None:
        return torch.ones((batch, tokens), dtype=torch.bool, device=like.device)
    fault = mask_fault("mask", mask, batch, tokens)
    if fault is not None:
        raise UsageError("U004", *fault)
    return mask.bool()


def positions_of(mask: torch.Tensor | None, real: torch.Tensor) -> torch.Tensor:
    """The index of every token among the real ones, int64 [B, N]; [1, N] where there is
    no mask.

    The padding of a sequence is counted after its real tokens, so that no two tokens of
    a sequence have the same index, and none is beyond N − 1.
    """
    if mask is None:
        return torch.arange(real.shape[1], device=real.device)[None]
    among_real = real.cumsum(-1)
    among_gone = (~real).cumsum(-1) + among_real[:, -1:]
    return torch.where(real, among_real, among_gone) - 1


def order_of(mask: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor | None:
    """Where the token of every position stands, int64 [B, N]; None where neighbours are
    known to stand side by side: without a mask, and on the CPU without holes in it.
    """
    if mask is None:
        return None
    if mask.device.type == "cpu" and not holds(mask, _has_holes):
        return None
    places = torch.arange(positions.shape[1], device=positions.device)
    # Without a sort: those that keep the order of equals can't be exported to ONNX.
    return torch.zeros_like(positions).scatter(
        -1, positions, places.expand_as(positions)
    )


def _has_holes(mask: torch.Tensor) -> torch.Tensor:
    real = mask.bool()
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
