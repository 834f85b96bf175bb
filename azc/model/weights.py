"""Loading of weights of transformers' models into compiled models.

Codes: R020 the weights cannot be read; R021 the weights have a tensor that the model
does not have; R022 a tensor of the weights does not match the model; R023 the weights
lack a tensor of the model; R024 the weights belong to a model that computes something
else; R025 weights of this kind of model cannot be converted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, GenerationConfig, PretrainedConfig

from azc.diagnostics import InternalError, RunError
from azc.model.config import AzcConfig, spec_of
from azc.model.converters import ARCHITECTURES, Tensors, convert
from azc.model.modeling import AzcPreTrainedModel

__all__ = ["load_weights"]

Settings = Mapping[str, Any]
Source = str | Path | torch.nn.Module | Tensors
Model = TypeVar("Model", bound=AzcPreTrainedModel)

_HEADS = ("head.", "classifier.", "lm_head.")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def load_weights(
    model: Model, source: Source, config: PretrainedConfig | Settings | None = None
) -> Model:
    """Load the weights of another model into a compiled one that computes the same.

    The kind of the source is the `model_type` of its configuration: `bert`, `bloom`,
    `distilbert`, `gpt2`, `gpt_neox` or `roberta`. A head keeps its own weights if the
    source has none for it, and `generate` uses the source's tokens to begin, end and
    pad a text. A warning is given if a layer's program differs from the source's
    attention.

    Args:
        model: The model. Its layers are attention programs with parameters `q, k,
            v`.
        source: A folder of transformers (safetensors, sharded or not), a
            `.safetensors` file, a module of transformers, or a state dict.
        config: The source's configuration; by default that of the module, or
            `config.json` in the folder or beside the file. A state dict needs it.

    Returns:
        The model.

    Raises:
        RunError: If the `model_type` is another one, if the configuration computes
            something else with the same weights (heads, activation, decoders, …),
            or if weights are missing, unknown or of another shape. The model is
            unchanged.
    """
    tensors = _tensors(source)
    settings = _settings(source) if config is None else _as_map(config)
    if settings is None:
        message = "the kind of model is unknown from weights alone"
        raise RunError("R025", message, "pass its configuration: config=…")
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        message = f"weights of a model of type {kind!r} can't be converted"
        help_ = f"known: {', '.join(ARCHITECTURES)}"
        if kind == AzcConfig.model_type:
            message = "load weights of an azc model with from_pretrained of its class"
            help_ = "for a model in memory: load_state_dict(other.state_dict())"
        raise RunError("R025", message, help_)
    if not isinstance(model.config, AzcConfig):
        raise InternalError("a compiled model must have an AzcConfig")
    own = dict(model.named_parameters(remove_duplicate=False))
    theirs, spec = _config(kind, settings), spec_of(model.config)
    found = convert(ARCHITECTURES[kind], tensors, theirs, spec, own)
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    generation = _generation(source)
    _put(own, prefix, found, ARCHITECTURES[kind].title)
    if model.can_generate():
        _name_ends(model, generation, theirs)
    return model


def _name_ends(
    model: AzcPreTrainedModel, generation: Settings, config: PretrainedConfig
) -> None:
    """Make `generate` begin, end and pad with the source's tokens.

    A source without padding is padded with its end token, like transformers does.
    """
    names = "bos_token_id", "eos_token_id", "pad_token_id"
    given = {**config.to_dict(), **generation}
    found = {name: given[name] for name in names if given.get(name) is not None}
    if "eos_token_id" in found:
        end = found["eos_token_id"]
        found.setdefault("pad_token_id", end[0] if isinstance(end, list) else end)
    model.generation_config.update(**found)


def _put(
    own: Mapping[str, torch.nn.Parameter], prefix: str, found: Tensors, title: str
) -> None:
    """Copy weights into a model: all that it needs, or none. `prefix` is that of the
    base model's names.
    """
    loaded: dict[int, tuple[str, torch.nn.Parameter, torch.Tensor]] = {}
    for name, tensor in found.items():
        target = own.get(name if name.startswith(_HEADS) else prefix + name)
        if target is None:
            if name.startswith((*_HEADS, "pooler.")):
                continue
            raise RunError(
                "R021", f"the model has no parameter for {name} of the {title}"
            )
        if target.shape != tensor.shape:
            message = f"{name} is {list(tensor.shape)} in the {title}"
            raise RunError("R022", f"{message}, {list(target.shape)} in the model")
        if tensor.is_meta:
            raise RunError("R022", f"{name} of the {title} has no data")
        other = loaded.setdefault(id(target), (name, target, tensor))
        if other[2] is not tensor and not torch.equal(other[2], tensor):
            message = f"{other[0]} and {name} are tied in the model, but differ in the"
            help_ = "set tie_embeddings = false to untie them in the model"
            raise RunError("R024", f"{message} {title}", help_)
    free = (*_HEADS, f"{prefix}pooler.")
    missing = [
        name
        for name, parameter in own.items()
        if id(parameter) not in loaded and not name.startswith(free)
    ]
    if missing:
        message = f"the {title} has no weights for {', '.join(missing[:4])}"
        raise RunError("R023", message)
    with torch.no_grad():
        for _, target, tensor in loaded.values():
            target.copy_(tensor)


# Reading


def _tensors(source: Source) -> Tensors:
    if isinstance(source, torch.nn.Module):
        return dict(source.state_dict())
    if isinstance(source, Mapping):
        if not all(isinstance(each, torch.Tensor) for each in source.values()):
            raise RunError("R020", "a state dict must map names to tensors")
        return source
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.name == _INDEX:
        return _shards(path)
    if path.suffix in _PICKLES:
        raise _pickled(path)
    return _file(path)


def _folder(path: Path) -> Tensors:
    if (path / _WEIGHTS).exists():
        return _file(path / _WEIGHTS)
    if (path / _INDEX).exists():
        return _shards(path / _INDEX)
    others = [each for each in sorted(path.iterdir()) if each.suffix in _PICKLES]
    if others:
        raise _pickled(others[0])
    raise RunError("R020", f"{path} has neither {_WEIGHTS} nor {_INDEX}")


def _pickled(path: Path) -> RunError:
    message = f"{path} is a pickle, which may run code when it is read"
    help_ = "load it with transformers; its save_pretrained writes safetensors"
    return RunError("R020", message, help_)


def _file(path: Path) -> Tensors:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises errors of many kinds
        message = f"can't read weights from {path}: {error}"
        help_ = None if path.exists() else "download a model of a hub first"
        raise RunError("R020", message, help_) from error


def _shards(index: Path) -> Tensors:
    """Read the weights of an index, each from the file that the index names."""
    named = (_json(index) or {}).get("weight_map")
    if not isinstance(named, dict) or not all(
        isinstance(each, str) and Path(each).name == each for each in named.values()
    ):
        raise RunError("R020", f"{index} does not map weights to files beside it")
    found: dict[str, torch.Tensor] = {}
    for file in sorted(set(named.values())):
        shard = _file(index.with_name(file))
        wanted = {name for name, each in named.items() if each == file}
        absent = wanted - shard.keys()
        if absent:
            message = f"{index.with_name(file)} lacks {min(absent)}"
            raise RunError("R020", f"{message}, which the index lists")
        found.update((name, shard[name]) for name in wanted)
    return found


def _settings(source: Source) -> Settings | None:
    """Return the configuration of a source, or None if it has none."""
    if isinstance(source, torch.nn.Module):
        config = getattr(source, "config", None)
        if not isinstance(config, PretrainedConfig):
            return None
        return {**_as_map(config), "architectures": [type(source).__name__]}
    if isinstance(source, Mapping):
        return None
    path = Path(source)
    folder = path if path.is_dir() else path.parent
    return _json(folder / "config.json")


def _generation(source: Source) -> Settings:
    """Return the generation settings of a source, if it has any."""
    if isinstance(source, torch.nn.Module):
        config = getattr(source, "generation_config", None)
        return config.to_dict() if isinstance(config, GenerationConfig) else {}
    if isinstance(source, Mapping):
        return {}
    path = Path(source)
    folder = path if path.is_dir() else path.parent
    return _json(folder / "generation_config.json") or {}


def _config(kind: str, settings: Settings) -> PretrainedConfig:
    """Create a configuration with defaults; old names of settings are replaced."""
    given = {
        name: each
        for name, each in settings.items()
        if each is not None and name != "model_type"
    }
    try:
        return AutoConfig.for_model(kind, **given)
    except Exception as error:  # transformers raises many kinds for invalid values
        message = f"the configuration of the {kind} can't be used: {error}"
        raise RunError("R025", " ".join(message.split())) from error


def _as_map(config: PretrainedConfig | Settings) -> Settings:
    return config.to_dict() if isinstance(config, PretrainedConfig) else config


def _json(path: Path) -> dict[str, Any] | None:
    """Read the object in a JSON file; None if there is no file.

    Raises:
        RunError: If it can't be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError("R020", f"can't read {path}: {error}") from error
    if not isinstance(found, dict):
        raise RunError("R020", f"{path} is not a JSON object")
    return found
