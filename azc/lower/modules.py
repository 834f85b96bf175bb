"""Leaf modules that layer graphs call beside torch's own."""

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
    """The matrices [..., N, N] that convolve with kernels [..., N or 1, K]: centred, or
    of each token and those before it.
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
    """[B, N, C] as [B, H, N, C / H]."""
    split: torch.Tensor = x.unflatten(-1, (heads, x.shape[-1] // heads))
    return split.transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """Undoes `_split`."""
    return x.transpose(1, 2).flatten(-2)


class OwnStart(nn.Module):
    """A module with parameters of its own that says what training starts from."""

    def reset_parameters(self) -> None:
        """Puts that in."""
        raise NotImplementedError


class LightConv(OwnStart):
    """Lightweight convolution over the tokens (Wu et al. 2019, equation 6): one kernel
    a head, softmax-normalised over its width.
    """

    def __init__(self, sizes: LayerSizes, kernel: int) -> None:
        super().__init__()
        self.heads, self.causal = sizes.heads, sizes.causal
        self.kernel = nn.Parameter(torch.empty(sizes.heads, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform, before the softmax."""
        bound = math.sqrt(6.0 / (self.kernel.shape[1] * (self.heads + 1)))
        nn.init.uniform_(self.kernel, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] to [B, N, C]; padding holds 0."""
        _, tokens, channels = x.shape
        weight = self.kernel.softmax(-1)
        width = weight.shape[1]
        # A band matrix beats a convolution about as wide as the sequence. An exported
        # program must do for all lengths.
        if not torch.compiler.is_exporting() and tokens <= 4 * width:
            band = _band(weight[:, None, :], tokens, self.causal)
            return _joined(band @ _split(x, self.heads))
        taps = weight.repeat_interleave(channels // self.heads, 0)[:, None, :]
        return _depthwise(x, taps, self.causal)


def _depthwise(x: torch.Tensor, taps: torch.Tensor, causal: bool) -> torch.Tensor:
    """[B, N, C] convolved with kernels [C, 1, K]: centred, or of each token and those
    before it.
    """
    rows = x.transpose(1, 2)
    padding = taps.shape[-1] // 2
    if causal:
        rows, padding = F.pad(rows, (taps.shape[-1] - 1, 0)), 0
    mixed = F.conv1d(rows, taps, padding=padding, groups=x.shape[-1])
    return mixed.transpose(1, 2)


class DynamicConv(nn.Module):
    """Dynamic convolution over the tokens (Wu et al. 2019, equation 7): each token
    predicts its kernel, softmax-normalised, one a head.
    """

    def __init__(self, sizes: LayerSizes, kernel: int) -> None:
        super().__init__()
        self.heads, self.causal = sizes.heads, sizes.causal
        self.width = kernel
        self.predict = nn.Linear(sizes.hidden, sizes.heads * kernel, bias=sizes.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] to [B, N, C]; padding holds 0."""
        tokens = x.shape[1]
        weight = self.predict(x).unflatten(-1, (self.heads, self.width))
        weight = weight.softmax(-1).transpose(1, 2)  # [B, H, N, K]
        return _joined(_band(weight, tokens, self.causal) @ _split(x, self.heads))


class DepthwiseConv(OwnStart):
    """Depthwise convolution over the tokens: a kernel for every feature."""

    def __init__(self, sizes: LayerSizes, kernel: int) -> None:
        super().__init__()
        self.causal = sizes.causal
        self.kernel = nn.Parameter(torch.empty(sizes.hidden, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As torch.nn.Conv1d."""
        bound = 1.0 / math.sqrt(self.kernel.shape[1])
        nn.init.uniform_(self.kernel, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] to [B, N, C]; padding holds 0."""
        return _depthwise(x, self.kernel[:, None, :], self.causal)


class ReLU2(nn.Module):
    """max(x, 0)² (So et al. 2021)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise."""
        return F.relu(x).square()


def activation(name: str) -> nn.Module:
    """The function of a feed-forward network; of the gate for the gated ones."""
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
    """The norm of a residual branch, over the features of a token."""
    if kind == "rms_norm":
        return nn.RMSNorm(hidden, eps=eps)
    return nn.LayerNorm(hidden, eps=eps, bias=bias)
