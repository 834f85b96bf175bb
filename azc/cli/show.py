"""`azc show`: what a model is made of.

JSON, of one model: `model` with its settings; `tokens`; `parameters` (total,
embeddings, pooler, and masked_lm_head or, of a causal one, lm_head); `flops_per_token`;
`cache` (bytes_a_token, bytes_in_all, rows_of_scores; null of an encoder); `layers`,
each with index, mixing, expression (lines; null for a convolution), heads, ffn,
activation, parameters, flops_per_token. Of one attention program: `attention` with
name, params, expression, operations. Of a file: `models` and `attentions`, a few fields
of each. In any case `ir` (by program) and `code` (title and text) as asked for.

Codes: U102 the file has no declaration of the required kind; U103 the file has several
declarations of the required kind; U105 two arguments name the same thing.
"""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Annotated, Any

import typer

from azc import api
from azc.check.choose import choose_attention, choose_model
from azc.check.models import MAX_LENGTH
from azc.check.program import (
    AttentionSpec,
    AttentionUse,
    ModelSpec,
    Program,
)
from azc.check.types import count_operations
from azc.cli import caches
from azc.cli.completion import attentions, models, programs
from azc.cli.files import load, split_name
from azc.cli.options import Json
from azc.cli.output import Output, count, fields, out
from azc.cli.show_text import print_file, print_model
from azc.compare.expression import express
from azc.compare.summary import ModelSummary, summarise
from azc.diagnostics import UsageError
from azc.ir.text import format_graph

__all__ = ["show"]


def show(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program, or `std.models`; FILE:NAME is a model or an attention "
            "program in it.",
            autocompletion=programs,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="The model to show.",
            autocompletion=models,
        ),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            "--attention",
            metavar="NAME",
            help="The program to show.",
            autocompletion=attentions,
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens",
            min=1,
            max=MAX_LENGTH,
            metavar="N",
            help="Length of the sequence that FLOPs are counted for; 128, or less "
            "where the model takes less.",
            show_default=False,
        ),
    ] = None,
    ir: Annotated[
        bool,
        typer.Option(
            "--ir", help="Show the graphs of the attention programs, with their masks."
        ),
    ] = False,
    code: Annotated[
        bool, typer.Option("--code", help="Show the code generated for torch.fx.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a model: its layers, parameters and floating point operations a token.

    Parameters are those of the base model with its pooler. FLOPs are those of one
    forward pass through the layers, a multiply-add counted as two.

    Example: azc show std.models --model bert_base
    """
    output = out(context)
    file, name = split_name(file)
    if sum(each is not None for each in (name, model, attention)) > 1:
        raise UsageError("U105", "give only one of FILE:NAME, --model and --attention")
    program = load(file)
    if name is not None and name in program.attentions:
        attention = name
    else:
        model = model or name
    if attention is not None or (model is None and _only_attention(program)):
        _show_attention(program, attention, ir, code, output)
    elif model is not None or _only_model(program):
        _show_model(program, model, tokens, ir, code, output)
    else:
        _show_file(file, program, tokens, ir or code, output)


def _only_model(program: Program) -> bool:
    own = [name for name in program.models if name in program.declared]
    return len(own) == 1 or (not own and len(program.models) == 1)


def _only_attention(program: Program) -> bool:
    own = [name for name in program.attentions if name in program.declared]
    return len(own) == 1 and not program.models


# One model


def _show_model(
    program: Program,
    name: str | None,
    tokens: int | None,
    ir: bool,
    code: bool,
    output: Output,
) -> None:
    name, model = choose_model(program, name)
    summary = summarise(model, api.cost_tokens(tokens, model))
    extra: dict[str, Any] = {}
    if ir:
        used = [x.mixing for x in model.layers if isinstance(x.mixing, AttentionUse)]
        programs = {use.name: use.program for use in used}
        extra["ir"] = {n: _ir(n, spec, model) for n, spec in programs.items()}
    if code:
        pairs = api.generated_code(program, name)
        extra["code"] = [{"title": title, "text": text} for title, text in pairs]
    size = api.cache_size(model)
    cache = caches.as_json(size)
    output.result(**_model_json(name, summary), cache=cache, **extra)
    if not output.as_json:
        print_model(name, summary, output.console())
        if size is not None:
            output.console().print(caches.words(size))
        _print_extra(extra, output)


def _ir(name: str, spec: AttentionSpec, model: ModelSpec | None = None) -> str:
    text = format_graph(api.masked_graph(spec, model))
    return text.replace(f"graph {spec.name}(", f"graph {name}(", 1)


def _settings(model: ModelSpec) -> dict[str, Any]:
    skipped = ("name", "layers", "node")
    values = {f.name: getattr(model, f.name) for f in fields_of(model)}
    return fields({k: v for k, v in values.items() if k not in skipped})


def _model_json(name: str, summary: ModelSummary) -> dict[str, Any]:
    layers = [
        {
            "index": index,
            "mixing": each.mixing,
            "expression": list(each.expression.lines) if each.expression else None,
            "heads": each.layer.heads,
            "ffn": list(each.layer.ffn),
            "activation": each.layer.activation,
            "parameters": each.parameters,
            "flops_per_token": each.flops,
        }
        for index, each in enumerate(summary.layers, start=1)
    ]
    return {
        "model": {"name": name, **_settings(summary.model)},
        "tokens": summary.tokens,
        "parameters": {
            "total": summary.parameters,
            "embeddings": summary.embedding_parameters,
            "pooler": summary.pooler_parameters,
            _head(summary.model): summary.head_parameters,
        },
        "flops_per_token": summary.flops,
        "layers": layers,
    }


def _head(model: ModelSpec) -> str:
    return "lm_head" if model.causal else "masked_lm_head"


# One attention program


def _show_attention(
    program: Program, name: str | None, ir: bool, code: bool, output: Output
) -> None:
    name, spec = choose_attention(program, name)
    extra: dict[str, Any] = {}
    if ir:
        extra["ir"] = {name: _ir(name, spec)}
    if code:
        text = api.compile_attention(program, name).code.strip() + "\n"
        extra["code"] = [{"title": name, "text": text}]
    output.result(attention=_attention_json(name, spec), **extra)
    if not output.as_json:
        params = ", ".join(spec.params)
        output.line(
            f"{name}({params}): {count(count_operations(spec.node), 'operation')}"
        )
        for line in express(api.program_graph(spec)).lines:
            output.line(f"    {line}")
        _print_extra(extra, output)


def _attention_json(name: str, spec: AttentionSpec) -> dict[str, Any]:
    return {
        "name": name,
        "params": list(spec.params),
        "expression": list(express(api.program_graph(spec)).lines),
        "operations": count_operations(spec.node),
    }


def _print_extra(extra: dict[str, Any], output: Output) -> None:
    for text in extra.get("ir", {}).values():
        output.line()
        output.text(text)
    for each in extra.get("code", []):
        output.line(f"\n# {each['title']}")
        output.text(each["text"])


# A file with several models, or with none


def _show_file(
    file: str, program: Program, tokens: int | None, detail: bool, output: Output
) -> None:
    models = [
        (name, summarise(spec, api.cost_tokens(tokens, spec)))
        for name, spec in program.models.items()
        if name in program.declared
    ]
    programs = [
        (name, spec)
        for name, spec in program.attentions.items()
        if name in program.declared
    ]
    if not models and not programs:
        raise UsageError("U102", f"{file} declares no model and no attention program")
    if detail:
        names = ", ".join(name for name, _ in [*models, *programs])
        message = f"{file} has more than one thing to show; choose one"
        raise UsageError("U103", message, f"FILE:NAME, where NAME is one of: {names}")
    output.result(
        models=[
            {
                "name": name,
                "layers": len(each.layers),
                "hidden": each.model.hidden,
                "parameters": each.parameters,
                "tokens": each.tokens,
                "flops_per_token": each.flops,
            }
            for name, each in models
        ],
        attentions=[_attention_json(name, spec) for name, spec in programs],
    )
    if not output.as_json:
        print_file(models, programs, output.console())
        first = (models or programs)[0][0]
        output.line(f"One of them: azc show {file}:{first}")
