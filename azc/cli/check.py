"""`azc check`: report every error in programs.

JSON: `files`, each with `file`, `ok`, `diagnostics`, and, if the file is valid,
`attentions` (name, params, operations, bindings: name and type), `models` (name,
layers, parameters) and `spaces` (name, start); `errors` and `warnings`, the totals. A
diagnostic has a `fix` if there is a safe one: the new text and the range that it
replaces.

Codes: U101 the file has no declaration of this name; U102 the file has no declaration
of the required kind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from azc.check.choose import choose_space
from azc.check.collect import Findings
from azc.check.params import model_parameters
from azc.check.program import AttentionSpec, Program, SpaceSpec
from azc.check.spaces import membership
from azc.check.types import count_operations
from azc.cli.completion import programs, spaces
from azc.cli.files import expanded, load, split_name
from azc.cli.options import Json
from azc.cli.output import Output, count, out
from azc.diagnostics import Diagnostic, DiagnosticError, UsageError, nearest

__all__ = ["check"]


def check(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Programs to check, or folders of programs. FILE:NAME selects one "
            "declaration of a file, `std.models` is a file of the standard library, "
            "and `-` is standard input.",
            autocompletion=programs,
        ),
    ],
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also show the type of every value in a program."
        ),
    ] = False,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAME",
            help="Also check that the models lie in this search space, which is in "
            "the same file unless it is given as FILE:NAME.",
            autocompletion=spaces,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check programs: names, types, models and search spaces.

    All errors are reported at once, each with its line and, where one is likely, a fix.
    The exit code is 1 if there is an error.

    Example: azc check -v mine.azg
    """
    output = out(context)
    shown: set[Diagnostic] = set()
    checked = []
    files = expanded(files)
    for file in files:
        program, found = _check(file, space)
        output.diagnostics([each for each in found if each not in shown])
        shown.update(found)
        checked.append((file, program, found))
    reports = [_report(*each) for each in checked]
    errors = sum(each.severity == "error" for each in shown)
    for file, program, _ in checked if verbose else []:
        if program is not None:
            _show_types(file, program, output)
    wrong = sum(not report["ok"] for report in reports)
    _summary(output, len(files), wrong, errors, len(shown) - errors)
    output.result(
        not errors, files=reports, errors=errors, warnings=len(shown) - errors
    )
    if errors:
        raise typer.Exit(1)


def _check(file: str, space: str | None) -> tuple[Program | None, list[Diagnostic]]:
    """Check a file; return its program, or None if it has errors, and all
    diagnostics.
    """
    try:
        whole, name = split_name(file)
        program = load(whole)
        if name is not None:
            program = _only(program, name)
        found = [*program.warnings]
        if space is not None:
            found += _outside(program, _space(space, program))
    except DiagnosticError as error:
        return None, [*error.diagnostics]
    return program, found


def _only(program: Program, name: str) -> Program:
    """Return `program` with `name` as its only declaration."""
    if name not in program.declared:
        near = nearest(name, program.declared)
        listed = f"it has: {', '.join(sorted(program.declared))}"
        help_ = f"did you mean `{near}`?" if near else listed
        raise UsageError("U101", f"{program.source.name} has no `{name}`", help_)
    return replace(program, declared=frozenset({name}))


def _summary(output: Output, files: int, wrong: int, errors: int, warned: int) -> None:
    warnings = count(warned, "warning")
    if errors:
        also = f" and {warnings}" if warned else ""
        output.note(f"{count(errors, 'error')}{also} in {count(wrong, 'file')}")
    else:
        found = f"no errors, {warnings}" if warned else "no errors"
        output.line(f"{count(files, 'file')} checked, {found}")


# Spaces


def _space(text: str, program: Program) -> SpaceSpec:
    file, name = split_name(text)
    if name is None and text not in program.spaces:
        near = nearest(text, program.spaces)
        help_ = "use FILE:NAME for a space of another file"
        help_ = f"did you mean `{near}`?" if near else help_
        raise UsageError("U101", f"{program.source.name} has no space `{text}`", help_)
    if name is None:
        return program.spaces[text]
    return choose_space(load(file), name)[1]


def _outside(program: Program, space: SpaceSpec) -> list[Diagnostic]:
    """Report why the models of a file do not lie in a space."""
    names = [name for name in program.models if name in program.declared]
    if not names:
        raise UsageError("U102", f"{program.source.name} declares no model")
    found = []
    for name in names:
        for each in membership(program.models[name], space):
            message = f"`{name}` is not in `{space.name}`: {each.message}"
            found.append(replace(each, message=message, fix=None))
        if len(found) >= Findings.LIMIT:
            break
    return found[: Findings.LIMIT]


# Contents of a file


def _own(program: Program, known: Any) -> list[tuple[str, Any]]:
    return [(name, spec) for name, spec in known.items() if name in program.declared]


def _report(
    file: str, program: Program | None, found: list[Diagnostic]
) -> dict[str, Any]:
    ok = all(each.severity != "error" for each in found)
    listed = [each.as_json() for each in found]
    report: dict[str, Any] = {"file": file, "ok": ok, "diagnostics": listed}
    if program is None:
        return report
    report["attentions"] = [
        {
            "name": name,
            "params": [{"name": each, "type": "[n, d]"} for each in spec.params],
            "operations": count_operations(spec.node),
            "bindings": [{"name": n, "type": str(s)} for n, s in spec.bindings],
        }
        for name, spec in _own(program, program.attentions)
    ]
    report["models"] = [
        {
            "name": name,
            "layers": len(spec.layers),
            "parameters": model_parameters(spec),
        }
        for name, spec in _own(program, program.models)
    ]
    report["spaces"] = [
        {"name": name, "start": spec.start.name}
        for name, spec in _own(program, program.spaces)
    ]
    return report


def _show_types(file: str, program: Program, output: Output) -> None:
    output.line(file)
    for name, spec in _own(program, program.attentions):
        _show_attention(name, spec, output)
    for name, spec in _own(program, program.models):
        parameters = f"{model_parameters(spec):,} parameters"
        output.line(f"  model {name}: {count(len(spec.layers), 'layer')}, {parameters}")
    for name, spec in _own(program, program.spaces):
        low, high = spec.depth
        depth = f"{low}" if low == high else f"{low}..{high}"
        output.line(f"  space {name}: from {spec.start.name}, depth {depth}")
    output.line()


def _show_attention(name: str, spec: AttentionSpec, output: Output) -> None:
    params = ", ".join(f"{each}: [n, d]" for each in spec.params)
    output.line(f"  attention {name}({params}) -> [n, d]")
    width = max((len(each) for each, _ in spec.bindings), default=0)
    for each, shape in spec.bindings:
        output.line(f"      {each:<{width}} : {shape}")
