"""What a decoder remembers of one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from transformers.cache_utils import CacheLayerMixin

from azc.lower.runtime import Span, positions_of, span_of

__all__ = ["Change", "LayerMemory", "Stream"]

_OF_ALL = "tokens can't be taken out of a state that is made of all so far"
_LEFT_BEHIND = (
    "tokens can't be taken back where a window or a convolution has left others behind:"
    " call activate_past_recording of the cache before the model sees them"
)

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Stream:
    """What is kept of a stream; `axis` is that of the tokens, `square`: so are columns.
    `reach`: how many tokens later ones read of it, None for all.
    """

    data: torch.Tensor
    axis: int
    square: bool
    reach: int | None


class LayerMemory(CacheLayerMixin):
    """Of one layer: the streams that later tokens read, and states that are carried on.

    A program decides which there are: keys and values of an attention, the last of them
    of one in a window, a state of constant size of a linear one, nothing of a layer that
    mixes nothing.
    """

    is_compileable = False
    supports_early_init = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.streams: dict[str, Stream] = {}
        self.states: dict[str, tuple[torch.Tensor, ...]] = {}
        self.tokens = 0
        # Which tokens are real, bool [B, N], those at hand too; None for all.
        self.real: torch.Tensor | None = None
        # Of which sequences a token was real by now, bool [B]; None for all.
        self.begun: torch.Tensor | None = None
        # Whether tokens are to be taken back, and how many at the end are all there.
        self.record_past = False
        self.recorded = 0
        # Where it was before `offload`.
        self.home: torch.device | None = None

    # What layers call

    @property
    def rows(self) -> torch.Tensor | None:
        """The indices of the new tokens among all, int64 [M]; None: they are the last."""
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
        """Earlier tokens' part of a stream and then that of x, along an axis; kept.

        `square`: x has a column for every token so far. Earlier rows get more of them.
        `span`: of which tokens it then is, and what is kept of it, where it is read so
        far back alone as `reach` says.
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
        """Return what is kept of a stream that x continues.

        Raises:
            ValueError: If the two are on different devices.
        """
        data = self.streams[key].data
        if data.device != x.device:
            raise ValueError(
                f"past_key_values is on {data.device}, and the model computes on {x.device}"
            )
        return data

    def clear_unbegun(self, x: torch.Tensor) -> torch.Tensor:
        """Set new values [B, …] to 0 where a sequence is padding alone so far.

        Such a sequence is computed as if it were real. To later tokens it is padding, of
        which a program may know that it holds 0.
        """
        if self.begun is None:
            return x
        return torch.where(self.begun.view(-1, *(1,) * (x.dim() - 1)), x, 0.0)

    def base(self, past: int, reach: int) -> int:
        """After so many tokens: of how many the last `reach` alone are kept of what is
        read so far back; 0 where all are.
        """
        before = past - self.recorded
        return before if before > reach else 0

    def carried(self, key: str, count: int) -> tuple[torch.Tensor | None, ...]:
        """So many states as they were left; None before the first token."""
        return self.states.get(key, (None,) * count)

    def carry(self, key: str, states: tuple[torch.Tensor, ...]) -> None:
        """Keeps states; of a sequence that is padding alone so far they are 0."""
        if states:
            self.states[key] = tuple(map(self.clear_unbegun, states))

    def advance(self, tokens: int) -> None:
        """Counts tokens that were seen."""
        self.tokens += tokens
        self.recorded = self.recorded + tokens if self.record_past else 0

    @property
    def bytes(self) -> int:
        """The memory that is taken, but for which tokens are real."""
        return sum(x.numel() * x.element_size() for x in self.tensors())

    def tensors(self) -> list[torch.Tensor]:
        """All that is kept, but for which tokens are real."""
        found = [stream.data for stream in self.streams.values()]
        return found + [x for states in self.states.values() for x in states]

    # What transformers calls

    def lazy_initialization(
        self, key_states: torch.Tensor, value_states: torch.Tensor
    ) -> None:
        """Nothing: there is no key and no value as such."""

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises: a layer of azc says itself what it keeps."""
        raise NotImplementedError(
            "this cache is of an azc model: it keeps what it needs"
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The length of a mask, and where it begins: masks are of all tokens."""
        return self.tokens + query_length, 0

    def get_seq_length(self) -> int:
        """How many tokens were seen."""
        return self.tokens

    def get_max_length(self) -> int:
        """There is no limit."""
        return -1

    def reset(self) -> None:
        """Forgets everything."""
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
        """Sequences by their index [B], in another order."""
        self._change(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every sequence so many times."""
        self._change(lambda x: x.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """These sequences alone."""
        self._change(lambda x: x[indices])

    def offload(self) -> None:
        """To the memory of the host."""
        if self.home is None:
            self.home = next((x.device for x in self.tensors()), None)
        self._change(lambda x: x.to("cpu", non_blocking=True))

    def prefetch(self) -> None:
        """Back to where it was before it went to the memory of the host."""
        home, self.home = self.home, None
        if home is not None:
            self._change(lambda x: x.to(home, non_blocking=True))

    # Tokens that are taken back

    @property
    def is_croppable(self) -> bool:  # type: ignore[override]
        """Whether tokens that come next can be taken back: not out of a sum, and not
        where others are left behind for them.
        """
        return self.is_whole or (self.record_past and not self.states)

    @property
    def is_whole(self) -> bool:
        """Whether what is kept is each token's own, of all of them."""
        return not self.states and self._oldest(self.tokens) == 0

    def activate_past_recording(self) -> None:
        """Keeps all of the tokens that come, until `crop` says which stay."""
        self.record_past = True

    def _oldest(self, tokens: int) -> int:
        """To how few of so many tokens one can go back."""
        streams = self.streams.values()
        reaches = [each.reach for each in streams if each.reach is not None]
        return max((self.base(tokens, reach) for reach in reaches), default=0)

    def uncroppable(self, tokens_to_remove: int) -> str | None:
        """Why the last tokens, −k for k of them, can't be taken back; None if they can.
        Raises ValueError for a positive number.
        """
        if tokens_to_remove > 0:
            raise ValueError(
                f"crop takes back the last k tokens by −k; got {tokens_to_remove}"
            )
        if tokens_to_remove == 0 or self.tokens == 0:
            return None
        if self.states:
            return _OF_ALL
        kept = max(0, self.tokens + tokens_to_remove)
        behind = kept < self._oldest(self.tokens)
        return _LEFT_BEHIND if behind else None

    def crop(self, tokens_to_remove: int) -> None:
        """Takes back the last tokens, −k for k of them; what is then out of reach of
        those that come is left behind.

        Raises ValueError where a sum is kept, where tokens were left behind before, and
        for a positive number.
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
        """The first tokens of those that a stream has which is read so far back."""
        if self.real is None:
            positions = torch.arange(tokens)[None]
        else:
            positions = positions_of(self.real, self.real)
        base = self.base(before, reach)
        return span_of(self.real, positions, None, base, reach, drops=True)
