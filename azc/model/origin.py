"""Identification of the model that a cache belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from azc.lower.masks import is_recorded
from azc.model.config import AzcConfig

__all__ = ["Origin", "origin_of"]

_SAMPLES = 64  # entries of a parameter that are hashed


@dataclass(frozen=True)
class Origin:
    """The model that made a cache.

    Attributes:
        program: The text of its program.
        model: Its name in the program.
        weights: A fingerprint of its parameters, None if unknown.
        dtype: The number type that it computed in, None if unknown.
    """

    program: str
    model: str
    weights: str | None = None
    dtype: torch.dtype | None = None

    def fault(self, now: Origin) -> str | None:
        """Return why the model `now` can't continue from a cache of this one, or None."""
        if (self.program, self.model) != (now.program, now.model):
            return "past_key_values belongs to another model"
        if None not in (self.dtype, now.dtype) and self.dtype != now.dtype:
            before, after = (
                str(x).removeprefix("torch.") for x in (self.dtype, now.dtype)
            )
            return f"past_key_values was made in {before}, but the model computes in {after}"
        if None not in (self.weights, now.weights) and self.weights != now.weights:
            return "past_key_values was made with other weights than the model's"
        return None


def origin_of(
    model: nn.Module, config: AzcConfig, embeds: torch.Tensor, begins: bool
) -> Origin:
    """Identify a model by what it computes with.

    Args:
        model: The model.
        config: Its configuration.
        embeds: The embeddings that it is called with, [B, N, hidden].
        begins: Whether a new cache is made. Only then parameters that were replaced are
            noticed; those that were changed in place always are.

    Returns:
        The origin. Weights and number type are unknown where values can't be read, as
        under `torch.compile`.
    """
    if is_recorded():
        return Origin(config.program, config.model)
    kind = embeds.device.type
    dtype = embeds.dtype
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return Origin(config.program, config.model, _weights(model, begins), dtype)


class _Known(NamedTuple):
    parameters: Sequence[nn.Parameter]
    versions: Sequence[int]
    weights: str | None


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def _weights(model: nn.Module, begins: bool) -> str | None:
    """Return a fingerprint of a model's parameters, which is kept until they change."""
    found = _known.get(model)
    # Walking through all modules takes as long as computing a layer.
    parameters = list(model.parameters()) if begins or not found else found.parameters
    versions = [-1 if p.is_inference() else p._version for p in parameters]
    if found is not None and found.versions == versions:
        same = zip(found.parameters, parameters, strict=True)
        if all(one is other for one, other in same):
            return found.weights
    weights = _fingerprint(parameters)
    _known[model] = _Known(parameters, versions, weights)
    return weights


@torch.no_grad()
def _fingerprint(parameters: Sequence[nn.Parameter]) -> str | None:
    """Hash some entries of each parameter; None if they can't be read."""
    try:
        parts = [
            p.flatten()[:: max(1, p.numel() // _SAMPLES)].double().cpu()
            for p in parameters
        ]
        content = torch.cat(parts).numpy().tobytes()
    except Exception:  # some kinds of tensors have no data of their own
        return None
    return hashlib.sha256(content).hexdigest()[:16]
