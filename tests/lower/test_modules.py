"""Both ways of a convolution, where modules start, activations against formulas."""

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
    LightConv,
    activation,
    norm,
)
from azc.mixing.contract import LayerSizes

Array = NDArray[np.float64]


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
    module = double(LightConv(LayerSizes(8, heads, True, False), kernel))
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
    sizes = LayerSizes(64, 4, True, False)
    light, depthwise = LightConv(sizes, 9).kernel, DepthwiseConv(sizes, 9).kernel
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
