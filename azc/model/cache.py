"""What a decoder remembers of the tokens that it has seen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch.utils import _pytree as pytree
from transformers.cache_utils import Cache

from azc.lower.masks import holds
from azc.model.memory import LayerMemory, Stream

__all__ = ["AzcCache"]


class AzcCache(Cache):
    """What a decoder remembers, a `LayerMemory` for each layer.

    A model makes one when it is called with `use_cache`, and gives it back as
    `past_key_values`. Sequences are along the first axis of all that is kept.
    """

    def __init__(self, layers: int) -> None:
        self.memories = [LayerMemory() for _ in range(layers)]
        self.model: tuple[str, str] | None = None
        super().__init__(layers=list(self.memories))

    @property
    def sequences(self) -> int | None:
        """How many sequences there are; None where nothing is kept."""
        for layer in self.memories:
            for stream in layer.streams.values():
                return stream.data.shape[0]
            for states in layer.states.values():
                return states[0].shape[0]
        return None

    def crop(self, tokens_to_remove: int) -> None:
        """Takes back the last tokens, −k for k of them, of all layers or none.

        Raises ValueError where a sum is kept, where a window or a convolution has left
        tokens behind, and for a positive number.
        """
        for layer in self.memories:
            reason = layer.uncroppable(tokens_to_remove)
            if reason is not None:
                raise ValueError(reason)
        super().crop(tokens_to_remove)

    @property
    def real(self) -> torch.Tensor | None:
        """Which tokens are real, bool [B, N]; None for all."""
        return self.memories[0].real

    @property
    def is_initialized(self) -> bool:
        """Whether tokens were seen."""
        return self.get_seq_length() > 0

    @property
    def is_whole(self) -> bool:
        """Whether what is kept is each token's own, of all of them: not a sum, and none
        left behind.
        """
        return all(memory.is_whole for memory in self.memories)

    def begin(self, model: tuple[str, str], real: torch.Tensor | None) -> None:
        """Before a model sees tokens: which are real, with those before, bool [B, N];
        None for all. `model` tells models apart.
        """
        self.model = model
        begun = None if real is None else real.any(-1)
        if begun is not None and holds(begun, torch.all, unread=False):
            begun = None
        for layer in self.memories:
            layer.real, layer.begun = real, begun

    def advance(self, tokens: int) -> None:
        """Counts tokens that were seen."""
        for layer in self.memories:
            layer.advance(tokens)

    @property
    def bytes(self) -> int:
        """The memory that is taken, but for which tokens are real."""
        return sum(layer.bytes for layer in self.memories)


# As `torch.export` and others take a cache apart and put it together: tensors, the first of
# which tells the tokens that were seen, and what they are.


def _flatten(cache: AzcCache) -> tuple[list[torch.Tensor], list[Any]]:
    real = cache.real
    if real is None:
        device = next((x.device for x in _tensors(cache)), None)
        shape = (cache.sequences or 1, cache.get_seq_length())
        real = torch.ones(shape, dtype=torch.bool, device=device)
    layers = [
        {
            "streams": [
                [key, each.axis, each.square, each.reach]
                for key, each in memory.streams.items()
            ],
            "states": [[key, len(each)] for key, each in memory.states.items()],
            "record_past": memory.record_past,
            "recorded": memory.recorded,
        }
        for memory in cache.memories
    ]
    model = None if cache.model is None else list(cache.model)
    return [real, *_tensors(cache)], [model, layers]


def _tensors(cache: AzcCache) -> list[torch.Tensor]:
    return [x for memory in cache.memories for x in memory.tensors()]


def _unflatten(tensors: Iterable[torch.Tensor], context: list[Any]) -> AzcCache:
    model, layers = context
    real, *rest = tensors
    left = iter(rest)
    cache = AzcCache(len(layers))
    cache.model = None if model is None else tuple(model)
    for memory, told in zip(cache.memories, layers, strict=True):
        for key, *what in told["streams"]:
            memory.streams[key] = Stream(next(left), *what)
        for key, count in told["states"]:
            memory.states[key] = tuple(islice(left, count))
        memory.record_past, memory.recorded = told["record_past"], told["recorded"]
        memory.tokens = real.shape[1]
        memory.real = real if rest else None
    return cache


def _flatten_with_keys(
    cache: AzcCache,
) -> tuple[list[tuple[pytree.KeyEntry, torch.Tensor]], list[Any]]:
    tensors, context = _flatten(cache)
    return [(pytree.SequenceKey(i), x) for i, x in enumerate(tensors)], context


pytree.register_pytree_node(
    AzcCache,
    _flatten,
    _unflatten,
    serialized_type_name=f"{AzcCache.__module__}.{AzcCache.__name__}",
    flatten_with_keys_fn=_flatten_with_keys,
)
# What an exported program was made with is saved beside it.
torch.serialization.add_safe_globals([AzcCache, LayerMemory, Stream])
