"""References of convolutions against loops over the definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from azc.mixing.contract import LayerSizes
from azc.mixing.convolution import CONV_KINDS

Array = NDArray[np.float64]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return np.asarray(powers / powers.sum())


def head_of(c: int, sizes: LayerSizes) -> int:
    """⌈c·H / d⌉ with c from 1 (Wu et al. 2019); counted from 0 here."""
    return math.ceil((c + 1) * sizes.heads / sizes.hidden) - 1


def light(sizes: LayerSizes, weights: Mapping[str, Array], x: Array, c: int) -> Array:
    return softmax(weights["kernel"][head_of(c, sizes)])


def dynamic(sizes: LayerSizes, weights: Mapping[str, Array], x: Array, c: int) -> Array:
    head = head_of(c, sizes)
    offset = weights["predict.bias"][head] if sizes.bias else 0.0
    return softmax(weights["predict.weight"][head] @ x + offset)


def depthwise(
    sizes: LayerSizes, weights: Mapping[str, Array], x: Array, c: int
) -> Array:
    return weights["kernel"][c]


def convolved(
    x: Array, taps: Callable[[Array, int], Array], kernel: int, causal: bool
) -> Array:
    """Wu et al. 2019, section 2: out[i, c] = Σⱼ W[c, j] · X[i + j − ⌈(k + 1) / 2⌉, c],
    j from 1, with zeros outside; a causal one ends with token i. `taps` gives W[c, :] for
    a token.
    """
    tokens, channels = x.shape
    out = np.zeros_like(x)
    back = kernel if causal else math.ceil((kernel + 1) / 2)
    for i in range(1, tokens + 1):
        for c in range(channels):
            weights = taps(x[i - 1], c)
            assert len(weights) == kernel
            for j in range(1, kernel + 1):
                if 1 <= i + j - back <= tokens:
                    out[i - 1, c] += weights[j - 1] * x[i + j - back - 1, c]
    return out


@pytest.mark.parametrize("taps", [light, dynamic, depthwise], ids=lambda f: f.__name__)
@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "causal"])
@pytest.mark.parametrize(
    ("n", "hidden", "heads", "kernel"),
    [
        (1, 1, 1, 1),
        (1, 4, 2, 3),
        (7, 4, 1, 3),
        (7, 6, 3, 9),
        (14, 4, 2, 5),
        (5, 4, 4, 3),
    ],
)
def test_references(
    taps: Callable[..., Array],
    causal: bool,
    n: int,
    hidden: int,
    heads: int,
    kernel: int,
) -> None:
    kind = CONV_KINDS[taps.__name__]
    for bias in (True, False):
        sizes = LayerSizes(hidden, heads, bias, causal)
        random = np.random.default_rng(0)
        rows = kind.learned(sizes, kernel)
        weights = {each.name: random.normal(size=each.shape) for each in rows}
        x = random.normal(size=(n, hidden))

        found = kind.reference(np, sizes, kernel, weights, x)
        np.testing.assert_allclose(
            found,
            convolved(x, partial(taps, sizes, weights), kernel, causal),
            atol=1e-12,
        )
