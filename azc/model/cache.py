"""The cache of a decoder."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch.utils import _pytree as pytree
from transformers.cache_utils import Cache

from azc.check.models import MAX_LENGTH
from azc.diagnostics import whole
from azc.lower.masks import holds, is_recorded
from azc.model.memory import Change, LayerMemory, Stream
from azc.model.origin import Origin
from azc.model.static import Slots, StaticMemory

__all__ = ["AzcCache"]


class AzcCache(Cache):
    """The cache of a decoder: a `LayerMemory` for each layer.

    A model creates one when it is called with `use_cache`, and returns it as
    `past_key_values`. The first axis of all tensors is the sequences.

    Args:
        layers: The number of layers of the model.
        max_cache_len: The number of tokens to allocate. The cache then has a fixed
            size, so that `torch.compile` makes one graph for all decoding steps.
            None lets it grow.

    Raises:
        UsageError: If `max_cache_len` is not a positive whole number.
    """

    def __init__(self, layers: int, max_cache_len: int | None = None) -> None:
        self.slots: Slots | None = None
        if max_cache_len is not None:
            self.slots = Slots(whole("max_cache_len", max_cache_len, 1, MAX_LENGTH))
        self.memories = [
            LayerMemory() if self.slots is None else StaticMemory(self.slots)
            for _ in range(layers)
        ]
        self.origin: Origin | None = None
        super().__init__(layers=list(self.memories))

    @property
    def sequences(self) -> int | None:
        """The number of sequences, or None if the cache is empty."""
        for layer in self.memories:
            for stream in layer.streams.values():
                return stream.data.shape[0]
            for states in layer.states.values():
                return states[0].shape[0]
        return None

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens, −k for k of them, from all layers or none.

        Raises:
            ValueError: If the cache holds a sum over tokens, if a window or a
                convolution has dropped tokens, or if the number is positive.
        """
        for layer in self.memories:
            reason = layer.uncroppable(tokens_to_remove)
            if reason is not None:
                raise ValueError(reason)
        super().crop(tokens_to_remove)

    def _change(self, change: Change) -> None:
        if self.slots is not None:
            self.slots.change(change)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Reorder sequences.

        Args:
            beam_idx: The old index of each new sequence, int64 [B].
        """
        super().reorder_cache(beam_idx)
        self._change(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence."""
        super().batch_repeat_interleave(repeats)
        self._change(lambda x: x.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only some sequences.

        Args:
            indices: Their indices, int64 [K], or a mask, bool [B].
        """
        super().batch_select_indices(indices)
        self._change(lambda x: x[indices])

    def reset(self) -> None:
        """Forget all tokens. A cache of a fixed size keeps its tensors."""
        super().reset()  # type: ignore[no-untyped-call]
        if self.slots is not None:
            self.slots.reset()

    @property
    def past(self) -> int | None:
        """The number of tokens seen so far.

        None while a graph is recorded for all steps of a cache of a fixed size: the
        graph must not depend on it.
        """
        if self.slots is not None and is_recorded():
            return None
        return self.get_seq_length()

    @property
    def real(self) -> torch.Tensor | None:
        """A mask of the real tokens, bool [B, N]; None if all are real."""
        if self.slots is not None:
            real = self.slots.real
            return None if real is None else real[:, : self.slots.seen]
        return self.memories[0].real

    @property
    def is_initialized(self) -> bool:
        """True if the cache holds tokens."""
        return self.get_seq_length() > 0

    @property
    def is_whole(self) -> bool:
        """True if the cache holds every token separately: it holds no sums, and no
        tokens were dropped.
        """
        return all(memory.is_whole for memory in self.memories)

    def check(self, now: Origin, past: int | None) -> None:
        """Check that a model can continue from the `past` tokens of the cache, and remember
        the model if there are none.

        Raises:
            ValueError: If another model, other weights or another number type made it.
        """
        fault = self.origin.fault(now) if self.origin and past != 0 else None
        if fault is not None:
            raise ValueError(fault)
        if self.origin is None or past == 0:
            self.origin = now

    def begin(self, real: torch.Tensor | None) -> None:
        """Prepare for a call of the model.

        Args:
            real: Real tokens, including earlier ones, bool [B, N]; None if all are
                real.
        """
        begun = None if real is None else real.any(-1)
        if begun is not None and holds(begun, torch.all, unread=False):
            begun = None
        for layer in self.memories:
            layer.real, layer.begun = None if self.slots else real, begun

    def advance(self, tokens: int) -> None:
        """Count tokens that the model has seen."""
        if self.slots is not None:
            self.slots.advance(tokens)
        for layer in self.memories:
            layer.advance(tokens)

    @property
    def bytes(self) -> int:
        """The memory of the tensors in bytes, without the mask of real tokens."""
        return sum(layer.bytes for layer in self.memories)


# Flattening for `torch.export` and others: tensors, beginning with those that encode the
# tokens seen, and a description of them.


def _flatten(cache: AzcCache) -> tuple[list[torch.Tensor], list[Any]]:
    slots = cache.slots
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
    # Weights are not included: an exported program has its own.
    origin = cache.origin
    model = None if origin is None else [origin.program, origin.model]
    size = None if slots is None else slots.size
    seen = _seen(cache)
    return [*seen, *_tensors(cache)], [model, layers, size, len(seen)]


def _seen(cache: AzcCache) -> list[torch.Tensor]:
    """Return the tensors that encode the tokens seen."""
    slots = cache.slots
    if slots is not None:
        return [x for x in (slots.real, slots.tokens) if x is not None]
    if cache.real is not None:
        return [cache.real]
    device = next((x.device for x in _tensors(cache)), None)
    shape = (cache.sequences or 1, cache.get_seq_length())
    return [torch.ones(shape, dtype=torch.bool, device=device)]


def _tensors(cache: AzcCache) -> list[torch.Tensor]:
    return [x for memory in cache.memories for x in memory.tensors()]


def _unflatten(tensors: Iterable[torch.Tensor], context: list[Any]) -> AzcCache:
    model, layers, size, count = context
    left = iter(tensors)
    seen = list(islice(left, count))
    rest = list(left)
    left = iter(rest)
    cache = AzcCache(len(layers), size)
    cache.origin = None if model is None else Origin(*model)
    if cache.slots is not None and seen:
        cache.slots.real, cache.slots.tokens = seen
    for memory, layout in zip(cache.memories, layers, strict=True):
        for key, *what in layout["streams"]:
            memory.streams[key] = Stream(next(left), *what)
        for key, number in layout["states"]:
            memory.states[key] = tuple(islice(left, number))
        memory.record_past, memory.recorded = layout["record_past"], layout["recorded"]
        if cache.slots is None:
            memory.tokens = seen[0].shape[1]
            memory.real = seen[0] if rest else None
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
# Exported programs are saved with their example inputs, which may include a cache.
torch.serialization.add_safe_globals(
    [AzcCache, LayerMemory, Origin, Slots, StaticMemory, Stream]
)
