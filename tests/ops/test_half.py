"""Operations in float16 and bfloat16: rows of more than a thousand tokens, padding
anywhere, values and gradients beside those in float64.

Sums of so many entries are out of float16's range, and bfloat16 can't even count them,
so that a row accumulated in half precision shows.
"""

from __future__ import annotations

import pytest
import torch

from azc.ops.contract import Op, Sample, State
from azc.shapes import N, Shape
from tests.ops.lowered import CASES, Lowered, case_id, draw, lower, present

TOKENS = 1040
# Real tokens with padding left, right and in between.
REAL = torch.arange(TOKENS).remainder(17).ne(3)[None]
REAL[0, :5] = REAL[0, -7:] = False
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
RANGE = 6e4  # of float16, and a little less
LEAST = 0.1
LARGE = 80.0  # its square, or a thousand of it, is out of range

torch.set_num_threads(1)


def takes_tokens(case: tuple[Op, Sample]) -> bool:
    """Takes tokens along some axis, and at most one operand holds all pairs."""
    _, sample = case
    pairs = [shape for shape in sample.shapes if shape == Shape(N, N)]
    long = any(N in (shape.rows, shape.cols) for shape in sample.shapes)
    return long and len(pairs) <= (1 if len(sample.shapes) == 1 else 0)


HALF = [case for case in CASES if takes_tokens(case)]


def result_and_gradients(
    made: Lowered, operands: list[torch.Tensor], weights: list[torch.Tensor]
) -> list[torch.Tensor]:
    """What comes out, and its gradients at operands and weights, in float64."""
    leaves = [x.detach().requires_grad_() for x in (*operands, *weights)]
    size = len(operands)
    out = made(leaves[:size], REAL, leaves[size:])
    there = present(made.after, REAL[0])
    random = torch.Generator().manual_seed(2)
    up = torch.randn(out.shape, generator=random) * there
    grads = torch.autograd.grad((out * up).sum(), leaves, allow_unused=True)
    kept = [torch.where(there, out, 0.0)]
    kept += [torch.zeros(()) if grad is None else grad for grad in grads]
    return [x.detach().double() for x in kept]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize(("op", "sample"), HALF, ids=map(case_id, HALF))
def test_half_precision(op: Op, sample: Sample, dtype: torch.dtype) -> None:
    known = tuple(State(shape, None, frozenset()) for shape in sample.shapes)
    made = lower(op, sample, known)
    compared = 0
    for size in (1.0, LARGE):
        operands, weights = draw(made, REAL, (3.0, -1.0, 0.0), positive=True)
        small = [(x * size).to(dtype) for x in operands]
        taps = [w.to(dtype) for w in weights]
        found = result_and_gradients(made, small, taps)
        wide = [x.double() for x in small], [w.double() for w in taps]
        wanted = result_and_gradients(made, *wide)
        for got, want in zip(found, wanted, strict=True):
            most = float(want.abs().max())
            if most > RANGE:
                continue
            compared += 1
            # Much smaller numbers are what is left where sums cancel.
            off = float((got - want).abs().max()) / max(most, LEAST)
            # Products of narrow numbers are rounded; so is each gradient on its way.
            assert off < 32 * ROUNDING[dtype], (size, off)
    assert compared
