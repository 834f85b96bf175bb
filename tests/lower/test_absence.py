"""Programs in which what is absent could overflow where nothing present does: values and
gradients of a padded sequence are those of the sequence alone, in every number type.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import azc

N, D, HEADS = 7, 8, 2
MASKS = {
    "right": [1, 1, 1, 1, 0, 0, 0],
    "left": [0, 0, 0, 1, 1, 1, 1],
    "holes": [1, 0, 1, 0, 0, 1, 1],
    "none": [1, 1, 1, 1, 1, 1, 1],
}
Inputs = dict[str, torch.Tensor]


def normal(scale: float, width: int = D) -> Callable[[], Inputs]:
    def make() -> Inputs:
        random = torch.Generator().manual_seed(0)
        shape = (1, HEADS, N, width)
        return {
            name: scale * torch.randn(shape, generator=random, dtype=torch.float64)
            for name in "qkv"
        }

    return make


def opposed() -> Inputs:
    """Every token's key is far from its own query, and near to those of others."""
    made = normal(1.0)()
    q = made["q"].sign() * 3
    return {"q": q, "k": -q, "v": made["v"]}


def zero_row() -> Inputs:
    made = normal(1.0)()
    made["q"][:, :, -1] = 0.0
    made["k"][:, :, -2] = 0.0
    return made


SINKHORN = """
    e = exp(scale(q @ k.T))
    rows = e / sum(e)
    cols = (rows.T / sum(rows.T)).T
    return cols / sum(cols) @ v
"""
SINKHORN_SOFTMAX = """
    s = softmax(scale(q @ k.T))
    return softmax(softmax(s.T).T) @ v
"""
PROGRAMS: dict[str, tuple[str, Callable[[], Inputs]]] = {
    "gaussian": (
        "e = exp(-square(euclidean(q, k)) / 2)\nreturn e / sum(e) @ v",
        normal(1.0, 64),
    ),
    "window after": (
        "e = window(exp(q @ k.T), radius = 0)\nreturn e / sum(e) @ v",
        opposed,
    ),
    "windows of two widths": (
        "a = window(exp(q @ k.T), radius = 1)\n"
        "b = window(exp(-(q @ k.T)), radius = 2)\n"
        "return (a / b) @ v",
        normal(2.0),
    ),
    "sums of columns": (
        "e = exp(-square(euclidean(q, k)))\nreturn (e / sum(e.T).T) @ v",
        normal(1.2),
    ),
    "column over row": (
        "a = exp(-square(sum(q)))\nb = exp(-square(sum(k)))\nreturn (b.T / a) @ v",
        normal(0.4),
    ),
    "small times large": (
        "e = exp(q @ k.T)\nreturn silu(e * reciprocal(sum(e))) @ v",
        normal(1.5),
    ),
    "row times scores": (
        "return gelu(exp(8 * sum(q)) * exp(-(q @ k.T))) @ v",
        normal(0.2),
    ),
    "logarithm": (
        "e = relu(q @ k.T)\nreturn log(e + 1e-9) @ v",
        normal(1.0),
    ),
    "root": ("return v / sqrt(sum(square(q)))", normal(1.0)),
    "reciprocal": (
        "e = exp(-square(euclidean(q, k)))\nreturn reciprocal(1 + e) @ v",
        normal(3.0),
    ),
    "cosine": ("return softmax(cosine(q, k)) @ v", normal(1.0)),
    "cosine of a row of zeros": ("return softmax(cosine(q, k)) @ v", zero_row),
    "normalized": ("return normalize(q) @ (normalize(k).T @ k)", normal(1.0)),
    "normalized zeros": ("return normalize(q) @ (normalize(k).T @ v)", zero_row),
    "norm of relu": ("return rms_norm(relu(scale(q @ k.T)) @ v)", normal(1.0)),
    "sinkhorn": (SINKHORN, normal(1.0)),
    "sinkhorn by softmax": (SINKHORN_SOFTMAX, normal(20.0)),
}
# What float16 can't hold: the exponential of a large score, back in a product.
TOO_LARGE = {"windows of two widths", "row times scores"}
# The slope of x / max(|x|, eps) at 0 is 1 / eps, in float16 infinite.
STEEP = {"cosine of a row of zeros", "normalized zeros"}
ROUNDING = {
    torch.float64: 1e-12,
    torch.float32: 1e-4,
    torch.bfloat16: 0.1,
    torch.float16: 0.02,
}
KINDS = [
    (name, dtype)
    for name in PROGRAMS
    for dtype in ROUNDING
    if dtype != torch.float16 or name not in TOO_LARGE
]


def run(
    body: str, inputs: Inputs, mask: torch.Tensor | None, up: torch.Tensor
) -> list[torch.Tensor]:
    """The result and the gradients at the inputs."""
    fn = azc.compile_attention(azc.loads(f"attention a(q, k, v) {{\n{body}\n}}\n"))
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    out = fn(**leaves, mask=mask)
    assert out.dtype == up.dtype
    grads = torch.autograd.grad(
        (out * up).sum(), list(leaves.values()), allow_unused=True
    )
    pairs = zip(grads, leaves.values(), strict=True)
    zeros = [torch.zeros_like(x) if grad is None else grad for grad, x in pairs]
    return [out.detach(), *zeros]


def up_like(x: torch.Tensor) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(x.shape, generator=random, dtype=torch.float64).to(x.dtype)


@pytest.mark.parametrize("where", MASKS)
@pytest.mark.parametrize(("name", "dtype"), KINDS, ids=str)
def test_padding_changes_nothing(name: str, dtype: torch.dtype, where: str) -> None:
    body, make = PROGRAMS[name]
    inputs = {key: x.to(dtype) for key, x in make().items()}
    mask = torch.tensor(MASKS[where]).bool()
    up = up_like(inputs["v"])
    padded = run(body, inputs, mask[None], up)
    cut = {key: x[:, :, mask] for key, x in inputs.items()}
    alone = run(body, cut, None, up[:, :, mask])
    if name in STEEP and dtype == torch.float16:
        del padded[1:], alone[1:]
    for found, wanted in zip(padded, alone, strict=True):
        assert torch.isfinite(wanted).all(), "a case that says nothing"
        assert not found[:, :, ~mask].any()
        real, scale = found[:, :, mask].double(), wanted.double().abs().max()
        torch.testing.assert_close(
            real, wanted.double(), rtol=0.0, atol=float(scale) * ROUNDING[dtype]
        )


@pytest.mark.parametrize("name", [n for n, d in KINDS if d == torch.float16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_rounding_alone(name: str, dtype: torch.dtype) -> None:
    """The same numbers in half precision and in float64."""
    body, make = PROGRAMS[name]
    small = {key: x.to(dtype) for key, x in make().items()}
    wide = {key: x.double() for key, x in small.items()}
    mask = torch.tensor(MASKS["holes"]).bool()[None]
    up = up_like(small["v"])
    found = run(body, small, mask, up)[0].double()
    wanted = run(body, wide, mask, up.double())[0]
    scale = float(wanted.abs().max())
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
    assert float((found - wanted).abs().max()) <= 32 * rounding * scale


def test_under_autocast() -> None:
    """Norms of long rows of float16 scores, which autocast makes of float32 inputs."""
    random = torch.Generator().manual_seed(0)
    inputs = {name: 2 * torch.randn(1, 1, 256, 64, generator=random) for name in "qkv"}
    fn = azc.compile_attention(
        azc.loads("attention a(q, k, v) { return rms_norm(q @ k.T) @ v }")
    )
    wanted = fn(**inputs)
    with torch.autocast("cpu", torch.float16):
        found = fn(**inputs)
    scale = float(wanted.abs().max())
    assert scale > 10
    assert float((found.float() - wanted).abs().max()) < 0.01 * scale
