"""Functions that compiled graphs call."""

from __future__ import annotations

import torch

from azc.diagnostics import UsageError

__all__ = ["real_tokens"]


def real_tokens(mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """The mask [B, N] as bool, all True where there is none; `like` is [B, H, N, d].

    Raises `UsageError` for inputs or masks of another shape.
    """
    if like.dim() != 4:
        shape = list(like.shape)
        raise UsageError("U002", f"inputs are tensors [B, H, N, D]; got {shape}")
    wanted = (like.shape[0], like.shape[2])
    if mask is None:
        return torch.ones(wanted, dtype=torch.bool, device=like.device)
    if mask.shape != wanted:
        message = f"mask is [B, N] = {list(wanted)}; got {list(mask.shape)}"
        raise UsageError("U004", message, "True = real, False = padding")
    return mask.bool()
