"""Checks of the arguments of a model, before torch sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PretrainedConfig, StaticCache

from azc.lower.masks import holds, mask_fault
from azc.model.cache import AzcCache
from azc.model.packing import documents_of, places_in_documents

__all__ = [
    "check_cache",
    "check_classes",
    "check_decoding",
    "check_documents",
    "check_inputs",
    "check_length",
    "check_positions",
    "check_prompts",
    "check_token_labels",
    "refuse_cache",
    "refuse_unserved",
]

_NO_CACHE = "the model is an encoder, which keeps no cache"
_ONE_SEQUENCE = "the model has no second sequence to attend to"
# Arguments and settings of transformers' BERT that this model would silently ignore.
_UNSERVED = {
    "output_attentions": "a program need not have attention weights",
    "head_mask": "a program's heads can't be masked",
    "encoder_hidden_states": _ONE_SEQUENCE,
    "encoder_attention_mask": _ONE_SEQUENCE,
    "past_key_values": _NO_CACHE,
    "use_cache": _NO_CACHE,
    "cache_position": _NO_CACHE,
    "is_causal": "the model is an encoder: every token sees every other",
    "num_items_in_batch": "the model has no head, and so no loss",
}
# Those that a causal model supports.
_CAUSAL = frozenset(
    "past_key_values use_cache is_causal is_decoder cache_position".split()
)
_UNSERVED_SETTINGS = {
    "output_attentions": _UNSERVED["output_attentions"],
    "use_cache": _NO_CACHE,
    "is_decoder": _UNSERVED["is_causal"],
    "is_encoder_decoder": _ONE_SEQUENCE,
    "add_cross_attention": _ONE_SEQUENCE,
    "chunk_size_feed_forward": "feed-forward networks see all tokens at once",
    "pruned_heads": "a program's heads can't be pruned",
}


def refuse_unserved(
    config: PretrainedConfig, given: Mapping[str, Any], causal: bool = False
) -> None:
    """Check that a model supports all arguments and settings; None and False are
    ignored.

    Args:
        config: The configuration.
        given: Arguments by name.
        causal: Whether the model is causal.

    Raises:
        ValueError: If one is not supported.
    """
    served = _CAUSAL if causal else frozenset()
    for name, value in given.items():
        if value is not None and value is not False and name not in served:
            reason = _UNSERVED.get(name, "the model has no such argument")
            raise ValueError(f"{name} is not supported: {reason}")
    for name, reason in _UNSERVED_SETTINGS.items():
        if getattr(config, name, None) and name not in served:
            raise ValueError(f"config.{name} is not supported: {reason}")
    if causal and getattr(config, "is_decoder", True) is False:
        raise ValueError("config.is_decoder can't be false: the model is causal")


def check_cache(cache: object, layers: int, batch: int) -> None:
    """Check that `past_key_values` is a cache of these numbers of layers and sequences.

    Raises:
        ValueError: If it is not.
    """
    if cache is None:
        return
    if not isinstance(cache, AzcCache):
        kind = type(cache).__name__
        size = ", max_cache_len=…" if isinstance(cache, StaticCache) else ""
        raise ValueError(
            "past_key_values must be an AzcCache, which azc models return (an empty one:"
            f" azc.model.AzcCache({layers}{size})); got {kind}"
        )
    if len(cache.layers) != layers:
        raise ValueError(
            f"past_key_values has {len(cache.layers)} layers; the model has {layers}"
        )
    # No `in`: torch.compile would compare a batch of any size by identity.
    if cache.sequences is not None and cache.sequences != batch:
        raise ValueError(
            f"past_key_values has {cache.sequences} sequences; got {batch} more"
        )


def check_decoding(
    like: torch.Tensor,
    past: int | None,
    cache: AzcCache | None,
    attention_mask: torch.Tensor | None,
) -> torch.Tensor | None:
    """Check the arguments of a causal model after `past` tokens.

    Args:
        like: The embeddings of the new tokens, [B, M, hidden].
        past: The number of tokens in the cache; None if a graph is recorded for any
            number.
        cache: The cache, if there is one.
        attention_mask: The caller's mask: [B, past + M], or of all slots of a cache
            of a fixed size.

    Returns:
        The mask of the tokens so far, [B, past + M], None if all are real; the
        unchanged mask if `past` is None.

    Raises:
        ValueError: If the mask does not fit, or a cache of a fixed size is full.
    """
    batch, count = like.shape[:2]
    slots = None if cache is None else cache.slots
    if past is None:
        assert slots is not None
        _check_mask(attention_mask, batch, slots.size, 0)
        return attention_mask
    total = past + count
    if slots is not None and total > slots.size:
        raise ValueError(
            f"{total} tokens; past_key_values was made for max_cache_len = {slots.size}"
        )
    if attention_mask is None:
        real = None if cache is None or not past else cache.real
        if real is None or holds(real, torch.all):
            return None
        # The mask of earlier calls still applies.
        if slots is None:
            raise ValueError(
                "attention_mask is required: past_key_values has tokens that are padding"
            )
        return F.pad(real, (0, count), value=True)
    if slots is not None and attention_mask.shape[-1] == slots.size:
        attention_mask = attention_mask[..., :total]
    _check_mask(attention_mask, batch, total, past)
    if past:
        assert cache is not None
        _check_past(cache, attention_mask[:, :past].bool())
    return attention_mask


def _check_mask(
    attention_mask: torch.Tensor | None, batch: int, tokens: int, past: int
) -> None:
    if attention_mask is not None:
        fault = mask_fault("attention_mask", attention_mask, batch, tokens)
        if fault is not None:
            after = f", of which {past} were seen before" if past else ""
            raise ValueError(f"{fault[0]} ({fault[1]}{after})")


def check_documents(
    batch: int,
    tokens: int,
    position_ids: torch.Tensor | None,
    document_ids: torch.Tensor | None,
) -> None:
    """Check ids that separate documents in a row.

    Args:
        batch: The number of rows, B.
        tokens: The number of tokens in a row, N.
        position_ids: int [B or 1, N].
        document_ids: int [B or 1, N].

    Raises:
        ValueError: If their type or their shape is wrong.
    """
    for name, ids in (("position_ids", position_ids), ("document_ids", document_ids)):
        if ids is None:
            continue
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"{name} must be int64 or int32; got {_type(ids)}")
        if ids.shape[-1] != tokens or ids.dim() != 2 or ids.shape[0] not in (1, batch):
            raise ValueError(
                f"{name} must be [B, N] = [{batch}, {tokens}]; got {list(ids.shape)}"
            )


def _check_past(cache: AzcCache, real: torch.Tensor) -> None:
    """Check that a mask [B, past] agrees with earlier calls where the cache depends on
    them; only on the CPU.

    Raises:
        ValueError: If it does not.
    """
    if real.device.type != "cpu":
        return
    same = real if cache.real is None else real == cache.real
    if not holds(same, torch.all) and not cache.is_whole:
        row, token = (~same).nonzero()[0].tolist()
        now, before = "real", "padding"
        if not real[row, token]:
            now, before = before, now
        raise ValueError(
            f"attention_mask marks token {token} of sequence {row} as {now}; it was"
            f" {before} when past_key_values was made, and it can't be changed in a cache"
            " of sums or of the last tokens"
        )


def check_length(tokens: int, max_length: int | None) -> None:
    """Check that there are positions for all tokens; None means no limit.

    Raises:
        ValueError: If there are too many tokens.
    """
    if max_length is not None and tokens > max_length:
        raise ValueError(
            f"{tokens} tokens; the model was made for max_length = {max_length}"
        )


def refuse_cache(cache: object, use_cache: bool | None, why: str) -> None:
    """Check that no cache is passed or requested where it is not supported.

    Raises:
        ValueError: If one is.
    """
    if cache is not None:
        raise ValueError(f"past_key_values is not supported {why}")
    if use_cache:
        raise ValueError(f"use_cache is not supported {why}: there is no next token")


def check_positions(
    position_ids: torch.Tensor | None, attention_mask: torch.Tensor | None, past: int
) -> None:
    """Check that positions count the real tokens of each document; only on the CPU.

    Args:
        position_ids: int [B or 1, M].
        attention_mask: [B, past + M].
        past: The number of earlier tokens.

    Raises:
        ValueError: If they do not.
    """
    if position_ids is None or position_ids.device.type != "cpu":
        return
    batch, tokens = position_ids.shape
    every = torch.ones((batch, past + tokens), dtype=torch.bool)
    if attention_mask is not None:
        every = attention_mask.bool()
    real = every[:, past:]
    ids = position_ids.expand(real.shape)
    if past:
        wanted = (every.cumsum(-1) - 1)[:, past:]
        rule = "continue from those of past_key_values"
    else:
        wanted = places_in_documents(documents_of(ids, real), real)
        rule = "count the tokens of each document from 0"
    right = ~real | (ids == wanted)
    if not holds(right, torch.all):
        at = (~right).nonzero()[0].tolist()
        raise ValueError(
            f"position_ids must {rule}: token {at[1]} of sequence {at[0]} is at"
            f" {int(wanted[at[0], at[1]])}; got {int(ids[at[0], at[1]])}"
        )


def check_prompts(attention_mask: torch.Tensor | None) -> None:
    """Check that a mask is [B, N] and that no prompt ends in padding.

    Raises:
        ValueError: If one does.
    """
    if attention_mask is None:
        return
    if attention_mask.dim() != 2:
        shape = list(attention_mask.shape)
        raise ValueError(f"attention_mask must be [B, N]; got {shape}")
    if not holds(attention_mask, lambda mask: (mask[:, -1] != 0).all()):
        raise ValueError(
            "a prompt ends in padding, which new tokens would follow: pad prompts on the"
            " left (padding_side = 'left' of a tokenizer)"
        )


def _check_ids(
    name: str, ids: torch.Tensor, limit: int | None, what: str, ignored: int = 0
) -> None:
    """Check that ids are below `limit` or equal to `ignored`.

    Raises:
        ValueError: If they are not.
    """
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} must be int64 or int32; got {_type(ids)}")
    # Not on a GPU, where reading values would wait for pending computations. There,
    # torch reports an index out of range by a device-side assertion.
    if limit is None or ids.device.type != "cpu":
        return

    def known(ids: torch.Tensor) -> torch.Tensor:
        return ((ids >= 0) & (ids < limit)) | (ids == ignored)

    if not holds(ids, lambda ids: known(ids).all()):
        wrong = int(ids[~known(ids)][0])
        other = f" or {ignored}" if ignored else ""
        raise ValueError(
            f"{name} must be from 0 to {limit - 1}{other}, {what}; got {wrong}"
        )


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_inputs(
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    token_type_ids: torch.Tensor | None,
    *,
    hidden: int,
    vocab: int | None,
    token_types: int,
) -> None:
    """Check the arguments of a model.

    Ids are compared with their limits only on the CPU, and not where values can't be
    read, as under `torch.compile`.

    Args:
        input_ids: int [B, N].
        inputs_embeds: Floating point [B, N, hidden], instead of `input_ids`.
        attention_mask: [B, N].
        token_type_ids: int [B, N].
        hidden: The width of embeddings.
        vocab: The number of token embeddings, None if unknown.
        token_types: The number of token types.

    Raises:
        ValueError: If the model can't be called with them.
    """
    if input_ids is not None and inputs_embeds is None:
        name, given, wanted, last = "input_ids", input_ids, "[B, N]", []
    elif inputs_embeds is not None and input_ids is None:
        name, given, last = "inputs_embeds", inputs_embeds, [hidden]
        wanted = f"[B, N, {hidden}]"
    else:
        raise ValueError("pass either input_ids or inputs_embeds")
    if not isinstance(given, torch.Tensor):
        kind = type(given).__name__
        raise ValueError(f"{name} must be a tensor {wanted}; got a {kind}")
    if given.dim() != 2 + len(last) or list(given.shape[2:]) != last:
        raise ValueError(f"{name} must be {wanted}; got {list(given.shape)}")
    batch, tokens = given.shape[:2]
    if tokens == 0:
        raise ValueError(
            f"a sequence needs at least one token; {name} is {list(given.shape)}"
        )
    if input_ids is not None:
        _check_ids("input_ids", input_ids, vocab, "the model's vocabulary")
    elif not given.is_floating_point():
        raise ValueError(f"inputs_embeds must be floating point; got {_type(given)}")
    if attention_mask is not None:
        fault = mask_fault("attention_mask", attention_mask, batch, tokens)
        if fault is not None:
            raise ValueError(f"{fault[0]} ({fault[1]})")
    if token_type_ids is not None:
        _check_shape("token_type_ids", token_type_ids, batch, tokens)
        # A model without types accepts 0, the type that tokenizers give one sequence.
        limit = max(token_types, 1)
        what = f"the model has token_types = {token_types}"
        _check_ids("token_type_ids", token_type_ids, limit, what)


def _check_shape(name: str, tensor: torch.Tensor, batch: int, tokens: int) -> None:
    if tuple(tensor.shape) != (batch, tokens):
        raise ValueError(
            f"{name} must be [B, N] = [{batch}, {tokens}]; got {list(tensor.shape)}"
        )


def check_token_labels(
    labels: torch.Tensor, batch: int, tokens: int, vocab: int
) -> None:
    """Check that labels of a language model are ids [B, N] of its vocabulary or −100.

    Raises:
        ValueError: If they are not.
    """
    _check_shape("labels", labels, batch, tokens)
    _check_ids("labels", labels, vocab, "the model's vocabulary", ignored=-100)


def check_classes(
    labels: torch.Tensor, batch: int, classes: int, problem: str | None
) -> None:
    """Check that labels fit the loss of a classifier.

    Args:
        labels: Class numbers [B], or floating point [B, classes]; also [B] for a
            single class.
        batch: The number of sequences, B.
        classes: The number of classes.
        problem: transformers' `problem_type`; None infers it from the classes and
            the type of the labels.

    Raises:
        ValueError: If they do not.
    """
    floating = labels.is_floating_point()
    if problem is None and classes > 1:
        problem = "multi_label" if floating else "single_label_classification"
    if problem == "single_label_classification":
        wanted, right = (
            f"[B] = [{batch}]",
            tuple(labels.shape) in ((batch,), (batch, 1)),
        )
    else:
        wanted = f"[B, {classes}] = [{batch}, {classes}]"
        right = tuple(labels.shape) == (batch, classes)
        right |= classes == 1 and tuple(labels.shape) == (batch,)
    if not right:
        raise ValueError(f"labels must be {wanted}; got {list(labels.shape)}")
    if problem == "single_label_classification":
        what = f"the model has {classes} classes"
        _check_ids("labels", labels, classes, what, ignored=-100)
    elif not floating:
        raise ValueError(
            f"labels must be floating point for this problem type; got {_type(labels)}"
        )
