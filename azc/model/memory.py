"""The part of a decoder's cache that belongs to one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from transformers.cache_utils import CacheLayerMixin

from azc.lower.runtime import Span, positions_of, span_of

__all__ = ["Change", "LayerMemory", "Stream"]

_OF_ALL = "tokens can't be removed from a state that sums over all tokens so far"
_LEFT_BEHIND = (
    "tokens can't be removed after a window or a convolution has dropped earlier ones:"
    " call activate_past_recording of the cache before the model sees them"
)

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Stream:
    """The cached part of a stream.

    Attributes:
        data: The values, [B, heads, N, d] for example.
        axis: The axis of tokens.
        square: Whether there is a column for each token, too.
        reach: How many tokens back later tokens read, None for all.
    """

    data: torch.Tensor
    axis: int
    square: bool
    reach: int | None


class LayerMemory(CacheLayerMixin):
    """The cache of one layer: streams that later tokens read, and states.

    The program decides what they are: keys and values for attention, only the last of
    them for attention in a window, a state of constant size for linear attention,
    nothing for a layer that mixes no tokens.
    """

    is_compileable = False
    supports_early_init = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.streams: dict[str, Stream] = {}
        self.states: dict[str, tuple[torch.Tensor, ...]] = {}
        self.tokens = 0
        # Mask of real tokens, including current ones, bool [B, N]; None if all are real.
        self.real: torch.Tensor | None = None
        # Mask of sequences that have had a real token, bool [B]; None for all.
        self.begun: torch.Tensor | None = None
        # Whether tokens may be removed, and how many tokens at the end are complete.
        self.record_past = False
        self.recorded = 0
        # The device before `offload`.
        self.home: torch.device | None = None

    # Called by layers

    @property
    def rows(self) -> torch.Tensor | None:
        """The indices of the new tokens among all, int64 [M]; None if they are the last
        ones.
        """
        return None

    def extend(
        self,
        key: str,
        x: torch.Tensor,
        axis: int,
        square: bool,
        reach: int | None,
        span: Span | None,
    ) -> torch.Tensor:
        """Append values to a stream, and cache them.

        Args:
            key: The name of the stream.
            x: The new values, [B, heads, M, d] for example.
            axis: The axis of tokens.
            square: Whether x has a column for every token so far. Earlier rows are
                then padded.
            reach: How many tokens back later tokens read, None for all.
            span: The tokens of the result, and which of them are cached, if `reach`
                limits them.

        Returns:
            The cached values followed by x, along `axis`.
        """
        own, parts = x, []
        if key in self.streams:
            past = self.past(key, x)
            if square:
                past = F.pad(past, (0, x.shape[-1] - past.shape[-1]))
            parts = [past]
            x = torch.cat((past, own), axis)
        kept = x
        if self.begun is not None:
            kept = torch.cat((*parts, self.clear_unbegun(own)), axis)
        if span is not None:
            kept = span.last(kept, axis)
        self.streams[key] = Stream(kept, axis, square, reach)
        return x

    def past(self, key: str, x: torch.Tensor) -> torch.Tensor:
        """Return the cached part of the stream that x continues.

        Args:
            key: The name of the stream.
            x: The new values, [B, heads, M, d] for example.

        Raises:
            ValueError: If the two are on different devices.
        """
        data = self.streams[key].data
        if data.device != x.device:
            raise ValueError(
                f"past_key_values is on {data.device}, but the model computes on {x.device}"
            )
        return data

    def clear_unbegun(self, x: torch.Tensor) -> torch.Tensor:
        """Set new values [B, …] to 0 for sequences that are only padding so far.

        Such sequences are computed as if they were real. For later tokens they are
        padding, which a program may know to hold 0.
        """
        if self.begun is None:
            return x
        return torch.where(self.begun.view(-1, *(1,) * (x.dim() - 1)), x, 0.0)

    def base(self, past: int, reach: int) -> int:
        """Return the number of tokens, out of `past`, of which a stream keeps only the
        last `reach`.

        Return 0 if it keeps all of them. Recorded tokens are all kept.
        """
        before = past - self.recorded
        return before if before > reach else 0

    def carried(self, key: str, count: int) -> tuple[torch.Tensor | None, ...]:
        """Return the states of a key, [B, heads, d, d] for example; None before the
        first token.
        """
        return self.states.get(key, (None,) * count)

    def carry(self, key: str, states: tuple[torch.Tensor, ...]) -> None:
        """Store states such as [B, heads, d, d]; those of sequences of padding only are
        set to 0.
        """
        if states:
            self.states[key] = tuple(map(self.clear_unbegun, states))

    def advance(self, tokens: int) -> None:
        """Count tokens that the model has seen."""
        self.tokens += tokens
        self.recorded = self.recorded + tokens if self.record_past else 0

    @property
    def bytes(self) -> int:
        """The memory of the tensors in bytes, without the mask of real tokens."""
        return sum(x.numel() * x.element_size() for x in self.tensors())

    def tensors(self) -> list[torch.Tensor]:
        """Return all cached tensors [B, …], without the mask of real tokens."""
        found = [stream.data for stream in self.streams.values()]
        return found + [x for states in self.states.values() for x in states]

    # Called by transformers

    def lazy_initialization(
        self, key_states: torch.Tensor, value_states: torch.Tensor
    ) -> None:
        """Do nothing: there are no keys and values [B, heads, N, d] to allocate."""

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raise NotImplementedError: layers of azc do not cache keys and values [B,
        heads, N, d].
        """
        raise NotImplementedError(
            "this cache belongs to an azc model, which does not call update"
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of a mask and its offset: masks cover all tokens."""
        return self.tokens + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of tokens seen."""
        return self.tokens

    def get_max_length(self) -> int:
        """Return −1: there is no limit."""
        return -1

    def reset(self) -> None:
        """Forget all tokens."""
        self.streams, self.states, self.tokens = {}, {}, 0
        self.real, self.begun, self.recorded, self.home = None, None, 0, None

    def _change(self, change: Change) -> None:
        self.streams = {
            k: replace(stream, data=change(stream.data))
            for k, stream in self.streams.items()
        }
        self.states = {k: tuple(map(change, x)) for k, x in self.states.items()}
        self.real = None if self.real is None else change(self.real)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Reorder sequences by their old indices [B]."""
        self._change(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence."""
        self._change(lambda x: x.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the sequences at indices [K]."""
        self._change(lambda x: x[indices])

    def offload(self) -> None:
        """Move the tensors to host memory."""
        if self.home is None:
            self.home = next((x.device for x in self.tensors()), None)
        self._change(lambda x: x.to("cpu", non_blocking=True))

    def prefetch(self) -> None:
        """Move the tensors back to the device they were on before `offload`."""
        home, self.home = self.home, None
        if home is not None:
            self._change(lambda x: x.to(home, non_blocking=True))

    # Removal of tokens

    @property
    def is_croppable(self) -> bool:  # type: ignore[override]
        """True if the next tokens can be removed again: they are not summed, and drop
        no others.
        """
        return self.is_whole or (self.record_past and not self.states)

    @property
    def is_whole(self) -> bool:
        """True if the memory holds every token separately."""
        return not self.states and self._oldest(self.tokens) == 0

    def activate_past_recording(self) -> None:
        """Keep all new tokens until `crop` decides which stay."""
        self.record_past = True

    def _oldest(self, tokens: int) -> int:
        """Return the smallest number of tokens that `crop` can go back to."""
        streams = self.streams.values()
        reaches = [each.reach for each in streams if each.reach is not None]
        return max((self.base(tokens, reach) for reach in reaches), default=0)

    def uncroppable(self, tokens_to_remove: int) -> str | None:
        """Return why the last tokens, −k for k of them, can't be removed; None if they
        can.

        Raises:
            ValueError: If the number is positive.
        """
        if tokens_to_remove > 0:
            raise ValueError(
                f"crop removes the last k tokens by −k; got {tokens_to_remove}"
            )
        if tokens_to_remove == 0 or self.tokens == 0:
            return None
        if self.states:
            return _OF_ALL
        kept = max(0, self.tokens + tokens_to_remove)
        behind = kept < self._oldest(self.tokens)
        return _LEFT_BEHIND if behind else None

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens, −k for k of them, and drop tokens that are then out
        of reach.

        Raises:
            ValueError: If the memory holds sums, if tokens were dropped before, or
                if the number is positive.
        """
        reason = self.uncroppable(tokens_to_remove)
        if reason is not None:
            raise ValueError(reason)
        kept = self.tokens + tokens_to_remove
        if kept <= 0:
            self.reset()
            return
        before = self.tokens
        self.real = None if self.real is None else self.real[:, :kept]
        for key, stream in self.streams.items():
            length = stream.data.shape[stream.axis] + tokens_to_remove
            data = stream.data.narrow(stream.axis, 0, length)
            if stream.square:
                data = data[..., :kept]
            if stream.reach is not None:
                span = self._span(before, kept, stream.reach)
                data = span.last(data, stream.axis)
            self.streams[key] = replace(stream, data=data)
        self.tokens, self.recorded = kept, 0

    def _span(self, before: int, tokens: int, reach: int) -> Span:
        """Return the first `tokens` tokens of a stream with this reach."""
        if self.real is None:
            positions = torch.arange(tokens)[None]
        else:
            positions = positions_of(self.real, self.real)
        base = self.base(before, reach)
        return span_of(self.real, positions, None, base, reach, drops=True)
