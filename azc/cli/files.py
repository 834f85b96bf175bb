"""The files that commands are given, and those that they write."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from azc import api
from azc.check.program import Program
from azc.check.resolve import check_source
from azc.source import Source
from azc.syntax.parse import MAX_BYTES, decoded, is_name, read_source, unreadable

__all__ = ["load", "open_source", "split_name"]


def split_name(text: str) -> tuple[str, str | None]:
    """`FILE:NAME` as a file and a name; a file of just that name comes first."""
    file, colon, name = text.rpartition(":")
    if colon and file and is_name(name) and not os.path.exists(text):
        return file, name
    return text, None


def open_source(file: str) -> tuple[Source, Path | None]:
    """The text of a file, of `std.NAME`, or of standard input (`-`); and its path.

    Raises `DiagnosticError` if it can't be read.
    """
    if file == "-":
        return _standard_input(), None
    path, shown = api.find_file(file)
    return read_source(path, shown), path


def _standard_input() -> Source:
    if sys.stdin is None:  # closed
        raise unreadable("<stdin>", OSError(errno.EBADF, "it is closed"))
    try:
        return decoded(sys.stdin.buffer.read(MAX_BYTES), "<stdin>")
    except OSError as error:
        raise unreadable("<stdin>", error) from error


def load(file: str) -> Program:
    """The checked program of a file, as `open_source` finds it.

    Raises `DiagnosticError` with all that is wrong with it.
    """
    return check_source(*open_source(file))
