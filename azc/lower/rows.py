"""Row functions of compiled graphs, accurate over the whole range of the number type.

`gone` is a mask of the absent entries of a value, bool, which broadcasts over [..., r, c];
None if there are none. Absent entries hold 0.

A sum of squares overflows although the norm is far from overflowing (in float32, for entries
beyond 2⁶⁴), and underflows for small entries. So rows with large entries are first divided
by their largest entry, as `hypot` does. Other rows are divided by 1: their results equal
PyTorch's bit for bit, whatever the other rows hold. On a CPU the values are read once, and
the division is skipped if no row needs it. On other devices, and if values can't be read
(under `torch.compile`, in an export), every row is divided.
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

_LARGE = 2.0**30  # gradients contain 1 / x³, which is still in range
_SMALL = 2.0**-37  # the square of such a difference is still in range


def _largest(x: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude in every row, [..., 1], without a gradient."""
    found: torch.Tensor = torch.linalg.vector_norm(
        x.detach(), ord=math.inf, dim=-1, keepdim=True
    )
    return found


def _usual(x: torch.Tensor) -> bool:
    """Return whether no entry is known to be large, False if that is not known."""
    return x.device.type == "cpu" and holds(x, _none_large, unread=False)


def _all_finite(x: torch.Tensor) -> torch.Tensor:
    return torch.isfinite(x).all()


def _none_large(x: torch.Tensor) -> bool:
    if x.numel() == 0:
        return True
    low, high = torch.aminmax(x)
    return bool(low >= -_LARGE) and bool(high <= _LARGE)


def _scale(x: torch.Tensor) -> torch.Tensor:
    """Return the divisor of each row, [..., 1]: its largest magnitude, 1 for usual rows."""
    largest = _largest(x)
    most = torch.finfo(x.dtype).max  # so that 1 over infinity stays 0
    return torch.where(largest > _LARGE, largest.clamp(max=most), 1.0)


def _mean(x: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    # `x.mean` would divide its gradient only after that is expanded to the size of x.
    return x.sum(-1, keepdim=True) / count


def _count(x: torch.Tensor, gone: torch.Tensor | None) -> torch.Tensor | int:
    """Count the present entries of each row, [..., 1] or a number; at least 1."""
    if gone is None:
        return x.shape[-1]
    return (~gone).sum(-1, keepdim=True).clamp(min=1)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Return the softmax of every row of x [..., r, c]."""
    # A softmax along the columns of the transpose makes no copy.
    if x.stride(-2) == 1 < x.stride(-1):
        return torch.softmax(x.transpose(-1, -2), -2).transpose(-1, -2)
    return torch.softmax(x, -1)


def mean(x: torch.Tensor, gone: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of every row, [..., 1], over its present entries."""
    count = _count(x, gone)
    plain = _mean(x, count)
    if plain.device.type == "cpu" and holds(plain, _all_finite, unread=False):
        return plain
    # The sum may overflow although the mean is in range.
    large = ~(_largest(x) <= _LARGE)
    part = torch.where(large, count, 1)
    return torch.where(large, _mean(x / part, count / part), plain)


def normalize(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Divide every row of x [..., r, c] by its Euclidean norm, or `eps` if that is larger."""
    return F.normalize(x if _usual(x) else x / _scale(x), dim=-1, eps=eps)


def layer_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Normalize every row of x [..., r, c] to mean 0 and variance 1 (Ba et al. 2016).

    `eps` is added to the variance. Absent entries do not count.
    """
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
        centered = x - _mean(x, count)
    else:
        # An entry of one sign and a mean of the other may differ by more than the range.
        shrunk = 1.0 + 3.0 * (_largest(x) > _LARGE).to(x.dtype)
        x = x / shrunk
        centered = x - mean(x, gone)
    if gone is not None:
        centered = centered.masked_fill(gone, 0.0)
    return _over_root(centered, count, eps / shrunk / shrunk)


def rms_norm(x: torch.Tensor, gone: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Divide every row of x [..., r, c] by its root mean square (Zhang and Sennrich 2019).

    `eps` is added to the mean square. Absent entries do not count.
    """
    return _over_root(x, _count(x, gone), eps)


def _over_root(
    x: torch.Tensor, count: torch.Tensor | int, eps: torch.Tensor | float
) -> torch.Tensor:
    """Divide every row by the root of the sum of its mean square and `eps`."""
    if not _usual(x):
        scale = _scale(x)
        x, eps = x / scale, eps / scale / scale
    return x * torch.rsqrt(_mean(x.square(), count) + eps)


def _either(
    gone_x: torch.Tensor | None, gone_y: torch.Tensor | None
) -> torch.Tensor | None:
    """Return a mask, [..., i, j, f], of the features f absent in row i of x or row j of y;
    None if nothing is absent.
    """
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
    """Return the cosine similarity of every row of x with every row of y, [..., N, M].

    Args:
        x: Rows, [..., N, C].
        y: Rows, [..., M, C].
        gone_x: Mask of the absent entries of x. A feature that is absent in all rows is 0
            in both, and need not be masked.
        gone_y: Mask of the absent entries of y, likewise.
        eps: The least norm to divide by.
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
    """Return the Euclidean distance of every row of x from every row of y, [..., N, M].

    Distances of rows with large or small entries are computed in float64. Reading values
    on a GPU synchronizes with it.

    Args:
        x: Rows, [..., N, C].
        y: Rows, [..., M, C].
        gone_x: Mask of the absent entries of x, as in `cosines`.
        gone_y: Mask of the absent entries of y, as in `cosines`.
    """
    gone = _either(gone_x, gone_y)
    if gone is not None or torch.compiler.is_exporting():  # ONNX has no cdist
        apart = x.unsqueeze(-2) - y.unsqueeze(-3)
        return _norm(apart if gone is None else apart.masked_fill(gone, 0.0))
    if all(holds(each, _none_odd, unread=False) for each in (x, y)):
        return _cdist(x, y)
    odd = [_odd(each).any(-1, keepdim=True) for each in (x, y)]
    near = _cdist(x.masked_fill(odd[0], 0.0), y.masked_fill(odd[1], 0.0))
    if x.dtype == torch.float64:  # there is no wider type
        wide = _norm(x.unsqueeze(-2) - y.unsqueeze(-3))
    else:
        wide = _cdist(x.double(), y.double()).to(x.dtype)
    return torch.where(odd[0] | odd[1].transpose(-1, -2), wide, near)


def _cdist(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    # Not by a matrix product, which loses small distances to cancellation.
    return torch.cdist(x, y, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")


def _odd(x: torch.Tensor) -> torch.Tensor:
    """Return a mask of the entries that are large, or small but not 0."""
    size = x.detach().abs()
    return ~(size <= _LARGE) | ((size < _SMALL) & (size > 0))


def _none_odd(x: torch.Tensor) -> bool:
    if x.numel() == 0:
        return True
    low, high = torch.aminmax(x.abs())
    # The test of `low` rejects 0, which is common and usual. Then `_odd` decides.
    return bool(high <= _LARGE) and (bool(low >= _SMALL) or not bool(_odd(x).any()))


def _norm(x: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of every row, [...], whatever the size of its entries."""
    largest = _largest(x)
    # Divided by the scale, entries have sizes at which the gradient stays in range.
    large = (largest > _LARGE) & (largest < math.inf)
    small = (largest < _SMALL) & (largest > 0)
    scale = torch.where(large, largest * 2.0**-45, 1.0)
    scale = torch.where(small, largest * 2.0**45, scale)
    norm: torch.Tensor = torch.linalg.vector_norm(x / scale, dim=-1)
    return norm * scale.squeeze(-1)
