"""Measurements of one pass for scores: inner values, gradients, attention weights.

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
"""Arguments of the model: `input_ids` and `labels` [B, N], and `attention_mask` [B, N] if
there is padding (made by `azc.data.contract.Batch.inputs`).
"""


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Disable dropout; afterwards, restore the mode of each module."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def loss_of(model: Scored, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Compute the loss of a batch with its autograd graph.

    Args:
        model: The model.
        inputs: Its arguments, `input_ids` and `labels` [B, N] and so on.

    Returns:
        The loss, a scalar [].
    """
    extras = {"targets_only": True} if isinstance(model, AzcForMaskedLM) else {}
    with torch.enable_grad():
        loss = model(**inputs, **extras).loss
    assert isinstance(loss, torch.Tensor)
    return loss


def gradients(
    loss: torch.Tensor, tensors: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Compute the gradients of a loss without changing the gradients of the weights.

    Args:
        loss: A scalar.
        tensors: Tensors of any shapes, such as [B, N, hidden].

    Returns:
        The gradients, each in the shape of its tensor; 0 if the loss does not
        depend on it.
    """
    found = torch.autograd.grad(loss, tensors, allow_unused=True)
    return [
        torch.zeros_like(tensor) if grad is None else grad
        for tensor, grad in zip(tensors, found, strict=True)
    ]


def real_tokens(inputs: Inputs) -> torch.Tensor:
    """Return a boolean mask [B, N], true at real tokens.

    Raises:
        UsageError: U030, if sequences hold several documents: layers see these one
            by one, in other positions.
    """
    if "document_ids" in inputs:
        raise UsageError(
            "U030",
            "training-free scores need sequences of one document each",
            "omit document_ids, and put each document in its own sequence",
        )
    mask = inputs.get("attention_mask")
    ids = inputs["input_ids"]
    return torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()


def layers_of(model: Scored) -> list[Layer]:
    """Return the compiled layers."""
    return [layer for layer in model.model.encoder.layers if isinstance(layer, Layer)]


def checked(model: Scored) -> ModelSpec:
    """Return the checked program that the model was compiled from."""
    config = model.config
    assert isinstance(config, AzcConfig)
    return spec_of(config)


def submodules(module: nn.Module, pattern: str) -> list[nn.Module]:
    """Return the submodules whose full name matches a pattern, in order."""
    found = module.named_modules()
    return [each for name, each in found if re.fullmatch(pattern, name)]


@contextmanager
def captured(
    modules: Sequence[nn.Module], take: Callable[[tuple[Any, ...]], Any]
) -> Iterator[list[Any]]:
    """Record the arguments of modules while they are called.

    Args:
        modules: The modules.
        take: Selects the value to record from the arguments of a call.

    Yields:
        The recorded values, in the order of the calls.
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
    """Return the attention weights, [B, heads, N, N] each.

    They are the values that attention dropout acts on: the results of a softmax (or
    another normalizer of rows) between all pairs of tokens.
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
            # The same layer in plain code, with dropout modules to observe. It shares
            # the weights.
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
