"""The files that commands are given, and those that they write."""

from __future__ import annotations

import sys
from pathlib import Path

from azc import api
from azc.check.program import Program
from azc.check.resolve import check_source
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.source import Source
from azc.syntax.parse import is_name, read_source

__all__ = ["load", "open_source", "split_name"]


def split_name(text: str) -> tuple[str, str | None]:
    """`FILE:NAME` as a file and a name; a file of just that name comes first."""
    file, colon, name = text.rpartition(":")
    if colon and file and is_name(name) and not Path(text).exists():
        return file, name
    return text, None


def open_source(file: str) -> tuple[Source, Path | None]:
    """The text of a file, of `std.NAME`, or of standard input (`-`); and its path.

    Raises `DiagnosticError` if it can't be read.
    """
    if file == "-":
        data = sys.stdin.buffer.read()
        try:
            return Source("<stdin>", data.decode("utf-8-sig")), None
        except UnicodeDecodeError as error:
            message = f"<stdin> is not UTF-8 text (byte {error.start})"
            raise DiagnosticError([Diagnostic("AZG004", message, None)]) from error
    path, shown = api.find_file(file)
    return read_source(path, shown), path


def load(file: str) -> Program:
    """The checked program of a file, as `open_source` finds it.

    Raises `DiagnosticError` with all that is wrong with it.
    """
    return check_source(*open_source(file))
