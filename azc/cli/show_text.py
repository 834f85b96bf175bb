"""Models and attention programs as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from azc import api
from azc.check.program import AttentionSpec, AttentionUse, ModelSpec
from azc.cli.output import count
from azc.compare.expression import express
from azc.compare.summary import LayerSummary, ModelSummary
from azc.numbers import amount, setting

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_file", "print_model"]

_NUMBERS = 84  # maximum width of the columns without the expressions, in characters


def print_model(name: str, summary: ModelSummary, console: Console) -> None:
    """Print the layers of a model with their costs; equal consecutive layers share a
    row.
    """
    model = summary.model
    head = [
        count(len(model.layers), "layer"),
        f"hidden {model.hidden}",
        count(model.heads, "head"),
        f"vocabulary {model.vocab}",
        f"{model.residual}-norm",
    ]
    console.print(f"{name}: {', '.join(head)}", style="bold")
    longest = max(len(line) for each in summary.layers for line in _lines(each))
    beside = longest + _NUMBERS <= console.width
    console.print(_layers(summary, beside))
    if not beside:
        _print_programs(summary, console)
    own = summary.parameters - summary.pooler_parameters + summary.head_parameters
    console.print()
    console.print(f"FLOPs at {summary.tokens} tokens; a multiply-add counts as two.")
    kind = "causal" if model.causal else "masked"
    console.print(
        f"As a {kind} language model, without the pooler: {own:,} parameters."
    )


def _lines(each: LayerSummary) -> tuple[str, ...]:
    return each.expression.lines if each.expression else ("",)


def _runs(summary: ModelSummary) -> Iterator[tuple[int, int, LayerSummary]]:
    """Yield runs of equal consecutive layers: first index, last index, layer."""
    first = 0
    layers = summary.layers
    for place in range(1, len(layers) + 1):
        if place == len(layers) or layers[place] != layers[first]:
            yield first + 1, place, layers[first]
            first = place


def _table() -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))


def _layers(summary: ModelSummary, beside: bool) -> Table:
    table = _table()
    table.add_column("layer", no_wrap=True)
    table.add_column("mixing", no_wrap=True)
    for title in ("heads", "ffn", "parameters", "FLOPs/token"):
        table.add_column(title, justify="right", no_wrap=True)
    if beside:
        table.add_column("expression", no_wrap=True)
    for first, last, each in _runs(summary):
        times = last - first + 1
        row = [
            str(first) if times == 1 else f"{first}-{last}",
            each.mixing,
            str(each.layer.heads),
            _ffn(summary.model, each),
            _times(times, f"{each.parameters:,}"),
            _times(times, amount(each.flops)),
        ]
        table.add_row(*row, *(["\n".join(_lines(each))] if beside else []))
    table.add_section()
    table.add_row("", "embeddings", "", "", f"{summary.embedding_parameters:,}")
    table.add_row("", "pooler", "", "", f"{summary.pooler_parameters:,}")
    total = f"{summary.parameters:,}"
    table.add_row("", "total", "", "", total, amount(summary.flops), style="bold")
    return table


def _times(times: int, text: str) -> str:
    return text if times == 1 else f"{times} × {text}"


def _ffn(model: ModelSpec, each: LayerSummary) -> str:
    text = setting(each.layer.ffn)
    other = each.layer.activation != model.activation
    return f"{text} {each.layer.activation}" if other else text


def _print_programs(summary: ModelSummary, console: Console) -> None:
    """Print the expressions of the attention programs below a table that has no room
    for them.
    """
    printed = set()
    for each in summary.layers:
        use = each.layer.mixing
        if isinstance(use, AttentionUse) and use.name not in printed:
            printed.add(use.name)
            console.print(f"\n{use.name}({', '.join(use.program.params)})")
            for line in _lines(each):
                console.print(f"    {line}", soft_wrap=True)


def print_file(
    models: list[tuple[str, ModelSummary]],
    programs: list[tuple[str, AttentionSpec]],
    console: Console,
) -> None:
    """Print the declarations of a file: models with their sizes, programs with their
    results.
    """
    if models:
        table = _table()
        table.add_column("model", no_wrap=True)
        for title in ("layers", "hidden", "parameters", "FLOPs/token"):
            table.add_column(title, justify="right", no_wrap=True)
        for name, each in models:
            numbers = [len(each.layers), each.model.hidden, each.parameters]
            table.add_row(name, *(f"{n:,}" for n in numbers), amount(each.flops))
        console.print(table)
        console.print()
    if programs:
        table = _table()
        table.add_column("attention", no_wrap=True)
        table.add_column("expression", overflow="fold")
        for name, spec in programs:
            lines = express(api.program_graph(spec)).lines
            table.add_row(f"{name}({', '.join(spec.params)})", "\n".join(lines))
        console.print(table)
        console.print()
