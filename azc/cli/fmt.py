"""`azc fmt`: format programs canonically.

JSON: `files`, each with `file`, `changed` (whether it was not in canonical form),
`diff` (with --diff), `text` (for standard input), `diagnostics`.

Codes: R101 a program cannot be written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from azc.cli.completion import programs
from azc.cli.files import expanded, open_source, readable
from azc.cli.options import Json
from azc.cli.output import Output, count, out
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.files import write_text
from azc.source import Source
from azc.syntax.diff import text_diff
from azc.syntax.format import format_text
from azc.syntax.parse import read_source

__all__ = ["fmt"]


def fmt(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Programs to format in place, or folders of programs; `-` formats "
            "standard input to standard output.",
            autocompletion=programs,
        ),
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; exit with 1 if a file would change."
        ),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing; show the changes as a diff.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Format programs: one canonical layout, all comments kept.

    A file with syntax errors is left unchanged, and files are replaced atomically. If
    you name a link, the file that it points to is formatted; links inside folders are
    skipped.

    Example: azc fmt --diff model.azg
    """
    output = out(context)
    files = expanded(files, links=False)
    reports = [_one(file, check, diff, output) for file in files]
    changed = sum(report["changed"] for report in reports)
    failed = sum(bool(report["diagnostics"]) for report in reports)
    would = "would be " if check or diff else ""
    parts = [f"{count(changed, 'file')} {would}formatted"] if changed else []
    fine = len(files) - changed - failed
    parts += [f"{count(fine, 'file')} already canonical"] if fine else []
    parts += [f"{count(failed, 'file')} with errors"] if failed else []
    output.note(", ".join(parts))
    ok = not failed and not (check and changed)
    output.result(ok, files=reports)
    if not ok:
        raise typer.Exit(1)


def _one(file: str, check: bool, diff: bool, output: Output) -> dict[str, Any]:
    report: dict[str, Any] = {"file": file, "changed": False, "diagnostics": []}
    try:
        path = None if file == "-" else Path(file)
        # Names are file names here: `std.models` can't be formatted in place.
        found = path and read_source(readable(file, path))
        source = found or open_source(file)[0]
        text = format_text(source)
        report["changed"] = text != source.text
        if diff:
            _show_diff(source, text, report, output)
        elif path is None and not check:
            report["text"] = text
            output.text(text)
        elif path is not None and report["changed"]:
            if not check:
                _write(path, text)
            output.note(f"{'would format' if check else 'formatted'} {file}")
    except DiagnosticError as error:
        output.diagnostics(error.diagnostics)
        report["changed"] = False
        report["diagnostics"] = [each.as_json() for each in error.diagnostics]
    return report


def _write(path: Path, text: str) -> None:
    try:
        # Write to the target of a link, as an editor does.
        write_text(Path(os.path.realpath(path)), text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"can't write {path}: {reason}"
        raise DiagnosticError([Diagnostic("R101", message, None)]) from error


def _show_diff(
    source: Source, text: str, report: dict[str, Any], output: Output
) -> None:
    name = source.name
    report["diff"] = text_diff(source.text, text, name, f"{name} (formatted)")
    output.text(report["diff"])
