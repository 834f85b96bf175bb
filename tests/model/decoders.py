"""Small decoders that keep what there is to keep, and what they are made to generate."""

from __future__ import annotations

from typing import Any

import torch

from tests.model.models import ATTENTIONS, build

__all__ = ["IDS", "LAYERS", "LEFT", "SUMS", "close", "decoder", "generate"]

SUMS = """
attention sums(q, k, v) {
    return q @ (k.T @ v) + mean(k.T).T * v
}
attention fading(q, k, v) {
    means = softmax(q) @ (softmax(k.T) @ v)
    return means + q * sum(softmax(k.T) * v.T).T + amax(v.T).T
}
attention bands(q, k, v) {
    s = window(q @ conv(k, kernel = 3).T, radius = 3) + sum(k).T
    return softmax(s) @ v + relu(window(s, radius = 1)) @ v
}
"""
# What is kept: keys and values; rows of convolutions; the columns of a snapshot; sums;
# the last of all of them alone.
LAYERS = {
    "attention": "sdpa; conv(kernel = 3); turned",
    "snapshot": "linear; primer; conv(kernel = 5, kind = dynamic)",
    "sums": "sums; conv(kernel = 3, kind = depthwise); fading; windowed",
    "near": "windowed; conv(kernel = 5); bands; conv(kernel = 3, kind = dynamic)",
}
Tensor = torch.Tensor


def decoder(layers: str, **settings: Any) -> Any:
    return build(
        layers,
        task="causal-lm",
        causal=True,
        attentions=ATTENTIONS + SUMS,
        **settings,
    )


IDS = torch.randint(1, 50, (3, 6), generator=torch.Generator().manual_seed(3))
LEFT = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6, [0, 1, 1, 1, 1, 1]])


def generate(
    model: Any, ids: Tensor | None = IDS, mask: Tensor | None = LEFT, **more: Any
) -> Any:
    torch.manual_seed(0)
    settings = {"max_new_tokens": 7, "pad_token_id": 0, "eos_token_id": None}
    return model.generate(ids, attention_mask=mask, **{**settings, **more})


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
