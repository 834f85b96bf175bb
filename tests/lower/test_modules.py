"""Convolutions against loops over the definitions, activations against formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from azc.check.models import ACTIVATIONS
from azc.lower.modules import (
    DepthwiseConv,
    DynamicConv,
    LightConv,
    activation,
    norm,
)

Array = NDArray[np.float64]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return np.asarray(powers / powers.sum())


def convolved(x: Array, taps: Any) -> Array:
    """Wu et al. 2019, section 2: out[i, c] = Σⱼ W[c, j] · X[i + j − ⌈(k + 1) / 2⌉, c],
    j from 1, with zeros outside. `taps(i, c)` gives W[c, :] for token i."""
    tokens, channels = x.shape
    out = np.zeros_like(x)
    for i in range(1, tokens + 1):
        for c in range(channels):
            weights = taps(i - 1, c)
            for j in range(1, len(weights) + 1):
                place = i + j - math.ceil((len(weights) + 1) / 2)
                if 1 <= place <= tokens:
                    out[i - 1, c] += weights[j - 1] * x[place - 1, c]
    return out


def head_of(c: int, heads: int, channels: int) -> int:
    """⌈c·H / d⌉ with c from 1; counted from 0 here."""
    return math.ceil((c + 1) * heads / channels) - 1


def double(module: Any) -> Any:
    torch.manual_seed(0)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def tokens_of(n: int, channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, n, channels, generator=generator, dtype=torch.float64)


SHAPES = [
    (1, 1, 1),
    (1, 4, 3),
    (7, 4, 3),
    (7, 6, 9),
    (30, 4, 5),
    (13, 4, 3),
    (12, 4, 3),
]


@pytest.mark.parametrize(("n", "channels", "kernel"), SHAPES)
@pytest.mark.parametrize("heads", [1, 2])
def test_light(n: int, channels: int, kernel: int, heads: int) -> None:
    if channels % heads:
        heads = 1
    module, x = double(LightConv(heads, kernel)), tokens_of(n, channels)
    weights = module.kernel.detach().numpy()
    found = module(x).detach().numpy()
    for one, result in zip(x.numpy(), found, strict=True):
        wanted = convolved(
            one, lambda i, c: softmax(weights[head_of(c, heads, channels)])
        )
        np.testing.assert_allclose(result, wanted, atol=1e-12)


@pytest.mark.parametrize(("n", "channels", "kernel"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_dynamic(n: int, channels: int, kernel: int, bias: bool) -> None:
    heads = 2 if channels % 2 == 0 else 1
    module = double(DynamicConv(channels, heads, kernel, bias))
    x = tokens_of(n, channels)
    matrix = module.predict.weight.detach().numpy().reshape(heads, kernel, channels)
    offset = np.zeros((heads, kernel))
    if bias:
        offset = module.predict.bias.detach().numpy().reshape(heads, kernel)
    else:
        assert module.predict.bias is None
    found = module(x).detach().numpy()
    for one, result in zip(x.numpy(), found, strict=True):

        def taps(i: int, c: int, one: Array = one) -> Array:
            h = head_of(c, heads, channels)
            return softmax(matrix[h] @ one[i] + offset[h])

        np.testing.assert_allclose(result, convolved(one, taps), atol=1e-12)


@pytest.mark.parametrize(("n", "channels", "kernel"), SHAPES)
def test_depthwise(n: int, channels: int, kernel: int) -> None:
    module, x = double(DepthwiseConv(channels, kernel)), tokens_of(n, channels)
    weights = module.kernel.detach().numpy()
    found = module(x).detach().numpy()
    for one, result in zip(x.numpy(), found, strict=True):
        wanted = convolved(one, lambda i, c: weights[c])
        np.testing.assert_allclose(result, wanted, atol=1e-12)


@settings(max_examples=30)
@given(
    kernel=st.sampled_from([1, 3, 5, 31]),
    heads=st.sampled_from([1, 2, 4]),
    n=st.integers(1, 50),
)
def test_both_ways_of_a_light_convolution_agree(
    kernel: int, heads: int, n: int
) -> None:
    """Short sequences go through a band matrix; zeros make any sequence a long one."""
    module = double(LightConv(heads, kernel))
    x = tokens_of(n, 8).requires_grad_()
    longer = torch.cat([x, x.new_zeros(2, 4 * kernel + 1, 8)], 1)
    short, long = module(x), module(longer)[:, :n]
    torch.testing.assert_close(short, long, rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad((out * out).sum(), (x, module.kernel), retain_graph=True)
        for out in (short, long)
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_starts() -> None:
    torch.manual_seed(0)
    light, depthwise = LightConv(4, 9).kernel, DepthwiseConv(64, 9).kernel
    assert light.abs().max() <= math.sqrt(6 / (9 * 5))
    assert depthwise.abs().max() <= 1 / 3
    for kernel in (light, depthwise):
        assert kernel.std() > 0.05


def gelu(x: Array) -> Array:
    return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


FORMULAS = {
    "gelu": gelu,
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "silu": silu,
    "geglu": gelu,
    "swiglu": silu,
}


def test_every_activation_has_a_formula_here() -> None:
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    found = activation(name)(x).numpy()
    np.testing.assert_allclose(found, FORMULAS[name](x.numpy()), atol=1e-12)


def test_norms() -> None:
    x = tokens_of(3, 8)
    for kind, eps in (("layer_norm", 0.1), ("rms_norm", 0.1), ("rms_norm", 1e-12)):
        module = norm(kind, 8, eps, bias=True).double()
        values = x.numpy()
        if kind == "layer_norm":
            values = values - values.mean(-1, keepdims=True)
        power = (values**2).mean(-1, keepdims=True)
        wanted = values / np.sqrt(power + eps)
        np.testing.assert_allclose(module(x).detach().numpy(), wanted, atol=1e-12)
    layer_norm = norm("layer_norm", 8, 0.1, bias=False)
    assert isinstance(layer_norm, nn.LayerNorm)
    assert layer_norm.bias is None
