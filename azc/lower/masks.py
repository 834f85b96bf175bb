"""Masks in compiled graphs: which entries of a value are absent.

A mask is None if nothing is absent. Filling then returns the value itself, so that a batch
without padding costs no copy. `real` is a bool tensor, True at real tokens, or None if all
tokens are real.

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
    """Return whether a condition holds for the values of a tensor.

    Reading values on a GPU synchronizes with it.

    Args:
        tensor: The tensor, of any shape, [B, N] for example.
        condition: Returns a bool, or a tensor of one element.
        unread: The result if the values can't be read: under `torch.compile`, a trace
            or `vmap`, in an export, while a CUDA graph is captured, and on the meta
            device.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    if traced or torch.compiler.is_compiling():
        return unread
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        return unread
    try:
        return bool(condition(tensor.detach()))
    except RuntimeError:  # raised, in many ways, by tensors without data
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
    """Check a mask of real tokens.

    The values of a bool mask are not read. A mask of another type must hold only 0 and
    1: one that is added to scores (0 and −∞) means the opposite.

    Args:
        name: The name of the mask, for the message.
        mask: The mask, [B, N].
        batch: The batch size B of the inputs.
        tokens: The number of tokens N of the inputs.

    Returns:
        The error and the fix; None if the mask is valid.
    """
    wanted = "True or 1 at real tokens, False or 0 in padding"
    if tuple(mask.shape) != (batch, tokens):
        shape = list(mask.shape)
        return f"{name} must be [B, N] = [{batch}, {tokens}]; got {shape}", wanted
    if mask.dtype != torch.bool and not holds(mask, _zeros_and_ones):
        return (
            f"{name} must be bool or hold only 0 and 1, but holds other numbers",
            wanted,
        )
    return None


def known_real(mask: torch.Tensor) -> torch.Tensor | None:
    """Convert a mask [B, N] to bool; return None if all tokens are known to be real.

    Only values on the CPU are read: reading others would synchronize with the device.
    """
    real = mask.bool()
    if mask.device.type == "cpu" and not holds(real, lambda real: ~real.all()):
        return None
    return real


def real_tokens(mask: torch.Tensor | None, inputs: Inputs) -> torch.Tensor | None:
    """Check the inputs of a program, and convert its mask to bool.

    Args:
        mask: True or 1 at real tokens, [B, N]; None if all are real.
        inputs: Tensors [B, H, N, D] by name.

    Returns:
        The mask, bool [B, N]; None if all tokens are known to be real.

    Raises:
        UsageError: If the inputs are not tensors [B, H, N, D] of one shape (U002), or
            the mask has another shape or other numbers than 0 and 1 (U004).
    """
    (first, like), *rest = inputs.items()
    for name, tensor in inputs.items():
        if tensor.dim() != 4:
            shape = list(tensor.shape)
            raise UsageError(
                "U002", f"inputs must be tensors [B, H, N, D]; {name} is {shape}"
            )
    for name, tensor in rest:
        if tensor.shape != like.shape:
            shapes = f"{first} is {list(like.shape)}, {name} is {list(tensor.shape)}"
            raise UsageError(
                "U002", f"inputs must have one shape [B, H, N, D]; {shapes}"
            )
    if mask is None:
        return None
    fault = mask_fault("mask", mask, like.shape[0], like.shape[2])
    if fault is not None:
        raise UsageError("U004", *fault)
    return known_real(mask)


def padding(real: torch.Tensor | None) -> torch.Tensor | None:
    """Return a mask of the padding, bool [B, N]."""
    return None if real is None else ~real


def token_padding(real: torch.Tensor | None) -> torch.Tensor | None:
    """Return a mask of the padding, bool [B, N, 1]."""
    return None if real is None else ~real[:, :, None]


def column(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Reshape a mask [B, N] to [B, 1, N, 1]."""
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
    """Return a mask of the absent entries of a value [B, H, r, c].

    Args:
        rows: Mask of real tokens in the rows, bool [B, M]; None if all are real.
        columns: Mask of real tokens in the columns, bool [B, N]; None if all are real.
        row_positions: Positions of the tokens of the rows, int64 [B or 1, M]; only
            needed for "band" and "future".
        positions: Positions of the tokens of the columns, int64 [B or 1, N]; likewise.
        at: The indices of the rows among the N tokens, int64 [M]; None for the last.
        places: The places at which entries are absent.
        radius: The radius of the band; entries farther from the diagonal are absent.
        spare: Leave an entry in every row. A sequence that is only padding then counts
            as real, and the rows of padding are not restricted to a band or to the past.
        inhabited: Whether every sequence is known to have a real token.

    Returns:
        A bool mask that broadcasts over the value; None if nothing is absent.
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
    """Return a mask of the entries outside the band or in the future, bool
    [B or 1, 1, M, N]; None if there can be none.
    """
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
    """Fill the absent entries of a value with a number.

    Args:
        x: The value, [B, H, r, c] for example.
        gone: Mask of absent entries, bool, broadcasts over x; None returns x itself.
        value: The number.
    """
    return x if gone is None else x.masked_fill(gone, value)
