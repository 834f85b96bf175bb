"""Support of `generate` for decoders, and checks of its options."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import torch
import torch.nn.functional as F
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.configuration_utils import GenerationMode

from azc.model.cache import AzcCache
from azc.model.inputs import check_inputs, check_prompts

__all__ = ["CACHES", "AzcGenerationMixin"]

# Values of `cache_implementation`; transformers treats hybrid like dynamic.
CACHES = ("dynamic", "hybrid", "static")


class AzcGenerationMixin(GenerationMixin):
    """Text generation with a decoder whose program decides what it caches."""

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
        """Return the arguments of the model for the next step.

        Tokenizers are dropped: they are arguments of `generate`, not of the model.

        Args:
            input_ids: The tokens so far, int64 [B, N].
            inputs_embeds: The embeddings of a prompt, [B, N, hidden].
        """
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
        """Return the prompts and the name of their argument.

        Raises:
            ValueError: If there is no prompt, or it has a wrong shape or type.
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
                f"a batch needs at least one prompt; {name} is {list(prompts.shape)}"
            )
        return found

    def _prepare_attention_mask_for_generation(
        self,
        inputs_tensor: torch.Tensor,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
    ) -> torch.LongTensor:
        """Return a mask of real tokens for prompts without `attention_mask`.

        transformers would treat every `pad_token_id` as padding, even if it was
        generated as a token.

        Raises:
            ValueError: If a prompt in a batch begins with `pad_token_id`.
        """
        ids = model_kwargs.get("input_ids")
        prompts = inputs_tensor if ids is None or ids.shape[1] == 0 else ids
        if not generation_config.is_assistant:  # else these are generated tokens
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
        """Create the cache of a generation if one is wanted and none was passed.

        Raises:
            ValueError: If the cache is of another kind or does not have fewer
                tokens than the prompt, if a prompt ends in padding (new tokens
                would follow it), or if an option is not supported by decoders.
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
            if generation_config.is_assistant:  # its guesses may be removed again
                made.activate_past_recording()  # type: ignore[no-untyped-call]
            model_kwargs["past_key_values"] = made

    def _size_of_cache(self, tokens: int, generation_config: GenerationConfig) -> int:
        """Return the size of a cache of a fixed size.

        It is at least `tokens` and at least the size of any earlier such cache, so that
        the compiled step can be used again.
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
        """Pad a mask [B, N] to all slots of a cache of a fixed size.

        The result, [B, max_cache_len], has the same shape in every step.
        """
        slots = past_key_values.slots if isinstance(past_key_values, AzcCache) else None
        if attention_mask is None or slots is None:
            return attention_mask
        return F.pad(attention_mask, (0, slots.size - attention_mask.shape[1]))

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise ValueError: continuous batching needs pages of keys and values."""
        raise ValueError(
            "continuous batching (generate_batch, cache_implementation = 'paged') is not"
            " supported: it needs pages of keys and values"
        )


def _refuse_padding(prompts: torch.Tensor, generation_config: GenerationConfig) -> None:
    """Check that no prompt in a batch without a mask begins with padding.

    Raises:
        ValueError: If one does.
    """
    pad, end = generation_config._pad_token_tensor, generation_config._eos_token_tensor
    if pad is None or prompts.is_floating_point() or len(prompts) < 2:
        return
    if end is not None and bool(torch.isin(pad, end)):  # it may begin texts, too
        return
    if bool((prompts[:, 0] == pad).any()):
        raise ValueError(
            f"attention_mask is required: a prompt begins with pad_token_id = {int(pad)},"
            " which may be a token or padding"
        )


def _refuse_unserved(
    generation_config: GenerationConfig, model_kwargs: dict[str, Any]
) -> None:
    """Check the options of `generate`.

    Raises:
        ValueError: If decoders of azc do not support one.
    """
    wanted = generation_config.cache_implementation
    if wanted is not None and wanted not in CACHES:
        raise ValueError(
            f"cache_implementation must be one of {', '.join(CACHES)}; got {wanted}, which"
            " supports only keys and values"
        )
    if generation_config.assistant_early_exit is not None:
        raise ValueError(
            "assistant_early_exit is not supported: the layers of a program run together"
        )
    embeds = model_kwargs.get("inputs_embeds")
    if generation_config.prefill_chunk_size is not None and embeds is not None:
        raise ValueError(
            "prefill_chunk_size is not supported for inputs_embeds, which are processed in"
            " one piece"
        )


def _check_cache(
    cache: object,
    generation_config: GenerationConfig,
    model_kwargs: dict[str, Any],
    generation_mode: GenerationMode,
) -> None:
    """Check that a generation can continue from a cache.

    Raises:
        ValueError: If it can't.
    """
    if generation_config.use_cache is False:
        raise ValueError("past_key_values can't be used with use_cache = false")
    mask = model_kwargs.get("attention_mask")
    # If all tokens are real, `generate` keeps only the length of the mask.
    tokens = getattr(generation_config, "_mask_length", 0)
    if mask is not None:
        tokens = mask.shape[1]
    past = cache.get_seq_length() if isinstance(cache, AzcCache) else 0
    if past and generation_mode == GenerationMode.ASSISTED_GENERATION:
        raise ValueError(
            f"past_key_values has {past} tokens: assisted generation needs an empty cache"
        )
    if past >= tokens > 0:
        raise ValueError(
            f"past_key_values has {past} tokens and the prompt {tokens}: pass all tokens,"
            " cached and new, or only new ones with an attention_mask of all"
        )
