"""Operations that compute in the type of their operands, also under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F

__all__ = ["conv1d", "matmul", "ranged_type", "without_autocast"]


def without_autocast(x: torch.Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast on the device of a tensor x [..., c]."""
    device = x.device.type
    # Some devices, such as meta, do not support autocast, and raise if asked.
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def matmul(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multiply matrices [..., r, f] and [..., f, c] of one type; return [..., r, c]."""
    with without_autocast(x):
        return torch.matmul(x, y)


def conv1d(
    x: torch.Tensor, weight: torch.Tensor, padding: int, groups: int
) -> torch.Tensor:
    """Convolve x [B, C, N] with a weight [C / groups, 1, K] of the same type."""
    with without_autocast(x):
        return F.conv1d(x, weight, padding=padding, groups=groups)


def ranged_type(dtype: torch.dtype) -> torch.dtype:
    """Return a type itself if it has the range of float32, else at least float32.

    bfloat16 has that range, float16 does not.
    """
    if dtype == torch.bfloat16:
        return dtype
    return torch.promote_types(dtype, torch.float32)
