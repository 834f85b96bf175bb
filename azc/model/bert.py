"""Weights of a real BERT in a compiled model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file

from azc.diagnostics import RunError
from azc.model.modeling import AzcPreTrainedModel

__all__ = ["load_bert_weights"]

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
_IGNORED = re.compile(r"position_ids$|^cls\.seq_relationship\.|token_type_ids$")


def _ours(name: str) -> str:
    name = name.removeprefix("bert.")
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _read(source: str | Path | torch.nn.Module) -> dict[str, torch.Tensor]:
    if isinstance(source, torch.nn.Module):
        return dict(source.state_dict())
    path = Path(source)
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        return load_file(file)
    except Exception as error:
        message = f"can't read BERT weights from {file}: {error}"
        raise RunError("R020", message) from error


Model = TypeVar("Model", bound=AzcPreTrainedModel)


def load_bert_weights(model: Model, source: str | Path | torch.nn.Module) -> Model:
    """Puts the weights of a BERT into a compiled model of the same architecture.

    `model`: any compiled model whose layers are attention programs of parameters
    `q, k, v`. `source`: a folder with `model.safetensors`, such a file, or one of
    transformers' BERT modules. The model's own head keeps its weights where BERT has
    none. Gives the model back. Raises `RunError` where an encoder weight is missing,
    unknown or of another shape: nothing is changed then.
    """
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    theirs = {
        _ours(name): tensor
        for name, tensor in _read(source).items()
        if not _IGNORED.search(name)
    }
    own = dict(model.named_parameters(remove_duplicate=False))
    loaded: dict[str, torch.Tensor] = {}
    for name, tensor in theirs.items():
        target = name if name.startswith("head.") else prefix + name
        optional = name.startswith(("head.", "pooler."))
        if target not in own:
            if optional:
                continue
            raise RunError("R021", f"the model has no place for BERT's {name}")
        if own[target].shape != tensor.shape:
            message = f"{name} is {list(tensor.shape)} in BERT"
            raise RunError("R022", f"{message}, {list(own[target].shape)} in the model")
        loaded[target] = tensor
    heads = ("head.", f"{prefix}pooler.", "classifier.")
    missing = [n for n in own if n not in loaded and not n.startswith(heads)]
    if missing:
        raise RunError("R023", f"BERT has no weights for {', '.join(missing[:4])}")
    with torch.no_grad():
        for name, tensor in loaded.items():
            own[name].copy_(tensor)
    return model
