"""A cache of a fixed size: a step reads and writes the same tensors, whichever it is, so that
one compiled graph does for all of them.

There is a slot for each token that there may be. What is kept of every token is a tensor of
all slots, of which those that are free are like padding; what a window or a convolution
reads is one of as many tokens as they reach, of which there may be none yet.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from azc.lower.runtime import Span
from azc.model.memory import Change, LayerMemory, Stream

__all__ = ["Slots", "StaticMemory"]

_STATIC = "tokens can't be taken back out of a cache of a fixed size (max_cache_len)"


class Slots:
    """Which slots of a cache have tokens, for all of its layers.

    `size`: how many there are. `tokens`: how many tokens were seen, int64 [1]; `real`:
    whether a slot has a real one, bool [B, size]; None before the first. `rows`: the slots
    of the tokens at hand, int64 [M], while a model is being called.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.tokens: torch.Tensor | None = None
        self.real: torch.Tensor | None = None
        self.rows: torch.Tensor | None = None

    def take(
        self, attention_mask: torch.Tensor | None, like: torch.Tensor
    ) -> torch.Tensor:
        """Takes slots for the tokens of `like`, [B, M, …].

        `attention_mask`: bool [B, N], of all tokens so far, or of all slots; None where
        those of `like` are real. Gives `real` [B, size].
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
        """Counts tokens that were seen."""
        assert self.tokens is not None
        self.tokens.add_(count)
        self.rows = None

    @property
    def seen(self) -> int:
        """How many tokens were seen. On a GPU it is waited for."""
        return 0 if self.tokens is None else int(self.tokens)

    def reset(self) -> None:
        """Frees all slots."""
        for each in (self.tokens, self.real):
            if each is not None:
                each.zero_()

    def change(self, change: Change) -> None:
        """Changes the sequences."""
        if self.real is not None:
            self.real = _changed(self.real, change)


class StaticMemory(LayerMemory):
    """Of one layer, in tensors of a fixed size."""

    is_compileable = True

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.slots = slots

    @property
    def rows(self) -> torch.Tensor | None:
        """The slots of the tokens at hand, int64 [M]."""
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
        """As of `LayerMemory`, but of all slots where everything is kept."""
        if key not in self.streams:
            shape = list(x.shape)
            shape[axis] = self.slots.size if reach is None else reach
            made = _fixed(shape, x.dtype, x.device)
            self.streams[key] = Stream(made, axis, square, reach)
        data = self.past(key, x)
        own = self.begun_alone(x)
        if span is None:
            assert self.rows is not None
            return data.index_copy_(axis, self.rows, own)
        found = torch.cat((data, x), axis)
        data.copy_(span.last(torch.cat((data, own), axis), axis))
        return found

    def carried(self, key: str, count: int) -> tuple[torch.Tensor | None, ...]:
        """So many states as they were left; None before the first token."""
        found = super().carried(key, count)
        if not torch.is_grad_enabled():
            return found
        # What is read on the way back is not what `carry` writes to.
        return tuple(None if x is None else x.clone() for x in found)

    def carry(self, key: str, states: tuple[torch.Tensor, ...]) -> None:
        """Keeps states. Those of 0 are like none."""
        if key not in self.states:
            self.states[key] = tuple(_fixed(x.shape, x.dtype, x.device) for x in states)
        for kept, state in zip(self.states[key], states, strict=True):
            kept.copy_(self.begun_alone(state))

    def advance(self, tokens: int) -> None:
        """Nothing: the slots count."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The length of a mask, and where it begins: masks are of all slots."""
        return self.slots.size, 0

    def get_seq_length(self) -> int:
        """How many tokens were seen."""
        return self.slots.seen

    def get_max_length(self) -> int:
        """How many there may be."""
        return self.slots.size

    def reset(self) -> None:
        """Forgets everything, in place."""
        for each in self.tensors():
            each.zero_()

    def _change(self, change: Change) -> None:
        super()._change(lambda x: _changed(x, change))

    # Tokens that are taken back

    @property
    def is_croppable(self) -> bool:  # type: ignore[override]
        """Whether tokens that come next can be taken back: no."""
        return False

    @property
    def is_whole(self) -> bool:
        """Whether what is kept is each token's own, of all of them."""
        return not self.states and all(
            stream.reach is None for stream in self.streams.values()
        )

    def activate_past_recording(self) -> None:
        """Raises ValueError: there is no place for more tokens than are read."""
        raise ValueError(_STATIC)

    def uncroppable(self, tokens_to_remove: int) -> str | None:
        """Why the last tokens, −k for k of them, can't be taken back; None for none of
        them. Raises ValueError for a positive number.
        """
        none = super().uncroppable(0 if tokens_to_remove < 0 else tokens_to_remove)
        return _STATIC if tokens_to_remove < 0 else none

    def crop(self, tokens_to_remove: int) -> None:
        """Raises ValueError for any number but 0."""
        reason = self.uncroppable(tokens_to_remove)
        if reason is not None:
            raise ValueError(reason)


def _fixed(
    shape: torch.Size | tuple[int, ...] | list[int],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """Zeros that stay where they are, as CUDA graphs want it."""
    if torch.compiler.is_compiling():
        return torch.zeros(shape, dtype=dtype, device=device)
    # Or else they could not be written to outside of the mode.
    usual = torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if usual else nullcontext():
        made = torch.zeros(shape, dtype=dtype, device=device)
    torch._dynamo.mark_static_address(made)
    return made


def _changed(x: torch.Tensor, change: Change) -> torch.Tensor:
    """A tensor changed, in place where its shape and its device stay."""
    found = change(x)
    if found.shape != x.shape or found.device != x.device:
        return found
    return x.copy_(found)
