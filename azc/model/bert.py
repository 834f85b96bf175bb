"""Weights of a real BERT in a compiled model."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from transformers import PretrainedConfig

from azc.check.program import ModelSpec
from azc.diagnostics import InternalError, RunError
from azc.model.config import AzcConfig, spec_of
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
# transformers' names of activations, and ours.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}
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


def _settings(source: str | Path | torch.nn.Module) -> dict[str, Any]:
    """BERT's own configuration; empty where there is none beside the weights."""
    if isinstance(source, torch.nn.Module):
        config = getattr(source, "config", None)
        return dict(config.to_dict()) if isinstance(config, PretrainedConfig) else {}
    file = Path(source) / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _unlike(spec: ModelSpec, settings: dict[str, Any]) -> list[str]:
    """What no shape of a weight tells, and makes another function of the same weights."""
    heads = sorted({layer.heads for layer in spec.layers})
    kinds = sorted({layer.activation for layer in spec.layers})
    pairs: dict[str, tuple[Any, list[Any]]] = {
        "heads": (settings.get("num_attention_heads"), heads),
        "activation": (_ACTIVATIONS.get(str(settings.get("hidden_act"))), kinds),
        "norm_eps": (settings.get("layer_norm_eps"), [spec.norm_eps]),
    }
    return [
        f"{name} {', '.join(map(str, ours))} in the model, {theirs} in BERT"
        for name, (theirs, ours) in pairs.items()
        if theirs is not None and ours != [theirs]
    ]


Model = TypeVar("Model", bound=AzcPreTrainedModel)


def load_bert_weights(model: Model, source: str | Path | torch.nn.Module) -> Model:
    """Puts the weights of a BERT into a compiled model of the same architecture.

    `model`: any compiled model whose layers are attention programs of parameters
    `q, k, v`. `source`: a folder with `model.safetensors`, such a file, or one of
    transformers' BERT modules. The model's own head keeps its weights where BERT has
    none. Gives the model back. Warns where BERT's configuration is at hand and has other
    heads, another activation or `norm_eps`: the weights fit, and compute something else.
    Raises `RunError` where an encoder weight is missing, unknown or of another shape:
    nothing is changed then.
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
        target = name if name.startswith(("head.", "classifier.")) else prefix + name
        optional = name.startswith(("head.", "classifier.", "pooler."))
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
    config = model.config
    if not isinstance(config, AzcConfig):
        raise InternalError("a compiled model has another configuration than its own")
    spec = spec_of(config)
    with torch.no_grad():
        for name, tensor in loaded.items():
            own[name].copy_(tensor)
    for difference in _unlike(spec, _settings(source)):
        warnings.warn(f"not the same architecture: {difference}", stacklevel=2)
    return model
