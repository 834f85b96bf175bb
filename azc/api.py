"""The Python API: load, format, compile, interpret, compare, evolve.

The module is light to import: functions that need torch import it when called.
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
TOKENS = 128  # default length of sequences in costs


def find_file(name: str | os.PathLike[str]) -> tuple[Path, str]:
    """Find the file of a program.

    Args:
        name: A path, or `std.models` and the like for a file of the standard
            library, unless a file of that name exists.

    Returns:
        The path, and the file's name in diagnostics.

    Raises:
        DiagnosticError: If the library has no such file.
    """
    path, text = Path(name), os.fspath(name)
    # For a name that is too long, `os.path.exists` is false and `Path.exists` fails.
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
    """Load and check a program.

    Args:
        path: A file, or `std.NAME`.

    Raises:
        DiagnosticError: If it has errors; `diagnostics` holds all of them.
    """
    return check_file(*find_file(path))


def loads(text: str, name: str = "<text>") -> Program:
    """Check the text of a program.

    Args:
        text: The text.
        name: Its name in diagnostics.

    Raises:
        DiagnosticError: If it has errors; `diagnostics` holds all of them.
    """
    return check_source(Source(name, text))


def format(text: str) -> str:
    """Return the canonical form of a program's text.

    Raises:
        DiagnosticError: If it has syntax errors.
    """
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
    """Compile an attention program to a function of tensors, `fn(q=…, k=…, mask=…)`.

    The function takes a tensor [B, H, N, D] for each parameter, by its name, and an
    optional `mask`, bool [B, N], True at real tokens. It returns [B, H, N, D], with 0
    in padding.

    Args:
        program: The program, or its file.
        name: The attention program; by default the only one.
        heads: The number of heads for learned operations (`conv`); by default all
            heads share their weights.
        head_dim: The width of a head for learned operations; by default all
            features share their weights.
        causal: Whether rows depend only on earlier tokens and their own.

    Raises:
        DiagnosticError: If the program has errors, or no causal meaning with
            `causal`.
        UsageError: If there is no such program.
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
    """Return the graph of a program, with masks, as plain code computes it.

    Parts that a backend would compute are in it like all others. A decoder has
    different masks for values that it computes moment by moment; these are not in it.

    Args:
        spec: The program.
        model: The model it is used in; by default, it is a function of tensors.
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
    """Return the reference semantics of an attention program: NumPy, float64, one
    sequence.

    The result is a function `ref(q=…, k=…, head=0, heads=1)` that takes an array [n, d]
    for each parameter, by its name, and returns [n, d].

    Args:
        program: The program, or its file.
        name: The attention program; by default the only one.
        causal: Whether tokens arrive one at a time, so that no row depends on a
            later token.

    Raises:
        DiagnosticError: If the program has errors, or no causal meaning with
            `causal`.
        UsageError: If there is no such program.
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
    """Compile a model for transformers, with fresh weights from torch's global
    generator.

    Args:
        program: The program, or its file.
        name: The model; by default the only one.
        task: "causal-lm" (the default of causal models), "masked-lm" (the default
            of others), "base" or "sequence-classification".
        num_labels: The number of classes of a classifier.

    Raises:
        DiagnosticError: If the program has errors.
        UsageError: If there is no such model or task.
    """
    from azc.model import build_model

    num_labels = whole("num_labels", num_labels, 1, MAX_WIDTH)
    checked = _program(program)
    found, _ = choose_model(checked, name)
    return build_model(checked, found, task, num_labels)


def generated_code(
    program: ProgramLike, name: str | None = None
) -> list[tuple[str, str]]:
    """Return the fx code of a model's encoder and of each kind of layer, with titles.

    No memory is allocated: the weights are torch's `meta` tensors.
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
    """Return the size of a decoder's cache in float32, or None for an encoder."""
    if not model.causal:
        return None
    from azc.lower.explain import cache_size as size_of

    return size_of(model)


def cost_tokens(tokens: int | None, *models: ModelSpec) -> int:
    """Return the sequence length to compute costs for.

    Args:
        tokens: The length; by default 128, or the largest length of the models if
            that is less.
        models: The models.

    Raises:
        UsageError: If the length is out of range.
    """
    if tokens is not None:
        return whole("tokens", tokens, 1, MAX_LENGTH)
    return min(TOKENS, *(model.max_length for model in models))


def summary(
    program: ProgramLike, name: str | None = None, tokens: int | None = None
) -> ModelSummary:
    """Summarise a model: its layers, parameters and floating point operations.

    Args:
        program: The program, or its file.
        name: The model; by default the only one.
        tokens: The sequence length to count for; by default 128, or the largest
            length of the model if that is less.

    Raises:
        DiagnosticError: If the program has errors.
        UsageError: If there is no such model, or the length is out of range.
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
    """Compare two models by layer and by operation.

    Args:
        old: The old program, or its file.
        new: The new program, or its file.
        old_name: The old model; by default the only one.
        new_name: The new model; by default the only one.
        tokens: As for `summary`.

    Raises:
        DiagnosticError: If a program has errors.
        UsageError: If there is no such model, or the length is out of range.
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
    """Search a space for a better model.

    With more than one worker, the calling script needs the usual `if __name__ ==
    "__main__":`.

    Args:
        program: The program, or its file.
        space: The space; by default the only one of the file.
        out: The folder of the run, which is created.
        cache: The folder for texts, tokenizers and tokens; by default `azc` in the
            user's cache.
        on_event: Called with the events of the search.
        **options: Options of `azc evolve`, by the names of the fields of
            `azc.search.options.EvolveOptions`: data, evaluations, seed, workers and so
            on. Values may be written as on the command line
            (`objectives=["loss", "params"]`, `memory_limit="4GB"`), and
            `preset="paper"` is available.

    Returns:
        The finished run.

    Raises:
        DiagnosticError: If the program has errors.
        UsageError: If an option or an argument is invalid.
        RunError: If the search fails.
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
    """Continue a run that was stopped, or any run with a larger number of evaluations.

    Args:
        run: The folder of the run.
        evaluations: The new number of evaluations.
        executor: The executor from now on.
        workers: The number of workers from now on.
        time_limit: The new time limit of a candidate: 60, "30min".
        memory_limit: The new memory limit of a candidate: "4GB"; "none" for no limit.
        cache: As for `evolve`.
        on_event: Called with the events of the search.

    Raises:
        UsageError: If an argument is invalid.
        RunError: If the run can't be continued.
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
