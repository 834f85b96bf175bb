"""What a score looks at in one pass: inner values, gradients, attention weights.

Codes: U030 a training-free score was requested for several documents in a sequence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from azc.check.program import ModelSpec
from azc.diagnostics import UsageError
from azc.lower.layer import Layer, compile_layer
from azc.model.config import AzcConfig, spec_of
from azc.model.tasks import AzcForCausalLM, AzcForMaskedLM

__all__ = [
    "Inputs",
    "Scored",
    "attention_weights",
    "captured",
    "checked",
    "gradients",
    "layers_of",
    "loss_of",
    "real_tokens",
    "still",
    "submodules",
]

Scored = AzcForMaskedLM | AzcForCausalLM
Inputs = Mapping[str, torch.Tensor]
"""What the model is called with: `input_ids` and `labels` [B, N], and `attention_mask`
where there is padding (`azc.data.contract.Batch.inputs` makes it).
"""


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Without dropout; each module is then in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def loss_of(model: Scored, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The loss of a batch, with its graph."""
    extras = {"targets_only": True} if isinstance(model, AzcForMaskedLM) else {}
    with torch.enable_grad():
        loss = model(**inputs, **extras).loss
    assert isinstance(loss, torch.Tensor)
    return loss


def gradients(
    loss: torch.Tensor, tensors: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The gradients of a loss, 0 where it does not depend on a tensor; those that the
    weights have kept stay as they are.
    """
    found = torch.autograd.grad(loss, tensors, allow_unused=True)
    return [
        torch.zeros_like(tensor) if grad is None else grad
        for tensor, grad in zip(tensors, found, strict=True)
    ]


def real_tokens(inputs: Inputs) -> torch.Tensor:
    """Bool [B, N], true at real tokens. Raises `UsageError` U030 where sequences hold
    several documents: layers then see them one by one, and not where they stand.
    """
    if "document_ids" in inputs:
        raise UsageError(
            "U030",
            "a training-free score is of sequences of one document each",
            "leave document_ids out, and give each document a sequence of its own",
        )
    mask = inputs.get("attention_mask")
    ids = inputs["input_ids"]
    return torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()


def layers_of(model: Scored) -> list[Layer]:
    """The compiled layers."""
    return [layer for layer in model.model.encoder.layers if isinstance(layer, Layer)]


def checked(model: Scored) -> ModelSpec:
    """The checked program that the model is compiled from."""
    config = model.config
    assert isinstance(config, AzcConfig)
    return spec_of(config)


def submodules(module: nn.Module, pattern: str) -> list[nn.Module]:
    """Those whose whole name matches, in order."""
    found = module.named_modules()
    return [each for name, each in found if re.fullmatch(pattern, name)]


@contextmanager
def captured(
    modules: Sequence[nn.Module], take: Callable[[tuple[Any, ...]], Any]
) -> Iterator[list[Any]]:
    """What `take` makes of the arguments of each of the modules, in the order of the
    calls.
    """
    seen: list[Any] = []

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(take(args))

    handles = [module.register_forward_pre_hook(look) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def attention_weights(model: Scored, inputs: Inputs) -> list[torch.Tensor]:
    """What attention dropout acts on, [B, heads, N, N] each: what leaves a softmax (or
    another normaliser of rows) between every two tokens.
    """
    spec = checked(model)
    batch, tokens = inputs["input_ids"].shape
    found: list[torch.Tensor] = []
    with torch.no_grad():
        layers = layers_of(model)
        with captured(layers, tuple) as calls:
            given = {n: x for n, x in inputs.items() if n != "labels"}
            model.model(**given, use_cache=False)
        for layer, own, args in zip(layers, spec.layers, calls, strict=True):
            # The same layer in plain code, with dropouts to look at, and its weights, not
            # copied.
            with torch.device("meta"):
                look_at = replace(spec, attention_dropout=0.5)
                twin = compile_layer(look_at, own, backends=())
            twin.load_state_dict(layer.state_dict(), assign=True)
            twin.eval()
            dropouts = submodules(twin, r"attention\.dropout_\d+")
            with captured(dropouts, lambda given: given[0]) as seen:
                twin(*args)
            found += [each.expand(batch, own.heads, tokens, tokens) for each in seen]
    return found
