"""Small models to test with: built from text, shaken, padded in every way."""

from __future__ import annotations

from typing import Any

import torch

from azc.check.program import ModelSpec, Program
from azc.check.resolve import check_source
from azc.lower.runtime import order_of, positions_of
from azc.model.modeling import AzcPreTrainedModel
from azc.model.tasks import Task, build_model
from azc.source import Source

ATTENTIONS = """
attention sdpa(q, k, v) {
    return softmax(scale(q @ k.T)) @ v
}
attention windowed(q, k, v) {
    return softmax(window(scale(q @ k.T), radius = 2)) @ v
}
attention alibi_keys(q, k) {
    return softmax(alibi(scale(q @ k.T))) @ (q + k)
}
attention turned(q, k, v) {
    return softmax(scale(rope(q) @ rope(k).T)) @ v
}
attention primer(q, k, v) {
    a = conv(q, kernel = 3)
    return softmax(scale(a @ conv(k, kernel = 5).T)) @ conv(v, kernel = 3)
}
attention linear(q, k, v) {
    return q @ (softmax(k.T) @ v)
}
attention distances(q, k, v) {
    return softmax(-euclidean(q, k) + cosine(q, k)) @ layer_norm(v) - mean(q @ k.T) * v
}
"""

SETTINGS = {
    "vocab": 50,
    "hidden": 16,
    "heads": 2,
    "ffn": 24,
    "max_length": 40,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


def text_of(layers: str = "sdpa", attentions: str = ATTENTIONS, **settings: Any) -> str:
    """A program with one model `m`: `layers` are separated by `;`."""
    lines = []
    for name, value in {**SETTINGS, **settings}.items():
        shown = str(value).lower() if isinstance(value, bool) else value
        lines.append(f"    {name} = {shown}")
    body = "\n".join(f"        {layer.strip()}" for layer in layers.split(";"))
    return (
        attentions
        + "model m {\n"
        + "\n".join(lines)
        + "\n    layers {\n"
        + body
        + "\n    }\n}\n"
    )


def check(layers: str = "sdpa", **settings: Any) -> tuple[Program, ModelSpec]:
    """The checked program of `text_of`, and its model."""
    program = check_source(Source("test.azg", text_of(layers, **settings)))
    return program, program.models["m"]


def build(
    layers: str = "sdpa",
    task: Task = "masked-lm",
    shaken: bool = True,
    num_labels: int = 3,
    **settings: Any,
) -> Any:
    """A model in evaluation mode; shaken: nothing is zero or one any more."""
    program, _ = check(layers, **settings)
    torch.manual_seed(0)
    model = build_model(program, "m", task=task, num_labels=num_labels).eval()
    return shake(model) if shaken else model


def shake(model: AzcPreTrainedModel, size: float = 0.3) -> AzcPreTrainedModel:
    """Noise on every parameter, so that biases and norms matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(size * noise)
    return model


def masks(lengths: list[int], tokens: int, layout: str) -> torch.Tensor:
    """bool [B, N], so many real tokens a row; padding on the right, left or between."""
    mask = torch.zeros(len(lengths), tokens, dtype=torch.bool)
    generator = torch.Generator().manual_seed(2)
    for row, length in zip(mask, lengths, strict=True):
        if layout == "right":
            row[:length] = True
        elif layout == "left":
            row[tokens - length :] = True
        else:
            row[torch.randperm(tokens, generator=generator)[:length]] = True
    return mask


def places(
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What a layer is called with beside its input: mask, positions, order."""
    positions = positions_of(mask, mask)
    return mask, positions, order_of(mask, positions)


LAYOUTS = ("right", "left", "holes")
