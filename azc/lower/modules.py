"""Leaf modules of layer graphs, in addition to those of torch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from azc.mixing.contract import LayerSizes

__all__ = [
    "DepthwiseConv",
    "DynamicConv",
    "LightConv",
    "OwnStart",
    "ReLU2",
    "activation",
    "norm",
]


def _band(kernel: torch.Tensor, tokens: int, causal: bool) -> torch.Tensor:
    """Return the matrices [..., N, N] of convolutions with kernels [..., N or 1, K].

    A kernel is centered on its token, or ends at it if `causal`.
    """
    width = kernel.shape[-1]
    index = torch.arange(tokens, device=kernel.device)
    before = width - 1 if causal else width // 2
    offset = index[None, :] - index[:, None] + before
    inside = (offset >= 0) & (offset < width)
    rows = kernel.expand(*kernel.shape[:-2], tokens, width)
    offset = offset.clamp(0, width - 1).expand(*kernel.shape[:-2], tokens, tokens)
    return rows.gather(-1, offset).masked_fill(~inside, 0.0)


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Split the features of x [B, N, C] into heads, [B, H, N, C / H]."""
    split: torch.Tensor = x.unflatten(-1, (heads, x.shape[-1] // heads))
    return split.transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """Join the heads of x [B, H, N, C / H]: undo `_split`."""
    return x.transpose(1, 2).flatten(-2)


class OwnStart(nn.Module):
    """A module that initializes its own parameters."""

    def reset_parameters(self) -> None:
        """Set the parameters to the values that training starts from."""
        raise NotImplementedError


class LightConv(OwnStart):
    """Lightweight convolution over the tokens (Wu et al. 2019, equation 6).

    Each head has one kernel, which a softmax normalizes over its width.
    """

    def __init__(self, sizes: LayerSizes, kernel: int) -> None:
        super().__init__()
        self.heads, self.causal = sizes.heads, sizes.causal
        self.kernel = nn.Parameter(torch.empty(sizes.heads, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the kernels before the softmax, Glorot-uniform."""
        bound = math.sqrt(6.0 / (self.kernel.shape[1] * (self.heads + 1)))
        nn.init.uniform_(self.kernel, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x [B, N, C], 0 in padding; return [B, N, C]."""
        _, tokens, channels = x.shape
        weight = self.kernel.softmax(-1)
        width = weight.shape[1]
        # A product with a band matrix is faster unless the sequence is much longer than
        # the kernel. An exported program must work for all lengths.
        if not torch.compiler.is_exporting() and tokens <= 4 * width:
            band = _band(weight[:, None, :], tokens, self.causal)
            return _joined(band @ _split(x, self.heads))
        taps = weight.repeat_interleave(channels // self.heads, 0)[:, None, :]
        return _depthwise(x, taps, self.causal)


def _depthwise(x: torch.Tensor, taps: torch.Tensor, causal: bool) -> torch.Tensor:
    """Convolve x [B, N, C] with kernels [C, 1, K]; return [B, N, C].

    A kernel is centered on its token, or ends at it if `causal`.
    """
    rows = x.transpose(1, 2)
    padding = taps.shape[-1] // 2
    if causal:
        rows, padding = F.pad(rows, (taps.shape[-1] - 1, 0)), 0
    mixed = F.conv1d(rows, taps, padding=padding, groups=x.shape[-1])
    return mixed.transpose(1, 2)


class DynamicConv(nn.Module):
    """Dynamic convolution over the tokens (Wu et al. 2019, equation 7).

    Each token predicts one kernel for each head, which a softmax normalizes.
    """

    def __init__(self, sizes: LayerSizes, kernel: int) -> None:
        super().__init__()
        self.heads, self.causal = sizes.heads, sizes.causal
        self.width = kernel
        self.predict = nn.Linear(sizes.hidden, sizes.heads * kernel, bias=sizes.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x [B, N, C], 0 in padding; return [B, N, C]."""
        tokens = x.shape[1]
        weight = self.predict(x).unflatten(-1, (self.heads, self.width))
        weight = weight.softmax(-1).transpose(1, 2)  # [B, H, N, K]
        return _joined(_band(weight, tokens, self.causal) @ _split(x, self.heads))


class DepthwiseConv(OwnStart):
    """Depthwise convolution over the tokens: one kernel for each feature."""

    def __init__(self, sizes: LayerSizes, kernel: int) -> None:
        super().__init__()
        self.causal = sizes.causal
        self.kernel = nn.Parameter(torch.empty(sizes.hidden, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the kernels as `torch.nn.Conv1d` does."""
        bound = 1.0 / math.sqrt(self.kernel.shape[1])
        nn.init.uniform_(self.kernel, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x [B, N, C], 0 in padding; return [B, N, C]."""
        return _depthwise(x, self.kernel[:, None, :], self.causal)


class ReLU2(nn.Module):
    """The activation max(x, 0)² (So et al. 2021)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the activation to each element of x [B, N, C]."""
        return F.relu(x).square()


def activation(name: str) -> nn.Module:
    """Make the activation of a feed-forward network; for a gated one, the activation of
    the gate.
    """
    made: dict[str, type[nn.Module]] = {
        "gelu": nn.GELU,
        "relu": nn.ReLU,
        "relu2": ReLU2,
        "silu": nn.SiLU,
        "geglu": nn.GELU,
        "swiglu": nn.SiLU,
    }
    return nn.GELU(approximate="tanh") if name == "gelu_tanh" else made[name]()


def norm(kind: str, hidden: int, eps: float, bias: bool) -> nn.Module:
    """Make the norm of a residual branch, over the features of a token.

    Args:
        kind: "rms_norm", else LayerNorm.
        hidden: The number of features.
        eps: Added to the mean square or variance.
        bias: Whether LayerNorm has a bias.
    """
    if kind == "rms_norm":
        return nn.RMSNorm(hidden, eps=eps)
    return nn.LayerNorm(hidden, eps=eps, bias=bias)
