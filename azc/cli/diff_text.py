"""Text output of a semantic diff. `azc log` shows its steps with it, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from azc.compare.match import ProgramDiff
from azc.compare.models import Amount, Change, LayerDiff, ModelDiff
from azc.numbers import change, ranges, setting

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_model", "print_program"]

_SIGNS = {"same": " ", "added": "+", "removed": "-", "changed": "~"}
_STYLES = {"same": "dim", "added": "green", "removed": "red", "changed": "yellow"}


def print_model(diff: ModelDiff, old: str, new: str, console: Console) -> None:
    """Print the difference between two models: settings, changed layers, and costs."""
    if diff.same:
        console.print(f"{old} and {new} are the same architecture")
        return
    console.print(f"--- {old}", style="red")
    console.print(f"+++ {new}", style="green")
    if diff.settings:
        console.print("\nsettings", style="bold")
        for each in diff.settings:
            console.print(f"  ~ {_change(each)}", style="yellow")
    console.print("\nlayers", style="bold")
    for group in _groups(diff.layers):
        _print_layer(group, console)
    _print_costs(diff, console)


def print_program(diff: ProgramDiff, old: str, new: str, console: Console) -> None:
    """Print the difference between two attention programs."""
    if diff.same:
        console.print(f"{old} and {new} are the same program")
        return
    console.print(f"--- {old}", style="red")
    console.print(f"+++ {new}", style="green")
    _print_program(diff, console, "  ")


def _change(each: Change) -> str:
    return f"{each.name}: {setting(each.old)} -> {setting(each.new)}"


def _counted(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(name if n == 1 else f"{n} {name}" for name, n in pairs)


# Layers


def _alike(layer: LayerDiff) -> LayerDiff:
    """Drop the layer's place, so that layers with the same change are equal."""
    return replace(layer, old=None, new=None)


def _groups(layers: tuple[LayerDiff, ...]) -> Iterator[list[LayerDiff]]:
    """Group consecutive layers with the same change; unchanged layers form one
    group.
    """
    group: list[LayerDiff] = []
    for layer in layers:
        both_same = bool(group) and group[0].status == layer.status == "same"
        if group and not both_same and _alike(group[0]) != _alike(layer):
            yield group
            group = []
        group.append(layer)
    if group:
        yield group


def _places(group: list[LayerDiff]) -> str:
    """Format the places of layers in the new model, or in the old one if they were
    removed.
    """
    old = ranges([layer.old + 1 for layer in group if layer.old is not None])
    new = ranges([layer.new + 1 for layer in group if layer.new is not None])
    if not old or not new or old == new:
        return old or new
    return f"{old} -> {new}"


def _print_layer(group: list[LayerDiff], console: Console) -> None:
    first = group[0]
    status = first.status
    if status == "same":
        mixings = list(dict.fromkeys(str(layer.new_mixing) for layer in group))
        what = ", ".join(mixings) if len(mixings) <= 3 else "unchanged"
    elif first.old_mixing and first.new_mixing and first.old_mixing != first.new_mixing:
        what = f"{first.old_mixing} -> {first.new_mixing}"
    else:
        what = first.new_mixing or first.old_mixing or ""
    line = f"  {_SIGNS[status]} {_places(group)}: {what}"
    console.print(line, style=_STYLES[status])
    if status != "changed":
        return
    for each in first.changes:
        if each.name not in ("mixing", "kernel", "kind"):
            console.print(f"      {_change(each)}")
    if first.program is not None:
        _print_program(first.program, console, "      ")
    costs = [
        _cost("parameters", first.parameters),
        _cost("FLOPs/token", first.flops),
    ]
    text = "; ".join(each for each in costs if each)
    if text:
        each_one = " each" if len(group) > 1 else ""
        console.print(f"      {text}{each_one}", style="dim")


def _cost(name: str, amount: Amount[int] | Amount[float]) -> str:
    if not amount.change:
        return ""
    return f"{name} {change(amount.old, amount.new)}"


def _print_program(diff: ProgramDiff, console: Console, indent: str) -> None:
    for line in diff.old.lines:
        console.print(f"{indent}- {line}", style="red", soft_wrap=True)
    for line in diff.new.lines:
        console.print(f"{indent}+ {line}", style="green", soft_wrap=True)
    rows = [
        ("inputs removed", ", ".join(diff.inputs_removed)),
        ("inputs added", ", ".join(diff.inputs_added)),
        ("removed", _counted(diff.removed)),
        ("added", _counted(diff.added)),
        ("rewired", _counted(diff.rewired)),
    ]
    rows += [(a.op, f"{a.attribute}: {a.old} -> {a.new}") for a in diff.attributes]
    for name, text in rows:
        if text:
            console.print(f"{indent}{name}: {text}")


def _print_costs(diff: ModelDiff, console: Console) -> None:
    console.print("\ntotal", style="bold")
    totals = [
        ("parameters", f"{diff.parameters.old:,}", f"{diff.parameters.new:,}"),
        ("FLOPs/token", f"{diff.flops.old:,.0f}", f"{diff.flops.new:,.0f}"),
    ]
    amounts: list[Amount[int] | Amount[float]] = [diff.parameters, diff.flops]
    for (name, old, new), amount in zip(totals, amounts, strict=True):
        if amount.change:
            more = change(amount.old, amount.new)
            console.print(f"  {name}: {old} -> {new} ({more})")
        else:
            console.print(f"  {name}: {new}, unchanged")
    console.print(f"  FLOPs of the layers at {diff.old.tokens} tokens", style="dim")
