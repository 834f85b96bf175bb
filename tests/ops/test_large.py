"""Norms and distances of rows of any size that the number type has.

The squares of what is beyond 1.8e19, and those of what is below 1e-19, are out of the
range of float32 and bfloat16, and beyond 1e154 of that of float64. Whole fractions say
what is right, and for the narrower types and their gradients PyTorch in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from azc.ir.run import Interpreter
from azc.lower import rows
from azc.lower.attention import compile_graph
from azc.ops.contract import Frame, Sample, State, Value
from azc.ops.defs.products import COSINE_EPS
from azc.ops.defs.rows import LAYER_NORM_EPS, NORMALIZE_EPS, RMS_NORM_EPS
from azc.ops.table import load_ops
from azc.shapes import D, N, Shape
from tests.ops.lowered import HEADS, WIDTH, Lowered, draw, lower, present, reference
from tests.properties.test_agreement import graph_of

torch.set_num_threads(1)

Exact = Sequence[Fraction]
Tensors = list[torch.Tensor]

# Powers of 2 that rows are drawn up to.
NARROW, WIDE = 120, 1000
DTYPES = {torch.float32: 2.0**-20, torch.bfloat16: 2.0**-5}


def root(x: Fraction) -> Fraction:
    """The square root, to 2⁻³⁰⁰⁰."""
    return Fraction(math.isqrt(x.numerator * 4**3000 // x.denominator), 2**3000)


def long(row: Exact) -> Fraction:
    return root(sum((x * x for x in row), Fraction(0)))


def average(row: Exact) -> Fraction:
    return sum(row, Fraction(0)) / len(row)


def over_root(row: Exact, eps: float) -> list[Fraction]:
    size = root(average([x * x for x in row]) + Fraction(eps))
    return [x / size for x in row]


def normalized(row: Exact, eps: float) -> list[Fraction]:
    size = max(long(row), Fraction(eps))
    return [x / size for x in row]


def cosine(x: Exact, y: Exact) -> Fraction:
    pair = zip(normalized(x, COSINE_EPS), normalized(y, COSINE_EPS), strict=True)
    return sum((a * b for a, b in pair), Fraction(0))


ONE: dict[str, Callable[[Exact], list[Fraction]]] = {
    "mean": lambda row: [average(row)],
    "normalize": lambda row: normalized(row, NORMALIZE_EPS),
    "layer_norm": lambda row: over_root(
        [x - average(row) for x in row], LAYER_NORM_EPS
    ),
    "rms_norm": lambda row: over_root(row, RMS_NORM_EPS),
}
TWO: dict[str, Callable[[Exact, Exact], Fraction]] = {
    "cosine": cosine,
    "euclidean": lambda x, y: long([a - b for a, b in zip(x, y, strict=True)]),
}
OPS = [*ONE, *TWO]


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=COSINE_EPS)


TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "mean": lambda x: x.mean(-1, keepdim=True),
    "normalize": lambda x: F.normalize(x, dim=-1, eps=NORMALIZE_EPS),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:], eps=RMS_NORM_EPS),
    # Not that of torch, whose gradient is off near its eps.
    "cosine": lambda x, y: unit(x) @ unit(y).mT,
    "euclidean": lambda x, y: torch.linalg.vector_norm(
        x[..., :, None, :] - y[..., None, :, :], dim=-1
    ),
}


def drawn(most: int) -> np.ndarray[Any, Any]:
    """Rows of all sizes: each of one, of mixed ones, near each other, with zeros."""
    random = np.random.default_rng(0)
    found = [
        random.normal(size=WIDTH) * 2.0**p for p in range(-most, most + 1, most // 10)
    ]
    found += [
        random.normal(size=WIDTH) * 2.0 ** random.integers(-most, most, WIDTH)
        for _ in range(4)
    ]
    found += [found[-5] * 1.25, found[0] * 1.5, np.zeros(WIDTH)]
    found += [np.array([2.0**most, 0, 0, 1]), np.array([1.9, -1.9, 1.9, 1.9])]
    found[-1] *= 2.0 ** (most + (7 if most == NARROW else 21))
    return np.stack(found)


def alone(op: str) -> Lowered:
    """The operation as the compiler lowers it, where all is present."""
    shapes = (Shape(N, D),) * (2 if op in TWO else 1)
    known = tuple(State(shape, None, frozenset()) for shape in shapes)
    return lower(load_ops()[op], Sample(shapes, {}), known, packed=True)


def values_and_gradients(
    op: str, function: Callable[..., torch.Tensor], data: Tensors
) -> Tensors:
    leaves = [x.detach().requires_grad_() for x in data]
    out = function(*leaves)
    random = torch.Generator().manual_seed(0)
    up = torch.randn(out.shape, generator=random, dtype=torch.float64)
    # A distance beyond the range of the type is infinite, and has no slope.
    fits = out.detach().double().abs() < 3e38
    loss = torch.where(fits, out.double() * up, 0.0)
    grads = torch.autograd.grad(loss, leaves, torch.ones_like(loss))
    return [torch.where(fits, out.detach().double(), 0.0), *(g.double() for g in grads)]


@pytest.mark.parametrize("op", OPS)
def test_reference_and_float64_beside_fractions(op: str) -> None:
    data = drawn(WIDE)
    exact = [[Fraction(each) for each in row] for row in data.tolist()]
    if op in ONE:
        wanted = np.array([[float(x) for x in ONE[op](row)] for row in exact])
    else:
        wanted = np.array([[_number(TWO[op](x, y)) for y in exact] for x in exact])
    frame = Frame(np, len(data), WIDTH, 0, 1, {})
    operands = [Value(data, np.ones(data.shape, bool))] * (2 if op in TWO else 1)
    with np.errstate(over="ignore"):
        found = load_ops()[op].reference(frame, *operands).data
    made = alone(op)
    x = torch.from_numpy(data)[None, None].expand(1, HEADS, *data.shape)
    real = torch.ones(1, len(data)).bool()
    lowered = made([x] * len(operands), real, [])[0, 0].numpy()
    room = 1e-13
    if op == "mean":
        # What is left of numbers that cancel is as exact as they are.
        wanted, found, lowered = (
            each / np.abs(data).max(-1, keepdims=True).clip(1e-320)
            for each in (wanted, found, lowered)
        )
    for each in (found, lowered):
        np.testing.assert_allclose(each, wanted, rtol=room, atol=_least(op, room))


def _number(x: Fraction) -> float:
    try:
        return float(x)
    except OverflowError:
        return math.inf


def _least(op: str, room: float) -> float:
    """Distances are as exact as they are small; the others are of size 1."""
    return 0.0 if op == "euclidean" else room


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_values_and_gradients_in_narrower_types(op: str, dtype: torch.dtype) -> None:
    data = torch.from_numpy(drawn(NARROW)).to(dtype)[None, None]
    data = data.expand(1, HEADS, -1, -1).contiguous()
    operands = [data, data.flip(-1)] if op in TWO else [data]
    made, real = alone(op), torch.ones(1, data.shape[2]).bool()
    found = values_and_gradients(op, lambda *x: made(x, real, []), operands)
    wide = [x.double() for x in operands]
    wanted = values_and_gradients(op, TORCH[op], wide)
    assert all(x.isfinite().all() for x in found)
    room = DTYPES[dtype]
    got, want = found[0], wanted[0]
    if op == "mean":
        most = operands[0].double().abs().amax(-1, keepdim=True).clamp(min=1e-300)
        got, want = got / most, want / most
    if op == "euclidean":
        room = DTYPES[torch.float32]  # stays there
    assert ((got - want).abs() <= room * want.abs() + _least(op, room)).all()
    room = 2 * DTYPES[dtype]
    for got, want in zip(found[1:], wanted[1:], strict=True):
        most = want.abs().amax(-1, keepdim=True)
        if op in TWO:  # each row has the sum over many, some of which cancel
            most = most.clamp(min=1.0 if op == "euclidean" else 0.0)
        assert ((got - want).abs() <= room * most + 2.0**-140).all()


@pytest.mark.parametrize("op", OPS)
def test_windows_and_padding(op: str) -> None:
    """Rows that lack unlike entries, beside the reference."""
    shapes = (Shape(N, N),) * (2 if op in TWO else 1)
    known = tuple(State(shape, 1 + i, frozenset()) for i, shape in enumerate(shapes))
    made = lower(load_ops()[op], Sample(shapes, {}), known)
    real = torch.tensor([[1, 0, 1, 1, 1, 0, 1, 1]]).bool()
    for power in (-100, -70, 70, 100):
        operands, _ = draw(made, real, (1e38, -1e38, 0.0))
        operands = [
            _enlarged(x, state, real, power)
            for x, state in zip(operands, known, strict=True)
        ]
        found = made(operands, real, [])[0]
        for head in range(HEADS):
            wanted = reference(made, [x[0, head] for x in operands], real[0], head, [])
            rest = present(made.after, real[0])
            got = found[head][rest].double().numpy()
            want = wanted.data[wanted.present]
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=_least(op, 1e-5))


def _enlarged(
    x: torch.Tensor, state: State, real: torch.Tensor, power: int
) -> torch.Tensor:
    there = present(state, real[0])
    return torch.where(there, x * 2.0**power, x).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_are_what_they_are_alone(dtype: torch.dtype) -> None:
    """To the bit, whatever stands beside them."""
    drawn = torch.Generator().manual_seed(0)
    usual = torch.randn(40, 6, generator=drawn, dtype=dtype)
    usual[3] = 0.0
    for other in (1e30, 1e-30, math.inf, math.nan):
        mixed = torch.cat([usual, torch.full((1, 6), other, dtype=dtype)])
        for one in (
            lambda x: rows.mean(x, None),
            lambda x: rows.normalize(x, NORMALIZE_EPS),
            lambda x: rows.layer_norm(x, None, LAYER_NORM_EPS),
            lambda x: rows.rms_norm(x, None, RMS_NORM_EPS),
        ):
            assert torch.equal(one(mixed)[:40], one(usual))
        assert torch.equal(
            rows.distances(mixed, mixed)[:40, :40], rows.distances(usual, usual)
        )


class Every(torch.nn.Module):
    """All of them, of the same rows."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gone = torch.zeros(x.shape[-2:], dtype=torch.bool)
        gone[..., -1] = True
        return (
            rows.mean(x, None),
            rows.normalize(x, NORMALIZE_EPS),
            rows.layer_norm(x, None, LAYER_NORM_EPS),
            rows.rms_norm(x, None, RMS_NORM_EPS),
            rows.cosines(x, x, None, None, COSINE_EPS),
            rows.cosines(x, x, gone, None, COSINE_EPS),
            rows.distances(x, x),
            rows.distances(x, x, None, gone),
        )


def test_where_values_cannot_be_read() -> None:
    """In an export and under `vmap`: the same."""
    data = torch.from_numpy(drawn(NARROW)).float()
    exported = torch.export.export(Every(), (data,)).module()
    mapped = torch.func.vmap(Every())
    for size in (data, torch.randn(data.shape)):
        wanted = Every()(size)
        for found in (exported(size), [x[0] for x in mapped(size[None])]):
            for got, want in zip(found, wanted, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-5, atol=0.0)


def test_a_distance_from_what_is_very_large_in_a_program() -> None:
    graph = graph_of(
        "attention far(q, k, v) { return log(euclidean(q, exp(exp(k)))) @ v }"
    )
    random = np.random.default_rng(0)
    q, v = (random.normal(size=(5, 4)) for _ in range(2))
    k = random.uniform(3.5, 4.4, (5, 4))  # exp(exp(4.4)) is 3e35
    wanted = Interpreter(graph)(q=q, k=k, v=v)
    inputs = {"q": q, "k": k, "v": v}
    tensors = {n: torch.from_numpy(x)[None, None].float() for n, x in inputs.items()}
    found = compile_graph(graph)(**tensors)[0, 0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
