"""What azc does, for Python: load, format, compile, interpret, compare, evolve.

Light to import: what needs torch imports it when called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azc.check.causality import require_causal
from azc.check.choose import choose_attention, choose_model, choose_space
from azc.check.models import MAX_HEADS, MAX_LENGTH, MAX_WIDTH
from azc.check.program import AttentionSpec, ModelSpec, Program
from azc.check.resolve import check_file, check_source
from azc.compare.models import ModelDiff, compare_models
from azc.compare.summary import ModelSummary, summarise
from azc.diagnostics import Diagnostic, DiagnosticError, nearest, whole
from azc.ir.build import build_graph
from azc.ir.graph import Graph
from azc.ir.run import Interpreter
from azc.passes.dropout import Dropout
from azc.passes.pipeline import program_graph
from azc.resources import home_cache, stdlib_folder
from azc.source import Source
from azc.syntax.format import format_text

if TYPE_CHECKING:
    from torch import fx

    from azc.lower.explain import CacheSize
    from azc.model.modeling import AzcPreTrainedModel
    from azc.model.tasks import Task
    from azc.search.events import Event
    from azc.search.run import RunView

__all__ = [
    "ProgramLike",
    "cache_size",
    "compile",
    "compile_attention",
    "cost_tokens",
    "diff",
    "evolve",
    "find_file",
    "format",
    "generated_code",
    "interpret_attention",
    "load",
    "loads",
    "masked_graph",
    "program_graph",
    "resume",
    "summary",
]

ProgramLike = Program | str | os.PathLike[str]
TOKENS = 128  # the length of a sequence that costs are told for


def find_file(name: str | os.PathLike[str]) -> tuple[Path, str]:
    """The path of a program and how diagnostics call it.

    `std.models` is a file of the standard library, unless there is a file of that name.
    Raises `DiagnosticError` if the library has no such file.
    """
    path, text = Path(name), os.fspath(name)
    # `os.path.exists` is plainly false where `Path.exists` fails: of too long a name.
    if os.path.exists(text) or not re.fullmatch(r"std(\.[a-z_][a-z0-9_]*)+", text):
        return path, text
    parts = text.split(".")[1:]
    found = stdlib_folder().joinpath(*parts).with_suffix(".azg")
    if not os.path.isfile(found):
        known = [f"std.{each.stem}" for each in sorted(stdlib_folder().glob("*.azg"))]
        near = nearest(text, known)
        help_ = f"did you mean `{near}`?" if near else f"it has: {', '.join(known)}"
        message = f"the standard library has no `{text}`"
        raise DiagnosticError([Diagnostic("AZG123", message, None, help_)])
    return found, "/".join(["std", *parts]) + ".azg"


def load(path: str | os.PathLike[str]) -> Program:
    """The checked program of a file, or of `std.NAME`.

    Raises `DiagnosticError`, whose `diagnostics` are all that is wrong with it.
    """
    return check_file(*find_file(path))


def loads(text: str, name: str = "<text>") -> Program:
    """The checked program of a text, which diagnostics call `name`.

    Raises `DiagnosticError`, whose `diagnostics` are all that is wrong with it.
    """
    return check_source(Source(name, text))


def format(text: str) -> str:
    """The canonical form of a program's text. Raises `DiagnosticError`."""
    return format_text(Source("<text>", text))


def _program(program: ProgramLike) -> Program:
    return program if isinstance(program, Program) else load(program)


# Attention programs


def compile_attention(
    program: ProgramLike,
    name: str | None = None,
    heads: int | None = None,
    head_dim: int | None = None,
    causal: bool = False,
) -> fx.GraphModule:
    """An attention program as a function of tensors: `fn(q=…, k=…, mask=…)`.

    Tensors are [B, H, N, D], one by the name of each parameter; `mask` is bool [B, N],
    True for a real token, and may be left out. The result is [B, H, N, D], and 0 in
    padding. `heads` and `head_dim` give learned operations (`conv`) weights for every
    head and feature; without them one kernel serves all. With `causal` no row depends
    on a later token. `name` may be left out where there is one program only. Raises
    `DiagnosticError`, also where a program has no causal meaning, and `UsageError` for
    an unknown name.
    """
    from azc.lower.attention import compile_graph

    heads = None if heads is None else whole("heads", heads, 1, MAX_HEADS)
    if head_dim is not None:
        head_dim = whole("head_dim", head_dim, 1, MAX_WIDTH)
    _, spec = choose_attention(_program(program), name)
    if causal:
        require_causal(spec)
    return compile_graph(program_graph(spec), heads, head_dim, causal=causal)


def masked_graph(spec: AttentionSpec, model: ModelSpec | None = None) -> Graph:
    """The graph of a program as plain code computes it, with its masks: in a model, or as
    a function of tensors.

    What a backend would serve is in it like all else; what a decoder computes moment by
    moment has masks of its own, which are not.
    """
    from azc.lower.plan import prepared

    graph = program_graph(spec)
    if model is None:
        return prepared(graph, backends=(), cleared=True).graph
    graph = Dropout(model.attention_dropout).run(graph)
    return prepared(graph, model.causal, backends=()).graph


def interpret_attention(
    program: ProgramLike, name: str | None = None, causal: bool = False
) -> Interpreter:
    """The reference semantics of an attention program: NumPy, float64, one sequence.

    `ref(q=…, k=…, head=0, heads=1)`: arrays [n, d], one by the name of each parameter,
    give the result [n, d]. With `causal` the tokens arrive one at a time, and no row
    depends on a later token. Raises `DiagnosticError`, also where a program has no
    causal meaning, and `UsageError` for an unknown name.
    """
    _, spec = choose_attention(_program(program), name)
    if causal:
        require_causal(spec)
    return Interpreter(build_graph(spec), causal)


# Models


def compile(
    program: ProgramLike,
    name: str | None = None,
    task: Task | None = None,
    num_labels: int = 2,
) -> AzcPreTrainedModel:
    """A model for transformers, with fresh weights from torch's global generator.

    `task`: "causal-lm", which causal models are for by default, "masked-lm", which
    others are for, "base", or "sequence-classification" into `num_labels` classes.
    Raises `DiagnosticError` and, for an unknown name or task, `UsageError`.
    """
    from azc.model import build_model

    num_labels = whole("num_labels", num_labels, 1, MAX_WIDTH)
    checked = _program(program)
    found, _ = choose_model(checked, name)
    return build_model(checked, found, task, num_labels)


def generated_code(
    program: ProgramLike, name: str | None = None
) -> list[tuple[str, str]]:
    """The fx code of a model, of its encoder and of each kind of layer, with titles.

    Nothing is computed and no memory taken: the weights are torch's `meta` tensors.
    """
    import torch

    from azc.lower.layer import Layer, compile_encoder

    _, model = choose_model(_program(program), name)
    with torch.device("meta"):
        encoder = compile_encoder(model)
    found = {"encoder": encoder.code}
    places: dict[str, list[int]] = {}
    layers = [each for each in encoder.modules() if isinstance(each, Layer)]
    for place, layer in enumerate(layers, start=1):
        places.setdefault(layer.code, []).append(place)
    for code, numbers in places.items():
        plural = "s" if len(numbers) > 1 else ""
        found[f"layer{plural} {', '.join(map(str, numbers))}"] = code
    return [(title, code.strip() + "\n") for title, code in found.items()]


def cache_size(model: ModelSpec) -> CacheSize | None:
    """What the cache of a decoder takes in float32; None for an encoder."""
    if not model.causal:
        return None
    from azc.lower.explain import cache_size as size_of

    return size_of(model)


def cost_tokens(tokens: int | None, *models: ModelSpec) -> int:
    """The length that costs are told for: as given, or else 128 tokens or what the
    models can take. Raises `UsageError`.
    """
    if tokens is not None:
        return whole("tokens", tokens, 1, MAX_LENGTH)
    return min(TOKENS, *(model.max_length for model in models))


def summary(
    program: ProgramLike, name: str | None = None, tokens: int | None = None
) -> ModelSummary:
    """The layers of a model, its parameters and its floating point operations.

    `tokens`: the length of the sequence that these are counted for, by default 128 or
    what the model can take. Raises `DiagnosticError` and `UsageError`.
    """
    _, model = choose_model(_program(program), name)
    return summarise(model, cost_tokens(tokens, model))


def diff(
    old: ProgramLike,
    new: ProgramLike,
    old_name: str | None = None,
    new_name: str | None = None,
    tokens: int | None = None,
) -> ModelDiff:
    """What changed from one model to another, by layer and by operation.

    `tokens`: as for `summary`. Raises `DiagnosticError` and `UsageError`.
    """
    _, before = choose_model(_program(old), old_name)
    _, after = choose_model(_program(new), new_name)
    return compare_models(before, after, cost_tokens(tokens, before, after))


# Evolution


def evolve(
    program: ProgramLike,
    space: str | None = None,
    *,
    out: str | os.PathLike[str],
    cache: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> RunView:
    """Searches a space for a better model, in the new folder `out`; gives what the run
    holds when it is over.

    `space` may be left out where the file has just one. `options` are those of `azc
    evolve`, by the names of the fields of `azc.search.options.EvolveOptions`: data,
    evaluations, seed, workers and the rest; values may be written as on the command line
    (`objectives=["loss", "params"]`, `memory_limit="4GB"`), and `preset="paper"` is there.
    `cache` keeps texts, tokenizers and tokens (by default `azc` in the user's cache).
    `on_event` is told what happens. With `workers` above 1 the calling script needs the
    usual `if __name__ == "__main__":`. Raises `DiagnosticError`, `UsageError` and
    `RunError`.
    """
    from azc.search.options import resolve
    from azc.search.run import evolve as begin

    checked = _program(program)
    name, spec = choose_space(checked, space)
    return begin(
        checked,
        name,
        resolve(options, spec.start),
        Path(out),
        cache=_cache(cache),
        on_event=on_event,
    )


def resume(
    run: str | os.PathLike[str],
    *,
    evaluations: int | None = None,
    executor: str | None = None,
    workers: int | None = None,
    time_limit: float | str | None = None,
    memory_limit: int | str | None = None,
    cache: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> RunView:
    """Continues a run that was stopped, or with `evaluations` any run with that budget.

    `executor` and `workers` say where it goes on this time. `time_limit` (60, "30min") and
    `memory_limit` ("4GB"; "none" for no limit) are what a candidate may take from here
    on. Raises `UsageError` and `RunError`.
    """
    from azc.search.options import read_memory_limit, read_time_limit
    from azc.search.run import resume as go_on

    allow = {}
    if time_limit is not None:
        allow["time_limit"] = read_time_limit(time_limit)
    if memory_limit is not None:
        allow["memory_limit"] = read_memory_limit(memory_limit)
    return go_on(
        Path(run),
        cache=_cache(cache),
        evaluations=evaluations,
        executor=executor,
        workers=workers,
        allow=allow,
        on_event=on_event,
    )


def _cache(given: str | os.PathLike[str] | None) -> Path:
    return Path(given) if given is not None else home_cache() / "azc"
