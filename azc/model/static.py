"""Memory of a fixed size: every decoding step reads and writes the same tensors, so that one
compiled graph serves all steps.

There is a slot for each token. A stream that later tokens read in full has all slots, and
free slots are masked like padding. A stream that a window or a convolution reads has only
the tokens within their reach, and future tokens are masked.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from azc.lower.runtime import Span
from azc.model.memory import Change, LayerMemory, Stream

__all__ = ["Slots", "StaticMemory"]

_STATIC = "tokens can't be removed from a cache of a fixed size (max_cache_len)"


class Slots:
    """The slots of a cache, shared by its layers.

    Attributes:
        size: The number of slots.
        tokens: The number of tokens seen so far, int64 [1]; None before the first.
        real: Whether a slot holds a real token, bool [B, size]; None before the first.
        rows: The slots of the new tokens, int64 [M], during a call of the model.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.tokens: torch.Tensor | None = None
        self.real: torch.Tensor | None = None
        self.rows: torch.Tensor | None = None

    def take(
        self, attention_mask: torch.Tensor | None, like: torch.Tensor
    ) -> torch.Tensor:
        """Assign slots to new tokens.

        Args:
            attention_mask: True at real tokens, [B, N], for all tokens so far or
                all slots; None if the new tokens are real.
            like: A value of the new tokens, [B, M, …].

        Returns:
            A mask of slots that hold a real token, bool [B, size].
        """
        batch, count = like.shape[:2]
        if self.tokens is None or self.real is None:
            self.tokens = _fixed((1,), torch.int64, like.device)
            self.real = _fixed((batch, self.size), torch.bool, like.device)
        every = torch.arange(self.size, device=like.device)
        taken = every < self.tokens + count
        if attention_mask is None:
            real = self.real | (taken & (every >= self.tokens))
        else:
            free = self.size - attention_mask.shape[1]
            real = F.pad(attention_mask.bool(), (0, free)) & taken
        self.real.copy_(real)
        self.rows = self.tokens + torch.arange(count, device=like.device)
        return real

    def advance(self, count: int) -> None:
        """Count tokens that the model has seen."""
        assert self.tokens is not None
        self.tokens.add_(count)
        self.rows = None

    @property
    def seen(self) -> int:
        """The number of tokens seen so far. Reading it waits for a GPU."""
        return 0 if self.tokens is None else int(self.tokens)

    def reset(self) -> None:
        """Free all slots."""
        for each in (self.tokens, self.real):
            if each is not None:
                each.zero_()

    def change(self, change: Change) -> None:
        """Apply a change to the sequences, along the first axis."""
        if self.real is not None:
            self.real = _changed(self.real, change)


class StaticMemory(LayerMemory):
    """The memory of one layer, in tensors of a fixed size."""

    is_compileable = True

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.slots = slots

    @property
    def rows(self) -> torch.Tensor | None:
        """The slots of the new tokens, int64 [M]."""
        return self.slots.rows

    def extend(
        self,
        key: str,
        x: torch.Tensor,
        axis: int,
        square: bool,
        reach: int | None,
        span: Span | None,
    ) -> torch.Tensor:
        """Store the new tokens of a stream; see `LayerMemory.extend`.

        Args:
            key: The name of the stream.
            x: The new values, [B, heads, M, d] for example.
            axis: The axis of tokens.
            square: Whether x has a column for every slot.
            reach: How many tokens back later tokens read, None for all.
            span: The tokens that are cached, if `reach` limits them.

        Returns:
            The stream with all slots along `axis`; with `reach`, the last tokens
            before the new ones, and the new ones.
        """
        if key not in self.streams:
            shape = list(x.shape)
            shape[axis] = self.slots.size if reach is None else reach
            made = _fixed(shape, x.dtype, x.device)
            self.streams[key] = Stream(made, axis, square, reach)
        data = self.past(key, x)
        own = self.clear_unbegun(x)
        if span is None:
            assert self.rows is not None
            return data.index_copy_(axis, self.rows, own)
        found = torch.cat((data, x), axis)
        data.copy_(span.last(torch.cat((data, own), axis), axis))
        return found

    def carried(self, key: str, count: int) -> tuple[torch.Tensor | None, ...]:
        """Return states such as [B, heads, d, d], None before the first token."""
        found = super().carried(key, count)
        if not torch.is_grad_enabled():
            return found
        # Backward passes need the old values, which `carry` overwrites.
        return tuple(None if x is None else x.clone() for x in found)

    def carry(self, key: str, states: tuple[torch.Tensor, ...]) -> None:
        """Store states such as [B, heads, d, d]. States of zeros mean that there are
        none yet.
        """
        if key not in self.states:
            self.states[key] = tuple(_fixed(x.shape, x.dtype, x.device) for x in states)
        for kept, state in zip(self.states[key], states, strict=True):
            kept.copy_(self.clear_unbegun(state))

    def advance(self, tokens: int) -> None:
        """Do nothing: the slots count tokens."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of a mask and its offset: masks are of all slots."""
        return self.slots.size, 0

    def get_seq_length(self) -> int:
        """Return the number of tokens seen so far."""
        return self.slots.seen

    def get_max_length(self) -> int:
        """Return the number of slots."""
        return self.slots.size

    def reset(self) -> None:
        """Forget everything, in place."""
        for each in self.tensors():
            each.zero_()

    def _change(self, change: Change) -> None:
        super()._change(lambda x: _changed(x, change))

    # Removal of tokens

    @property
    def is_croppable(self) -> bool:  # type: ignore[override]
        """False: tokens can't be removed."""
        return False

    @property
    def is_whole(self) -> bool:
        """True if every token is stored separately: there are no states and no
        windows.
        """
        return not self.states and all(
            stream.reach is None for stream in self.streams.values()
        )

    def activate_past_recording(self) -> None:
        """Raise ValueError: there is no room for tokens out of reach."""
        raise ValueError(_STATIC)

    def uncroppable(self, tokens_to_remove: int) -> str | None:
        """Return why the last k tokens, passed as −k, can't be removed; None if k is 0.

        Raises:
            ValueError: If the number is positive.
        """
        none = super().uncroppable(0 if tokens_to_remove < 0 else tokens_to_remove)
        return _STATIC if tokens_to_remove < 0 else none

    def crop(self, tokens_to_remove: int) -> None:
        """Raise ValueError for any number but 0."""
        reason = self.uncroppable(tokens_to_remove)
        if reason is not None:
            raise ValueError(reason)


def _fixed(
    shape: torch.Size | tuple[int, ...] | list[int],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """Return zeros whose address does not change, as CUDA graphs need it."""
    if torch.compiler.is_compiling():
        return torch.zeros(shape, dtype=dtype, device=device)
    # Tensors made in inference mode can't be written to outside of it.
    usual = torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if usual else nullcontext():
        made = torch.zeros(shape, dtype=dtype, device=device)
    torch._dynamo.mark_static_address(made)
    return made


def _changed(x: torch.Tensor, change: Change) -> torch.Tensor:
    """Apply a change to a tensor, in place if its shape and its device stay the same."""
    found = change(x)
    if found.shape != x.shape or found.device != x.device:
        return found
    return x.copy_(found)
