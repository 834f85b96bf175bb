"""`generate` of a decoder: what it has to be told of one, and what it refuses."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import torch
import torch.nn.functional as F
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.configuration_utils import GenerationMode

from azc.model.cache import AzcCache
from azc.model.inputs import check_inputs, check_prompts

__all__ = ["CACHES", "AzcGenerationMixin"]

# What `cache_implementation` may be; transformers takes hybrid for dynamic.
CACHES = ("dynamic", "hybrid", "static")


class AzcGenerationMixin(GenerationMixin):
    """Text from a decoder of which a program says what is kept from token to token."""

    config: Any

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        *args: Any,
        inputs_embeds: torch.Tensor | None = None,
        tokenizer: Any = None,
        assistant_tokenizer: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What the model is called with; tokenizers are for what goes on around it."""
        given: Any = (input_ids, *args)
        return super().prepare_inputs_for_generation(  # type: ignore[misc,no-any-return]
            *given, inputs_embeds=inputs_embeds, **kwargs
        )

    def _prepare_model_inputs(
        self,
        inputs: torch.Tensor | None,
        bos_token_id: torch.Tensor | None,
        model_kwargs: dict[str, Any],
    ) -> tuple[torch.Tensor, str | None, dict[str, Any]]:
        """The prompts, and what they are called. Raises ValueError where there is none,
        and for what is none.
        """
        found: tuple[torch.Tensor, str | None, dict[str, Any]]
        found = super()._prepare_model_inputs(  # type: ignore[misc]
            inputs, bos_token_id, model_kwargs
        )
        prompts, name, _ = found
        ids, embeds = (prompts, None) if name == "input_ids" else (None, prompts)
        hidden = self.config.hidden_size
        check_inputs(ids, embeds, None, None, hidden=hidden, vocab=None, token_types=0)
        if prompts.shape[0] == 0:
            raise ValueError(
                f"a batch has 1 prompt or more; {name} is {list(prompts.shape)}"
            )
        return found

    def _prepare_attention_mask_for_generation(
        self,
        inputs_tensor: torch.Tensor,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
    ) -> torch.LongTensor:
        """Mark every token of the prompts as real, where no `attention_mask` is given.

        transformers takes every `pad_token_id` for padding, also one that was generated
        as a token. Raises ValueError for a batch of which a prompt begins with it.
        """
        ids = model_kwargs.get("input_ids")
        prompts = inputs_tensor if ids is None or ids.shape[1] == 0 else ids
        if not generation_config.is_assistant:  # else these are tokens of a generation
            _refuse_padding(prompts, generation_config)
        real = torch.ones(prompts.shape[:2], dtype=torch.int64, device=prompts.device)
        return cast(torch.LongTensor, real)

    def _prepare_cache_for_generation(  # type: ignore[override]
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Makes the cache of a generation, where none was given and one is wanted.

        Raises ValueError for a cache of another kind, for one of no fewer tokens than
        the prompt, for a prompt that ends in padding (what follows it would follow
        padding), and for what a decoder does not serve.
        """
        check_prompts(model_kwargs.get("attention_mask"))
        _refuse_unserved(generation_config, model_kwargs)
        cache = model_kwargs.get("past_key_values")
        if cache is not None:
            super()._prepare_cache_for_generation(  # type: ignore[misc]
                generation_config, model_kwargs, generation_mode, *args, **kwargs
            )
            _check_cache(cache, generation_config, model_kwargs, generation_mode)
            return
        if generation_config.use_cache is not False:
            size = None
            if generation_config.cache_implementation == "static":
                tokens = kwargs.get("max_cache_length", *args[-1:])
                size = self._size_of_cache(tokens, generation_config)
            made = AzcCache(self.config.num_hidden_layers, size)
            if generation_config.is_assistant:  # what it guesses is taken back
                made.activate_past_recording()  # type: ignore[no-untyped-call]
            model_kwargs["past_key_values"] = made

    def _size_of_cache(self, tokens: int, generation_config: GenerationConfig) -> int:
        """Return the size of a cache of a fixed size: `tokens` at least, and as many as any
        such cache before had, so that the compiled step can be used again.
        """
        wanted = max(tokens, generation_config.max_cache_len or 0)
        self._previous_max_cache_length: int = max(
            wanted, getattr(self, "_previous_max_cache_length", 0)
        )
        return self._previous_max_cache_length

    @staticmethod
    def create_masks_for_generate(
        attention_mask: torch.Tensor | None, past_key_values: object, **kwargs: Any
    ) -> torch.Tensor | None:
        """Pad a mask [B, N] to all slots of a cache of a fixed size, [B, max_cache_len], so
        that its shape is the same in every step.
        """
        slots = past_key_values.slots if isinstance(past_key_values, AzcCache) else None
        if attention_mask is None or slots is None:
            return attention_mask
        return F.pad(attention_mask, (0, slots.size - attention_mask.shape[1]))

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises ValueError: there are no pages of keys and values."""
        raise ValueError(
            "continuous batching (generate_batch, cache_implementation = 'paged') can't be"
            " served: a program says itself what is kept"
        )


def _refuse_padding(prompts: torch.Tensor, generation_config: GenerationConfig) -> None:
    """Raise ValueError for a batch without a mask of which a prompt begins with padding."""
    pad, end = generation_config._pad_token_tensor, generation_config._eos_token_tensor
    if pad is None or prompts.is_floating_point() or len(prompts) < 2:
        return
    if end is not None and bool(torch.isin(pad, end)):  # it begins texts, too
        return
    if bool((prompts[:, 0] == pad).any()):
        raise ValueError(
            f"attention_mask must be given: a prompt begins with pad_token_id = {int(pad)},"
            " and ids do not say whether that is a token or padding"
        )


def _refuse_unserved(
    generation_config: GenerationConfig, model_kwargs: dict[str, Any]
) -> None:
    """Raises ValueError for options of `generate` that no decoder of azc serves."""
    wanted = generation_config.cache_implementation
    if wanted is not None and wanted not in CACHES:
        raise ValueError(
            f"cache_implementation is {', '.join(CACHES)}; got {wanted}, which is for keys"
            " and values alone"
        )
    if generation_config.assistant_early_exit is not None:
        raise ValueError(
            "assistant_early_exit can't be served: the layers of a program run together"
        )
    embeds = model_kwargs.get("inputs_embeds")
    if generation_config.prefill_chunk_size is not None and embeds is not None:
        raise ValueError(
            "prefill_chunk_size can't be given for inputs_embeds, which are taken in one"
            " piece"
        )


def _check_cache(
    cache: object,
    generation_config: GenerationConfig,
    model_kwargs: dict[str, Any],
    generation_mode: GenerationMode,
) -> None:
    """Raises ValueError for a cache that a generation can't go on with."""
    if generation_config.use_cache is False:
        raise ValueError("past_key_values can't be given where use_cache is false")
    mask = model_kwargs.get("attention_mask")
    # Where all tokens are real, `generate` keeps the length of the mask alone.
    tokens = getattr(generation_config, "_mask_length", 0)
    if mask is not None:
        tokens = mask.shape[1]
    past = cache.get_seq_length() if isinstance(cache, AzcCache) else 0
    if past and generation_mode == GenerationMode.ASSISTED_GENERATION:
        raise ValueError(
            f"past_key_values has {past} tokens: assisted generation begins with none"
        )
    if past >= tokens > 0:
        raise ValueError(
            f"past_key_values has {past} tokens, and the prompt {tokens}: a prompt is of all"
            " tokens, new ones too, or of the new ones where attention_mask is of all"
        )
