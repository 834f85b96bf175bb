"""Which entries of values are absent, as compiled graphs compute it.

A mask is None where nothing is absent, and what would be filled then stays as it is: a
batch without padding costs no copy. `real` is a bool tensor, True at real tokens, or None
where all are.

Codes: U002 the inputs of a program have different or invalid shapes; U004 a mask does
not match its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch

from azc.diagnostics import UsageError
from azc.ops.contract import Place

__all__ = [
    "column",
    "filled",
    "gone",
    "holds",
    "is_recorded",
    "known_real",
    "mask_fault",
    "padding",
    "real_tokens",
    "token_padding",
]

Inputs = dict[str, torch.Tensor]


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


def is_recorded() -> bool:
    """Return whether operations are only recorded, so that no value can be read: under
    `torch.compile`, a trace or an export, and while a CUDA graph is captured.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    if traced or torch.compiler.is_compiling():
        return True
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


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


def known_real(mask: torch.Tensor) -> torch.Tensor | None:
    """A mask [B, N] as bool; None where all tokens are known to be real: on a GPU one
    would have to wait to know.
    """
    real = mask.bool()
    if mask.device.type == "cpu" and not holds(real, lambda real: ~real.all()):
        return None
    return real


def real_tokens(mask: torch.Tensor | None, inputs: Inputs) -> torch.Tensor | None:
    """The mask [B, N] as bool, None where nothing is padded.

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
    if mask is None:
        return None
    fault = mask_fault("mask", mask, like.shape[0], like.shape[2])
    if fault is not None:
        raise UsageError("U004", *fault)
    return known_real(mask)


def padding(real: torch.Tensor | None) -> torch.Tensor | None:
    """bool [B, N], True in padding."""
    return None if real is None else ~real


def token_padding(real: torch.Tensor | None) -> torch.Tensor | None:
    """bool [B, N, 1], True in padding."""
    return None if real is None else ~real[:, :, None]


def column(mask: torch.Tensor | None) -> torch.Tensor | None:
    """[B, N] as [B, 1, N, 1]."""
    return None if mask is None else mask[:, None, :, None]


def gone(
    rows: torch.Tensor | None,
    columns: torch.Tensor | None,
    row_positions: torch.Tensor | None,
    positions: torch.Tensor | None,
    at: torch.Tensor | None,
    places: tuple[Place, ...],
    radius: int | None,
    spare: bool,
    inhabited: bool,
) -> torch.Tensor | None:
    """Where entries of a value [B, H, r, c] are absent, bool, broadcasts over it.

    `rows` and `columns`: which tokens are real, bool [B, M] and [B, N]; positions, int64
    [B or 1, M] and [B or 1, N], where `places` ask for them. `at`: which of the N tokens the
    rows are of, int64 [M]; None: the last ones.

    With `spare` no row is all True: a sequence that is padding alone counts as real,
    unless it is known that there is none (`inhabited`), and neither a window nor the
    future is laid over the rows of padding.
    """
    parts: list[torch.Tensor] = []

    def add(real: torch.Tensor | None) -> torch.Tensor | None:
        found = padding(real)
        if found is None or not spare or inhabited:
            return found
        assert real is not None
        every = real if columns is None else columns
        return found & every.any(-1, keepdim=True)

    if "rows" in places and rows is not None:
        parts.append(column(add(rows)))  # type: ignore[arg-type]
    if "cols" in places and columns is not None:
        parts.append(add(columns)[:, None, None, :])  # type: ignore[index]
    beyond = _beyond(row_positions, positions, at, places, radius)
    if beyond is not None:
        real = column(rows) if spare else None
        parts.append(beyond if real is None else beyond & real)
    return reduce(torch.logical_or, parts) if parts else None


def _beyond(
    row_positions: torch.Tensor | None,
    positions: torch.Tensor | None,
    at: torch.Tensor | None,
    places: tuple[Place, ...],
    radius: int | None,
) -> torch.Tensor | None:
    """What is outside of a window, or in the future; bool [B or 1, 1, M, N]."""
    found: torch.Tensor | None = None
    if "band" in places:
        assert radius is not None
        assert row_positions is not None
        assert positions is not None
        apart = (row_positions[:, :, None] - positions[:, None, :]).abs()
        found = (apart > radius)[:, None]
    if "future" in places:
        assert row_positions is not None
        assert positions is not None
        count, tokens = row_positions.shape[1], positions.shape[1]
        if count > 1:  # the last token has no future
            every = torch.arange(tokens, device=positions.device)
            mine = every[tokens - count :] if at is None else at
            later = (every > mine[:, None])[None, None]
            found = later if found is None else found | later
    return found


def filled(x: torch.Tensor, gone: torch.Tensor | None, value: float) -> torch.Tensor:
    """A value with a number in its absent entries."""
    return x if gone is None else x.masked_fill(gone, value)
