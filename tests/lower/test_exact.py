"""What autocast leaves in float32: functions on their own, and compiled programs."""

from __future__ import annotations

import pytest
import torch

import azc
from azc.lower.exact import conv1d, matmul, ranged_type, without_autocast

HALF = [torch.float16, torch.bfloat16]

torch.set_num_threads(1)

# Sums over the tokens beyond 65,504: by plain code, by SDPA and in states.
PROGRAMS = {
    "product": "s = exp(q @ k.T)\nreturn s @ v / sum(s)",
    "sdpa": "return log(softmax(scale(q @ k.T)) @ exp(4 * v))",
    "states": "f = exp(2 * q)\ng = exp(2 * k)\nreturn f @ (g.T @ v) / (f @ sum(g.T))",
    "convolution": "c = conv(exp(4 * k), kernel = 3)\nreturn q + v * c / sum(c)",
    "cosine": "return cosine(square(q), k) @ exp(4 * v) / sum(exp(4 * k))",
}


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_operands_keep_their_type(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 8, 8, 8, generator=random)
    with torch.autocast("cpu", dtype):
        assert (x @ y).dtype == dtype
        product, convolved = matmul(x, y), conv1d(x, y[:, :1, :3], 1, 8)
        assert (x @ y).dtype == dtype
    assert torch.equal(product, x @ y)
    wanted = torch.nn.functional.conv1d(x, y[:, :1, :3], padding=1, groups=8)
    assert torch.equal(convolved, wanted)


def test_devices_without_autocast() -> None:
    with without_autocast(torch.empty(1, device="meta")):
        made = matmul(
            torch.empty(2, 3, device="meta"), torch.empty(3, 4, device="meta")
        )
    assert made.shape == (2, 4)


def test_types_with_the_range_of_float32() -> None:
    kept = torch.bfloat16, torch.float32, torch.float64
    assert [ranged_type(dtype) for dtype in kept] == list(kept)
    assert ranged_type(torch.float16) == torch.float32


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_under_autocast(name: str, causal: bool) -> None:
    """Of inputs in half precision, as in a model, and in float32."""
    text = f"attention a(q, k, v) {{\n{PROGRAMS[name]}\n}}"
    module = azc.compile_attention(azc.loads(text), causal=causal)
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 1, 2, 96, 16, generator=random).half()
    with torch.no_grad():
        wanted = module(*inputs.double())
        for given in (inputs, inputs.float()):
            with torch.autocast("cpu", torch.float16):
                found = module(*given)
            off = (found.double() - wanted).abs().max() / wanted.abs().max()
            assert float(off) < 16 * 2.0**-11


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_in_half_precision_are_exported(name: str) -> None:
    text = f"attention a(q, k, v) {{\n{PROGRAMS[name]}\n}}"
    module = azc.compile_attention(azc.loads(text))
    random = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 96, 16, generator=random).half()
    exported = torch.export.export(module, (), kwargs={"q": q, "k": k, "v": v})
    found = exported.module()(q=q, k=k, v=v)
    torch.testing.assert_close(found, module(q, k, v), rtol=2.0**-9, atol=2.0**-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_compiled_under_autocast(name: str) -> None:
    text = f"attention a(q, k, v) {{\n{PROGRAMS[name]}\n}}"
    module = azc.compile_attention(azc.loads(text))
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 1, 2, 96, 16, generator=random).half()
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        found, wanted = compiled(*inputs), module(*inputs)
    torch.testing.assert_close(found, wanted, rtol=2.0**-10, atol=2.0**-10)
