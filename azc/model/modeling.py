"""The base model: a model of transformers around compiled layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndCrossAttentions,
)
from transformers.utils.generic import can_return_tuple

from azc.check.models import VOCAB
from azc.diagnostics import whole
from azc.lower.layer import compile_encoder
from azc.lower.modules import OwnStart, norm
from azc.lower.moments import Moments
from azc.lower.plan import Backend
from azc.model.cache import AzcCache
from azc.model.config import AzcConfig, program_with, spec_of
from azc.model.embeddings import Embeddings, Places
from azc.model.inputs import (
    check_cache,
    check_decoding,
    check_documents,
    check_inputs,
    check_length,
    check_positions,
    refuse_cache,
    refuse_unserved,
)
from azc.model.layers import CheckpointedLayer
from azc.model.origin import origin_of
from azc.model.packing import Packing, documents_of
from azc.saved import remove_links

__all__ = ["AzcModel", "AzcPreTrainedModel"]


class AzcPreTrainedModel(PreTrainedModel):
    """Base class of all compiled models."""

    config_class = AzcConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # Trainer divides the loss of accumulated batches itself, unless a head does so.
    accepts_loss_kwargs = False
    _no_split_modules = ["Layer"]  # noqa: RUF012  (as transformers declares it)

    def get_correct_attn_implementation(
        self, requested_attention: str | None, is_init_check: bool = False
    ) -> str:
        """Return the attention implementation: `sdpa`, the default, or `eager` for
        plain code.

        `sdpa` uses `scaled_dot_product_attention` for the parts of a program that it
        supports.

        Raises:
            ValueError: For any other implementation.
        """
        if requested_attention in (None, "auto", "sdpa"):
            return "sdpa"
        if requested_attention != "eager":
            raise ValueError(
                "attn_implementation must be auto, eager or sdpa; got"
                f" {requested_attention}"
            )
        return "eager"

    def set_attn_implementation(
        self, attn_implementation: str | dict[str, str], *args: Any, **kwargs: Any
    ) -> None:
        """Change the attention implementation: recompile the layers with their current
        weights.
        """
        if isinstance(attn_implementation, str):
            attn_implementation = self.get_correct_attn_implementation(
                attn_implementation
            )
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        for module in self.modules():
            if isinstance(module, AzcModel):
                module.compile_layers()

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Change the size of the vocabulary, and `vocab` in the program of the
        configuration.

        The arguments are those of transformers. The model is unchanged after an error.

        Raises:
            UsageError: If a number is out of range.
            DiagnosticError: If the language does not allow a model of this size.
        """
        tokens = self.config.vocab_size
        if new_num_tokens is not None:
            tokens = whole("new_num_tokens", new_num_tokens, VOCAB.low, VOCAB.high)
        if pad_to_multiple_of is not None:
            step = whole("pad_to_multiple_of", pad_to_multiple_of, 1, VOCAB.high)
            tokens += -tokens % step
        config = cast(AzcConfig, self.config)
        program = program_with(config, "vocab", tokens)
        made = super().resize_token_embeddings(
            new_num_tokens, pad_to_multiple_of, mean_resizing
        )
        config.program = program
        for module in self.modules():
            if isinstance(module, AzcModel):
                module.spec = spec_of(config)
        return made

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Write the model to a folder, like transformers does.

        Symbolic links in place of its files are replaced; the files that they point to
        stay.
        """
        remove_links(Path(save_directory), weights=True)
        super().save_pretrained(save_directory, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, OwnStart):
            module.reset_parameters()


class AzcModel(AzcPreTrainedModel):
    """The base model: embeddings, the compiled encoder (`encoder`, an
    `fx.GraphModule`), pooler.
    """

    def __init__(self, config: AzcConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        spec = spec_of(config)
        refuse_unserved(config, {}, spec.causal)
        self.spec = spec
        self.embeddings = Embeddings(spec)
        self.encoder = compile_encoder(spec, CheckpointedLayer, self._backends())
        if spec.residual == "pre":
            self.norm = norm(spec.norm, spec.hidden, spec.norm_eps, spec.bias)
        self.pooler = nn.Linear(spec.hidden, spec.hidden) if add_pooling_layer else None
        self.max_length = spec.max_length if spec.positions == "learned" else None
        self.pre_norm = spec.residual == "pre"
        self.causal = spec.causal
        # The cache holds sums over tokens, from which none can be removed.
        self.sums = any(
            isinstance(each, Moments) and each.carries for each in self.modules()
        )
        self.post_init()

    def _backends(self) -> tuple[Backend, ...]:
        return ("sdpa",) if self.config._attn_implementation == "sdpa" else ()

    def compile_layers(self) -> None:
        """Recompile the layers for `attn_implementation`, with their current
        parameters.
        """
        before = self.encoder
        with torch.device("meta"):
            made = compile_encoder(self.spec, CheckpointedLayer, self._backends())
        made.load_state_dict(before.state_dict(keep_vars=True), assign=True)
        made.train(before.training)
        for old, new in zip(before.layers, made.layers, strict=True):
            new.gradient_checkpointing = old.gradient_checkpointing
            if hasattr(old, "_gradient_checkpointing_func"):
                new._gradient_checkpointing_func = old._gradient_checkpointing_func
        self.encoder = made

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embeddings."""
        return self.embeddings.tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.embeddings.tokens = value  # type: ignore[assignment]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        past_key_values: AzcCache | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """Compute the hidden states of a batch.

        Args:
            input_ids: int [B, N].
            attention_mask: [B, N], bool or 0 and 1, true at real tokens, in any
                positions; with `past_key_values`, it includes the cached tokens.
            token_type_ids: int [B, N].
            inputs_embeds: [B, N, hidden], instead of `input_ids`.
            output_hidden_states: Whether to return `hidden_states`.
            past_key_values: For a causal model, the cache that it returned for
                earlier tokens.
            use_cache: For a causal model, whether to return a cache.
            position_ids: int [B or 1, N]; positions that start again separate
                documents in a row.
            document_ids: int [B or 1, N]; separates documents in a row. Each
                document is computed as if it were alone.

        Returns:
            `last_hidden_state` [B, N, hidden]; `pooler_output` [B, hidden] of the
            first real token (in a causal model, of the last); `hidden_states` on
            request, layers + 1 of them. With documents in rows, `pooler_output` is
            [D, hidden] for D documents: those of the first row in the order of
            their ids, and so on.

        Raises:
            ValueError: If inputs have other shapes or types, if ids have no
                embedding (checked only on the CPU), or if an argument is not
                supported.
        """
        own = {"past_key_values": past_key_values, "use_cache": use_cache}
        refuse_unserved(self.config, kwargs | own, self.causal)
        check_inputs(
            input_ids,
            inputs_embeds,
            None if self.causal else attention_mask,
            token_type_ids,
            hidden=self.config.hidden_size,
            vocab=getattr(self.embeddings.tokens, "num_embeddings", None),
            token_types=self.config.type_vocab_size,
        )
        embeds = inputs_embeds
        if embeds is None:
            embeds = self.embeddings.tokens(input_ids)
        check_documents(embeds.shape[0], embeds.shape[1], position_ids, document_ids)
        cache, past, attention_mask = self._cache(
            past_key_values, use_cache, embeds, attention_mask, position_ids
        )
        packing = None
        if document_ids is not None or (position_ids is not None and past == 0):
            packing = _packing(attention_mask, position_ids, document_ids, embeds)
        if packing is not None:
            refuse_cache(past_key_values, use_cache, "for documents in one row")
            cache, attention_mask = None, packing.mask
            embeds = packing.apart(embeds)
            if token_type_ids is not None:
                token_type_ids = packing.apart(token_type_ids)
        places, states = self._states(
            embeds, attention_mask, token_type_ids, cache, past
        )
        if self.pre_norm:
            states = (*states[:-1], self.norm(states[-1]))
        pooled = None
        if self.pooler is not None:
            select = places.last if self.causal else places.first
            pooled = torch.tanh(self.pooler(select(states[-1])))
        if packing is not None:
            states = tuple(packing.together(x) for x in states)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=states[-1],
            pooler_output=pooled,
            past_key_values=None if use_cache is False else cache,
            hidden_states=states if output_hidden_states else None,
        )

    def _cache(
        self,
        given: AzcCache | None,
        use_cache: bool | None,
        embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
    ) -> tuple[AzcCache | None, int | None, torch.Tensor | None]:
        """Return the cache to continue from or to fill, the number of tokens in it
        (None as in `AzcCache.past`), and the mask of the tokens so far.
        """
        if not self.causal:
            check_positions(position_ids, attention_mask, 0)
            return None, 0, attention_mask
        layers = self.config.num_hidden_layers
        check_cache(given, layers, embeds.shape[0])
        past = 0 if given is None else given.past
        if use_cache is None:
            use_cache = bool(getattr(self.config, "use_cache", False))
            use_cache = use_cache and not self.training
        cache = AzcCache(layers) if given is None and use_cache else given
        if cache is not None:
            config = cast(AzcConfig, self.config)
            cache.check(origin_of(self, config, embeds, begins=past == 0), past)
        attention_mask = check_decoding(embeds, past, given, attention_mask)
        if past is not None:
            check_positions(position_ids, attention_mask, past)
        trains = self.training and torch.is_grad_enabled()
        if cache is not None and cache.slots is not None and trains:
            refuse_cache(given, None, "with a fixed size while the model is trained")
        twice = trains and any(
            layer.gradient_checkpointing for layer in self.encoder.layers
        )
        if cache is not None and twice:
            # Layers that are computed twice would extend the cache twice.
            refuse_cache(given, None, "under gradient checkpointing")
            cache = None
        return cache, past, attention_mask

    def _states(
        self,
        embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
        cache: AzcCache | None,
        past: int | None,
    ) -> tuple[Places, tuple[torch.Tensor, ...]]:
        """Return the places of the current tokens, and the hidden states before and
        after each layer.
        """
        if past is not None:
            check_length(past + embeds.shape[1], self.max_length)
        if cache is not None and cache.slots is not None:
            places = Places.among(cache.slots.take(attention_mask, embeds))
            assert cache.slots.rows is not None
            rows = places.at(cache.slots.rows)
        else:
            places = Places.of(attention_mask, embeds, past or 0)
            rows = places.newest(embeds) if past else places
        if cache is not None:
            cache.begin(places.real)
        hidden = self.embeddings(embeds, token_type_ids, rows)
        given = (hidden, places.mask, places.positions, places.order)
        states = self.encoder(*given, cache) if self.causal else self.encoder(*given)
        if cache is not None:
            cache.advance(embeds.shape[1])
        return rows, states


def _packing(
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    document_ids: torch.Tensor | None,
    embeds: torch.Tensor,
) -> Packing | None:
    """Return the documents of a batch, or None if every row is one document."""
    shape = embeds.shape[:2]
    real = torch.ones(shape, dtype=torch.bool, device=embeds.device)
    if attention_mask is not None:
        real = attention_mask.bool()
    if document_ids is None:
        assert position_ids is not None
        document_ids = documents_of(position_ids, real)
        if not bool(document_ids[:, -1].any()):
            return None
    if not bool(real.any()):  # no token belongs to a document
        return None
    return Packing.of(document_ids.expand(shape), real)
