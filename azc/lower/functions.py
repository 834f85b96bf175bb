"""What compiled graphs compute of rows that lack entries. `gone` says which (bool,
broadcasts over [B, H, r, c]), None for none: then torch's own functions serve.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from azc.lower.masks import filled

__all__ = [
    "alibi_slopes",
    "cosine",
    "euclidean",
    "layer_norm",
    "rms_norm",
    "row_mean",
    "softmax",
]


def softmax(x: torch.Tensor) -> torch.Tensor:
    """eˣ over the sum of its row."""
    if (
        x.stride(-2) == 1 < x.stride(-1)
    ):  # a transpose: along its columns without a copy
        return torch.softmax(x.transpose(-1, -2), -2).transpose(-1, -2)
    return torch.softmax(x, -1)


def _count(gone: torch.Tensor) -> torch.Tensor:
    return (~gone).sum(-1, keepdim=True).clamp(min=1)


def row_mean(x: torch.Tensor, gone: torch.Tensor | None) -> torch.Tensor:
    """The mean of every row, [..., r, 1]; absent entries hold 0."""
    if gone is None:
        return x.mean(-1, keepdim=True)
    return x.sum(-1, keepdim=True) / _count(gone)


def layer_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Every row with mean 0 and variance 1; absent entries hold 0."""
    if gone is None:
        return F.layer_norm(x, (x.shape[-1],), eps=eps)
    centred = filled(x - row_mean(x, gone), gone, 0.0)
    variance = row_mean(centred.square(), gone)
    return centred * torch.rsqrt(variance + eps)


def rms_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Every row over its root mean square; absent entries hold 0."""
    if gone is None:
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
    return x * torch.rsqrt(row_mean(x.square(), gone) + eps)


def _pairs(
    x: torch.Tensor,
    y: torch.Tensor,
    gone_x: torch.Tensor | None,
    gone_y: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of x and y as [..., i, j, f], 0 where either is absent."""
    left, right = x.unsqueeze(-2), y.unsqueeze(-3)
    for gone, axis in ((gone_x, -2), (gone_y, -3)):
        if gone is not None:
            wide = gone.unsqueeze(axis)
            left, right = left.masked_fill(wide, 0.0), right.masked_fill(wide, 0.0)
    return left, right


def cosine(
    x: torch.Tensor,
    y: torch.Tensor,
    gone_x: torch.Tensor | None,
    gone_y: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """The cosine similarity of every row of x with every row of y, over the features
    that both have.
    """
    if gone_x is None and gone_y is None:
        left = F.normalize(x, dim=-1, eps=eps)
        right = F.normalize(y, dim=-1, eps=eps)
        return left @ right.transpose(-1, -2)
    rows, columns = _pairs(x, y, gone_x, gone_y)
    dot = (rows * columns).sum(-1)
    for each in (rows, columns):
        dot = dot / torch.linalg.vector_norm(each, dim=-1).clamp(min=eps)
    return dot


def euclidean(
    x: torch.Tensor,
    y: torch.Tensor,
    gone_x: torch.Tensor | None,
    gone_y: torch.Tensor | None,
) -> torch.Tensor:
    """The Euclidean distance of every row of x from every row of y, over the features
    that both have.
    """
    if gone_x is None and gone_y is None:
        return pair_distances(x, y)
    rows, columns = _pairs(x, y, gone_x, gone_y)
    norm: torch.Tensor = torch.linalg.vector_norm(rows - columns, dim=-1)
    return norm


def pair_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Euclidean distance of every row of x [..., N, C] from every row of y [..., M, C]."""
    if torch.compiler.is_exporting():  # ONNX has no cdist
        apart = x[..., :, None, :] - y[..., None, :, :]
        norm: torch.Tensor = torch.linalg.vector_norm(apart, dim=-1)
        return norm
    # Without the shortcut through a product, which loses small distances.
    return torch.cdist(x, y, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")


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
