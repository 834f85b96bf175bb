"""BERT's weights under the names of a compiled model (Devlin et al. 2019).

Codes: R024 weights are of a model that computes something else.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from azc.check.program import AttentionUse, ModelSpec
from azc.check.resolve import check_source
from azc.compare.match import Interner
from azc.diagnostics import RunError
from azc.passes.pipeline import program_graph
from azc.source import Source

__all__ = ["convert_bert"]

# transformers' names of BERT's parameters, and ours; layers keep their number.
_NAMES = (
    (r"embeddings\.word_embeddings\.", "embeddings.tokens."),
    (r"embeddings\.position_embeddings\.", "embeddings.positions."),
    (r"embeddings\.token_type_embeddings\.", "embeddings.token_types."),
    (r"embeddings\.LayerNorm\.", "embeddings.norm."),
    (r"encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.self\.query\.", ".attention.q_proj."),
    (r"\.attention\.self\.key\.", ".attention.k_proj."),
    (r"\.attention\.self\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.output."),
    (r"\.attention\.output\.LayerNorm\.", ".norm."),
    (r"\.intermediate\.dense\.", ".ffn.0.up."),
    (r"\.output\.LayerNorm\.", ".ffn.0.norm."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.ffn.0.down."),
    (r"pooler\.dense\.", "pooler."),
    (r"cls\.predictions\.transform\.dense\.", "head.dense."),
    (r"cls\.predictions\.transform\.LayerNorm\.", "head.norm."),
    (r"cls\.predictions\.decoder\.", "head.decoder."),
    (r"cls\.predictions\.bias", "head.decoder.bias"),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
)
# transformers' names of activations, and ours.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}
# Buffers, and heads for what compiled models do not do.
_IGNORED = re.compile(
    r"position_ids$|token_type_ids$|^cls\.seq_relationship\.|^qa_outputs\."
)
# What a configuration need not say.
_DEFAULTS = {
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "architectures": [],
}
_ATTENTION = "attention bert(q, k, v) { return softmax(scale(q @ k.T)) @ v }"


def convert_bert(
    tensors: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
    spec: ModelSpec,
    own: Collection[str],
) -> dict[str, torch.Tensor]:
    """A BERT's weights under our names, those of the base model without prefix.

    `own`: the names of all parameters of the model. Raises `RunError` R024 where it
    computes something else with these weights than the BERT of this configuration.
    """
    found = {
        _ours(name): tensor
        for name, tensor in tensors.items()
        if not _IGNORED.search(name)
    }
    given = _DEFAULTS | {n: each for n, each in settings.items() if each is not None}
    if given["architectures"] not in ([], ["BertForSequenceClassification"]):
        found = {
            n: each for n, each in found.items() if not n.startswith("classifier.")
        }
    head = "head.dense.weight"
    unlike = list(_unlike(spec, given, head=head in found and head in own))
    if unlike:
        raise RunError("R024", f"not the same architecture: {'; '.join(unlike)}")
    embedding = found.get("embeddings.tokens.weight")
    if head in found and embedding is not None:
        found.setdefault("head.decoder.weight", embedding)  # tied, it is not saved
    _warn_of_other_programs(spec)
    return found


def _ours(name: str) -> str:
    name = name.removeprefix("bert.")
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _unlike(spec: ModelSpec, given: Mapping[str, Any], head: bool) -> Iterator[str]:
    """What no shape of a weight tells, and makes another function of the same weights;
    `head`: whether that of the masked-lm is to be loaded.
    """
    act = given["hidden_act"]
    activation = _ACTIVATIONS.get(str(act), act)
    pairs = (
        ("heads", given["num_attention_heads"], {each.heads for each in spec.layers}),
        ("activation", activation, {each.activation for each in spec.layers}),
        ("norm_eps", given["layer_norm_eps"], {spec.norm_eps}),
        ("norm", "layer_norm", {spec.norm}),
        ("residual", "post", {spec.residual}),
    )
    for name, theirs, ours in pairs:
        if list(ours) != [theirs]:
            told = ", ".join(map(str, sorted(ours)))
            yield f"{name} {told} in the model, {theirs} in the BERT"
    if head and activation != "gelu":
        yield f"the masked-lm's head has gelu in the model, {act} in the BERT"
    if given["is_decoder"] or given["add_cross_attention"]:
        yield "the BERT is a decoder"
    if given["position_embedding_type"] != "absolute":
        yield f"the BERT has positions of type {given['position_embedding_type']}"


def _warn_of_other_programs(spec: ModelSpec) -> None:
    bert = check_source(Source("bert", _ATTENTION)).attentions["bert"]
    interner = Interner()
    key = interner.key(program_graph(bert))
    mixing = (each.mixing for each in spec.layers)
    uses = {id(use.program): use for use in mixing if isinstance(use, AttentionUse)}
    for use in uses.values():
        if interner.key(program_graph(use.program)) != key:
            message = f"`{use.name}` is another attention than BERT's"
            warnings.warn(message, stacklevel=4)
