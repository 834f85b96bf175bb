"""References beside what others compute: torch's own functions, transformers, loops.

The lowering is compared with the reference elsewhere; here both could not be wrong
together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import BloomConfig, LlamaConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import (
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from azc.ops.contract import Frame, Value
from azc.ops.table import load_ops

Array = np.ndarray[Any, Any]


def run(op: str, *arrays: Array, frame: Frame | None = None, **attrs: int) -> Array:
    """The reference of an operation where everything is present."""
    frame = frame or Frame(np, 5, 4, 0, 1, {})
    values = [Value(x, np.ones(x.shape, bool)) for x in arrays]
    with np.errstate(all="ignore"):
        value = load_ops()[op].reference(frame, *values, **attrs)
    assert value.present.all()
    return value.data


def data(rows: int = 5, cols: int = 4, seed: int = 0) -> Array:
    """Random numbers, some of them large, one 0."""
    found = np.random.default_rng(seed).normal(size=(rows, cols)) * 3.0
    found.flat[0], found.flat[2], found.flat[-1] = 0.0, 30.0, -30.0
    return found


UNARY = {
    "neg": lambda x: -x,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "square": lambda x: x**2,
    "reciprocal": lambda x: 1 / x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "softsign": F.softsign,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "scale": lambda x: x / math.sqrt(4),
    "transpose": lambda x: x.t(),
    "softmax": lambda x: F.softmax(x, -1),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:], eps=2.0**-23),
    "sum": lambda x: x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(-1, keepdim=True),
    "amax": lambda x: x.max(-1, keepdim=True).values,
}
BINARY = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": torch.max,
    "minimum": torch.min,
    "matmul": lambda x, y: x @ y.t(),
    "cosine": lambda x, y: F.cosine_similarity(x[:, None], y[None], dim=-1),
    "euclidean": lambda x, y: torch.cdist(x, y),
}


@pytest.mark.parametrize("op", UNARY)
def test_one_operand(op: str) -> None:
    for x in (data(), np.abs(data()), data(seed=1) * 1e-3, np.zeros((3, 4))):
        wanted = UNARY[op](torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(run(op, x), wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("op", BINARY)
def test_two_operands(op: str) -> None:
    for x, y in ((data(), data(seed=1)), (data(), data()), (data(), data() * 0.0)):
        wanted = BINARY[op](torch.from_numpy(x), torch.from_numpy(y)).numpy()
        found = run(op, x, y.T if op == "matmul" else y)
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-7)


def test_rms_norm_of_torch_in_float32() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 1e-3
    wanted = F.rms_norm(torch.from_numpy(x), (4,)).numpy()
    np.testing.assert_allclose(run("rms_norm", x.astype(float)), wanted, rtol=1e-5)


def test_rope_is_that_of_transformers() -> None:
    heads, n, d = 2, 9, 8
    config = LlamaConfig(hidden_size=heads * d, num_attention_heads=heads)
    x = torch.randn(1, heads, n, d)
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(n)[None])
    wanted = apply_rotary_pos_emb(x, x, cos, sin)[0].numpy()
    for head in range(heads):
        frame = Frame(np, n, d, head, heads, {})
        found = run("rope", x[0, head].double().numpy(), frame=frame)
        np.testing.assert_allclose(found, wanted[0, head], rtol=1e-5, atol=1e-5)


def test_rope_leaves_products_of_equal_distance_alone() -> None:
    n, d = 12, 7
    frame = Frame(np, n, d, 0, 1, {})
    q, k = np.tile(data(2, d)[:1], (n, 1)), np.tile(data(2, d, 1)[:1], (n, 1))
    scores = run("rope", q, frame=frame) @ run("rope", k, frame=frame).T
    for offset in range(-n + 1, n):
        along = np.diagonal(scores, offset)
        np.testing.assert_allclose(along, along[0], rtol=1e-9)
    assert np.ptp(scores[0]) > 1.0


@pytest.mark.parametrize("heads", range(1, 41))
def test_alibi_is_that_of_transformers(heads: int) -> None:
    n = 7
    assert BloomConfig(n_head=heads).n_head == heads
    bias = build_alibi_tensor(torch.ones(1, n), heads, torch.float32)
    slopes = bias.view(heads, n)[:, 1].numpy()  # m times the position of the key
    for head in range(heads):
        frame = Frame(np, n, 4, head, heads, {})
        found = run("alibi", np.zeros((n, n)), frame=frame)
        for i in range(n):
            for j in range(n):
                wanted = -slopes[head] * abs(i - j)
                assert found[i, j] == pytest.approx(wanted, rel=1e-6)


def test_window_by_hand() -> None:
    frame = Frame(np, 5, 4, 0, 1, {})
    x = np.ones((5, 5))
    value = load_ops()["window"].reference(frame, Value(x, x > 0), radius=1)
    wanted = [[abs(i - j) <= 1 for j in range(5)] for i in range(5)]
    assert value.present.tolist() == wanted


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_conv_is_a_depthwise_convolution_of_torch(kernel: int) -> None:
    x, taps = data(), data(4, kernel, seed=2)
    frame = Frame(np, 5, 4, 0, 1, {"kernel": taps})
    found = run("conv", x, frame=frame, kernel=kernel)
    rows, weight = torch.from_numpy(x.T)[None], torch.from_numpy(taps)[:, None]
    wanted = F.conv1d(rows, weight, padding="same", groups=4)[0].numpy().T
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


def test_every_operation_has_one() -> None:
    assert {*UNARY, *BINARY, "rope", "alibi", "window", "conv"} == set(load_ops())


def test_absent_entries_by_hand() -> None:
    frame = Frame(np, 3, 4, 0, 1, {})
    x = Value(np.array([[1.0, 2.0, 9.0]]), np.array([[True, True, False]]))
    none = Value(x.data, np.zeros((1, 3), bool))
    ops = load_ops()
    softmax = ops["softmax"].reference(frame, x).data
    np.testing.assert_allclose(softmax, [[1 / (1 + math.e), math.e / (1 + math.e), 0]])
    assert ops["softmax"].reference(frame, none).data.tolist() == [[0, 0, 0]]
    for op, wanted in {"sum": 3.0, "mean": 1.5, "amax": 2.0}.items():
        assert ops[op].reference(frame, x).data.tolist() == [[wanted]]
        assert ops[op].reference(frame, none).data.tolist() == [[0.0]]
    half = ops["normalize"].reference(frame, x).data[0, :2]
    np.testing.assert_allclose(half, np.array([1.0, 2.0]) / math.sqrt(5))
    normed = ops["layer_norm"].reference(frame, x).data[0, :2]
    np.testing.assert_allclose(normed, np.array([-0.5, 0.5]) / math.sqrt(0.25 + 1e-5))
    other = Value(np.array([[5.0, 7.0, 3.0]]), np.array([[True, False, True]]))
    near = ops["euclidean"].reference(frame, x, other)
    assert near.data.tolist() == [[4.0]]
    assert ops["cosine"].reference(frame, x, other).data.tolist() == [[1.0]]
    product = ops["matmul"].reference(frame, x, Value(other.data.T, other.present.T))
    assert product.data.tolist() == [[5.0]]
