"""What compiled graphs compute of rows, right as far as the number type reaches.

`gone` says which entries of a value are absent (bool, broadcasts over [..., r, c]; they
hold 0), None that none are.

A sum of squares overflows where the norm is far from it (in float32 beyond 2⁶⁴), and
vanishes for what is small. So rows with large entries are divided by their largest one
first, as `hypot` does; the others are divided by 1, and are what PyTorch computes, to the
bit, whatever stands beside them. On a CPU one look at the values spares the division
where no row needs it. Elsewhere, and where values can't be read (under `torch.compile`,
in an export), every row is divided.
"""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch.nn import functional as F

from azc.lower.masks import holds

__all__ = [
    "cosines",
    "distances",
    "layer_norm",
    "mean",
    "normalize",
    "rms_norm",
    "softmax",
]

_LARGE = 2.0**30  # also the third power of its reciprocal, in gradients, is in range
_SMALL = 2.0**-37  # of a difference as small as this the square is in range


def _largest(x: torch.Tensor) -> torch.Tensor:
    """The largest entry of every row by size, [..., 1]; no gradient goes through it."""
    found: torch.Tensor = torch.linalg.vector_norm(
        x.detach(), ord=math.inf, dim=-1, keepdim=True
    )
    return found


def _usual(x: torch.Tensor) -> bool:
    """Whether all entries are known to be of usual size or smaller."""
    return x.device.type == "cpu" and holds(x, _none_large, unread=False)


def _all_finite(x: torch.Tensor) -> torch.Tensor:
    return torch.isfinite(x).all()


def _none_large(x: torch.Tensor) -> bool:
    if x.numel() == 0:
        return True
    low, high = torch.aminmax(x)
    return bool(low >= -_LARGE) and bool(high <= _LARGE)


def _scale(x: torch.Tensor) -> torch.Tensor:
    """What to divide each row by, [..., 1]: 1 where nothing is large."""
    largest = _largest(x)
    most = torch.finfo(x.dtype).max  # so that 1 over infinity stays 0
    return torch.where(largest > _LARGE, largest.clamp(max=most), 1.0)


def _mean(x: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    # And not `x.mean`, whose gradient is divided when it is as large as x.
    return x.sum(-1, keepdim=True) / count


def _count(x: torch.Tensor, gone: torch.Tensor | None) -> torch.Tensor | int:
    """How many entries of each row there are, at least 1."""
    if gone is None:
        return x.shape[-1]
    return (~gone).sum(-1, keepdim=True).clamp(min=1)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """eˣ over the sum of its row."""
    # Of a transpose along the columns, which makes no copy.
    if x.stride(-2) == 1 < x.stride(-1):
        return torch.softmax(x.transpose(-1, -2), -2).transpose(-1, -2)
    return torch.softmax(x, -1)


def mean(x: torch.Tensor, gone: torch.Tensor | None) -> torch.Tensor:
    """The mean of every row, [..., 1]."""
    count = _count(x, gone)
    plain = _mean(x, count)
    if plain.device.type == "cpu" and holds(plain, _all_finite, unread=False):
        return plain
    # A sum is out of range where its mean is not.
    large = ~(_largest(x) <= _LARGE)
    part = torch.where(large, count, 1)
    return torch.where(large, _mean(x / part, count / part), plain)


def normalize(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Every row over its Euclidean norm, which counts as `eps` at least."""
    return F.normalize(x if _usual(x) else x / _scale(x), dim=-1, eps=eps)


def layer_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Every row with mean 0 and variance 1."""
    if gone is None:
        large = None if _usual(x) else ~(_largest(x) <= _LARGE)
        usual = x if large is None else x.masked_fill(large, 0.0)
        found = F.layer_norm(usual, (x.shape[-1],), eps=eps)
        if large is None:
            return found
        return torch.where(large, _layer_norm(x, None, eps), found)
    return _layer_norm(x, gone, eps)


def _layer_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    count = _count(x, gone)
    shrunk: torch.Tensor | float = 1.0
    if _usual(x):
        centred = x - _mean(x, count)
    else:
        # Or else what is above the mean by nearly the whole range would overflow.
        shrunk = 1.0 + 3.0 * (_largest(x) > _LARGE).to(x.dtype)
        x = x / shrunk
        centred = x - mean(x, gone)
    if gone is not None:
        centred = centred.masked_fill(gone, 0.0)
    return _over_root(centred, count, eps / shrunk / shrunk)


def rms_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Every row over its root mean square."""
    return _over_root(x, _count(x, gone), eps)


def _over_root(
    x: torch.Tensor, count: torch.Tensor | int, eps: torch.Tensor | float
) -> torch.Tensor:
    """x over the root of its mean square and `eps`."""
    if not _usual(x):
        scale = _scale(x)
        x, eps = x / scale, eps / scale / scale
    return x * torch.rsqrt(_mean(x.square(), count) + eps)


def _either(
    gone_x: torch.Tensor | None, gone_y: torch.Tensor | None
) -> torch.Tensor | None:
    """What is absent of a row of x or of y, [..., i, j, f]."""
    parts = [
        gone.unsqueeze(axis)
        for gone, axis in ((gone_x, -2), (gone_y, -3))
        if gone is not None
    ]
    return reduce(torch.logical_or, parts) if parts else None


def cosines(
    x: torch.Tensor,
    y: torch.Tensor,
    gone_x: torch.Tensor | None,
    gone_y: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Cosine similarity of every row of x [..., N, C] with every row of y [..., M, C], over
    what neither lacks; what all rows lack is 0 in both, and need not be told.
    """
    gone = _either(gone_x, gone_y)
    if gone is None:
        return normalize(x, eps) @ normalize(y, eps).transpose(-1, -2)
    pairs = (x.unsqueeze(-2), y.unsqueeze(-3))
    left, right = (normalize(each.masked_fill(gone, 0.0), eps) for each in pairs)
    return (left * right).sum(-1)


def distances(
    x: torch.Tensor,
    y: torch.Tensor,
    gone_x: torch.Tensor | None = None,
    gone_y: torch.Tensor | None = None,
) -> torch.Tensor:
    """Euclidean distance of every row of x from every row of y, as `cosines` has them.

    Where a row has something large or small the squares are in float64. Values on a GPU
    are waited for.
    """
    gone = _either(gone_x, gone_y)
    if gone is not None or torch.compiler.is_exporting():  # ONNX has no cdist
        apart = x.unsqueeze(-2) - y.unsqueeze(-3)
        return _norm(apart if gone is None else apart.masked_fill(gone, 0.0))
    if all(holds(each, _none_odd, unread=False) for each in (x, y)):
        return _cdist(x, y)
    odd = [_odd(each).any(-1, keepdim=True) for each in (x, y)]
    near = _cdist(x.masked_fill(odd[0], 0.0), y.masked_fill(odd[1], 0.0))
    if x.dtype == torch.float64:  # nothing is wider
        wide = _norm(x.unsqueeze(-2) - y.unsqueeze(-3))
    else:
        wide = _cdist(x.double(), y.double()).to(x.dtype)
    return torch.where(odd[0] | odd[1].transpose(-1, -2), wide, near)


def _cdist(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    # Without the shortcut through a product, which loses small distances.
    return torch.cdist(x, y, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")


def _odd(x: torch.Tensor) -> torch.Tensor:
    """Which entries are large, or small but not 0."""
    size = x.detach().abs()
    return ~(size <= _LARGE) | ((size < _SMALL) & (size > 0))


def _none_odd(x: torch.Tensor) -> bool:
    if x.numel() == 0:
        return True
    low, high = torch.aminmax(x.abs())
    # 0 is common, and looked at a second time.
    return bool(high <= _LARGE) and (bool(low >= _SMALL) or not bool(_odd(x).any()))


def _norm(x: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm of every row of any size, [...]."""
    largest = _largest(x)
    # To sizes from which the gradient comes back in range.
    large = (largest > _LARGE) & (largest < math.inf)
    small = (largest < _SMALL) & (largest > 0)
    scale = torch.where(large, largest * 2.0**-45, 1.0)
    scale = torch.where(small, largest * 2.0**45, scale)
    norm: torch.Tensor = torch.linalg.vector_norm(x / scale, dim=-1)
    return norm * scale.squeeze(-1)
