"""The standard library's attention programs in half precision: a thousand tokens, values
and gradients beside those in float64.
"""

from __future__ import annotations

import os

import pytest
import torch

import azc
from tests.rounding import ROUNDING

LIBRARY = azc.load("std.attention")
TOKENS = 1024
LONG = "AZC_HALF_EXAMPLES" in os.environ
# All of them where there is time (see tests/properties/test_half.py): n × n products in
# float16 take a CPU that has no such instructions a second.
EVERY = [
    (dtype, width, causal)
    for dtype in ROUNDING
    for width in (64, 128)
    for causal in (False, True)
]
SOME = [(torch.float16, 128, False), (torch.bfloat16, 64, True)]
MORE = [*SOME, (torch.float16, 64, True), (torch.bfloat16, 128, False)]
LINEAR = ("attention_free", "efficient_attention", "linear_attention", "mean_mixing")
CASES = [
    (name, *case)
    for name in sorted(LIBRARY.attentions)
    for case in (EVERY if LONG else MORE if name in LINEAR else SOME)
]

torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "dtype", "width", "causal"), CASES, ids=str)
def test_half_precision(
    name: str, dtype: torch.dtype, width: int, causal: bool
) -> None:
    module = azc.compile_attention(LIBRARY, name, causal=causal)
    random = torch.Generator().manual_seed(0)
    params = LIBRARY.attentions[name].params
    shape = (len(params) + 1, 1, 1, TOKENS, width)
    *inputs, up = torch.randn(shape, generator=random).to(dtype)

    def run(kind: torch.dtype) -> list[torch.Tensor]:
        leaves = [x.to(kind, copy=True).requires_grad_() for x in inputs]
        out = module(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, up.to(kind))]

    for found, wanted in zip(run(dtype), run(torch.float64), strict=True):
        # A few roundings, in a row and of scores, relative to the largest entry.
        off = (found.double() - wanted).abs().max() / wanted.abs().max()
        assert float(off) < 12 * ROUNDING[dtype]
