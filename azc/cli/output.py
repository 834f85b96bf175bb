"""Output of commands, and the errors that they report.

With `--json`, a command writes one object to standard output, and nothing else:

    azc      the version of this schema, 1
    command  the name of the command
    ok       whether the exit code is 0
    error    only for an error outside the programs: code, message, help
    …        the fields of the command, listed in its module

An error in a program is a diagnostic: code, severity, message, help, file, line,
column, end_line, end_column; fields that don't apply are null or left out.

Codes: R100 standard output or a file cannot be written or read; R103 there is not
enough memory; X001 internal error of azc.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer
from typer.core import TyperCommand

from azc.cli.main import Terminated, drop_output
from azc.diagnostics import (
    AzcError,
    Diagnostic,
    DiagnosticError,
    InternalError,
    UsageError,
    out_of_memory,
    render,
)
from azc.numbers import count
from azc.source import visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Command", "Output", "count", "fields", "os_words", "out"]

_LAYOUT = "\n\t"  # control characters that are not escaped in output
_DIFF = {"+": "32", "-": "31", "@": "36"}
_STYLES = {"error": "1;31", "warning": "1;33", "bold": "1", "place": "34", "help": "36"}


class Output:
    """Standard output and standard error of one command, as text or as JSON."""

    def __init__(self, command: str, as_json: bool) -> None:
        self.command = command
        self.as_json = as_json

    def line(self, text: str = "") -> None:
        """Write a line of the result; nothing under `--json`."""
        if not self.as_json:
            sys.stdout.write(visible(text, _LAYOUT) + "\n")

    def text(self, text: str) -> None:
        """Write the result as it is, without adding a line end; nothing under `--json`.

        The text may go to a file or to `patch`, so control characters are only escaped
        on a terminal.
        """
        if not self.as_json:
            shown = visible(text, _LAYOUT) if sys.stdout.isatty() else text
            sys.stdout.write(shown)

    def diff(self, text: str) -> None:
        """Write a unified diff, in color on a terminal; nothing under `--json`."""
        if self.as_json:
            return
        colours = _colours(sys.stdout)
        for line in visible(text, _LAYOUT).split("\n")[:-1]:
            style = _DIFF.get(line[:1], "") if colours else ""
            if line.startswith(("---", "+++")):
                style = "1" if colours else ""
            sys.stdout.write(f"\x1b[{style}m{line}\x1b[0m\n" if style else line + "\n")

    def note(self, text: str) -> None:
        """Write a line to standard error, beside the result; nothing under `--json`."""
        if not self.as_json:
            sys.stdout.flush()
            sys.stderr.write(visible(text, _LAYOUT) + "\n")

    def result(self, ok: bool = True, **fields: Any) -> None:
        """Write the result as JSON under `--json`; nothing otherwise."""
        if self.as_json:
            answer = {"azc": 1, "command": self.command, "ok": ok, **fields}
            sys.stdout.write(json.dumps(answer, indent=2) + "\n")

    def diagnostics(self, found: Sequence[Diagnostic]) -> None:
        """Write diagnostics to standard error, with a blank line after each."""
        if self.as_json:
            return
        sys.stdout.flush()
        for diagnostic in found:
            sys.stderr.write(_painted(diagnostic, _colours(sys.stderr)) + "\n\n")

    def fault(self, error: AzcError) -> None:
        """Report an error that ends the command."""
        if isinstance(error, DiagnosticError):
            if self.as_json:
                listed = [each.as_json() for each in error.diagnostics]
                self.result(ok=False, diagnostics=listed)
            self.diagnostics(error.diagnostics)
            self.note(count(len(error.diagnostics), "error"))
            return
        said = {"code": error.code, "message": error.message, "help": error.help}
        self.result(ok=False, error=said)
        self.diagnostics([Diagnostic(error.code, error.message, None, error.help)])

    def console(self) -> Console:
        """Return a console for tables on standard output, with unlimited width unless
        it is a terminal.
        """
        from azc.cli.visible import console

        terminal = sys.stdout.isatty()
        size = {} if terminal else {"width": 1000, "height": 25}
        if not _colours(sys.stdout):
            return console(color_system=None, **size)
        system = "auto" if terminal else "standard"
        return console(color_system=system, force_terminal=True, **size)


def _colours(stream: TextIO) -> bool:
    """Return whether to write colors to a stream.

    NO_COLOR and FORCE_COLOR decide (see no-color.org and force-color.org), otherwise
    whether the stream is a terminal.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _painted(diagnostic: Diagnostic, colours: bool) -> str:
    text = render([diagnostic])
    if not colours:
        return text

    def paint(style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    head, *rest = text.split("\n")
    kind, message = head.split(": ", 1)
    lines = [paint(diagnostic.severity, kind) + paint("bold", f": {message}")]
    for line in rest:
        arrow = re.fullmatch(r"( *)(-->)( .*)", line)
        gutter = re.fullmatch(r"( *\d* \|)(.*)", line)
        if arrow:
            lines.append(arrow[1] + paint("place", arrow[2]) + arrow[3])
        elif gutter and re.fullmatch(r"\s*\^+", gutter[2]):
            lines.append(paint("place", gutter[1]) + paint("error", gutter[2]))
        elif gutter:
            lines.append(paint("place", gutter[1]) + gutter[2])
        elif line.startswith("note: "):
            lines.append(paint("help", "note") + paint("bold", line[4:]))
        else:
            lines.append(line.replace(" = help:", " = " + paint("help", "help") + ":"))
    return "\n".join(lines)


def out(context: typer.Context) -> Output:
    """Return the output of the running command."""
    found = context.obj
    assert isinstance(found, Output)
    return found


class Command(TyperCommand):
    """A command that reports errors with a message and an exit code instead of a
    traceback.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; escape control characters in error messages that
        quote it.
        """
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # of typer, which quotes the command line in it
            if isinstance(getattr(error, "message", None), str):
                error.__dict__["message"] = visible(error.__dict__["message"])
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 1 for a failure and with 2 for wrong usage."""
        output = Output(ctx.info_name or "azc", bool(ctx.params.get("as_json")))
        ctx.obj = output
        with _answered(output):
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result


@contextmanager
def _answered(output: Output) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        output.fault(error)
        raise typer.Exit(2) from None
    except AzcError as error:
        output.fault(error)
        raise typer.Exit(1) from None
    except OSError as error:
        fault = AzcError("R100", os_words(error))
        try:
            output.fault(fault)
            sys.stdout.flush()
        except OSError:  # the result itself can't be written
            drop_output()
            Output(output.command, as_json=False).fault(fault)
        raise typer.Exit(1) from None
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        output.note("terminated" if terminated else "interrupted")
        # CPython remembers an interrupt that escapes from `exec` (while it creates a
        # dataclass, say), and would exit by the signal although it was caught. This call
        # resets that state.
        exec("")
        raise typer.Exit(143 if terminated else 130) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if type(error).__module__.startswith(("typer.", "click.")):
            raise  # wrong usage, which typer reports
        if out_of_memory(error):
            output.fault(AzcError("R103", "not enough memory"))
        else:
            _internal(output, error)
        raise typer.Exit(1) from None


def os_words(error: OSError) -> str:
    """Describe an OSError: the reason, and the file if it is known."""
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _internal(output: Output, error: Exception) -> None:
    if os.environ.get("AZC_DEBUG") == "1":
        traceback.print_exc()
    message = str(error)
    if not isinstance(error, InternalError):
        message = f"internal error, please report it: {type(error).__name__}: {error}"
    help_ = "AZC_DEBUG=1 shows where it happened"
    output.fault(AzcError("X001", message, help_))


def fields(pairs: Mapping[str, object]) -> dict[str, object]:
    """Copy a mapping with tuples as lists, as JSON needs them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in pairs.items()}
