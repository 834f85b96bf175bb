"""The files that commands are given, and those that they write.

Codes: U113 the file was not written by azc and is not replaced.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from azc import api
from azc.check.program import Program
from azc.check.resolve import check_source
from azc.diagnostics import Diagnostic, DiagnosticError, UsageError
from azc.source import Source
from azc.syntax.parse import MAX_BYTES, decoded, is_name, read_source, unreadable

__all__ = ["check_own", "expanded", "load", "open_source", "readable", "split_name"]


def split_name(text: str) -> tuple[str, str | None]:
    """`FILE:NAME` as a file and a name; a file of just that name comes first."""
    file, colon, name = text.rpartition(":")
    if colon and file and is_name(name) and not os.path.exists(text):
        return file, name
    return text, None


def expanded(named: Iterable[str], links: bool = True) -> list[str]:
    """The files named, each once, with the `.azg` files of each folder in its place.

    Hidden folders and links to folders are left out, and without `links` links to files
    too; a folder without such files stays, and so does one that can't be read: it is told
    like a file that can't be.
    """
    found: dict[str, None] = {}
    for file in named:
        inside = _programs(Path(file), links) if os.path.isdir(file) else []
        found.update(dict.fromkeys(map(str, inside) if inside else [file]))
    return list(found)


def _programs(folder: Path, links: bool = True) -> list[Path]:
    found: list[Path] = []

    def closed(error: OSError) -> None:
        found.append(Path(error.filename))

    for where, folders, files in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = (Path(where, name) for name in sorted(files) if name.endswith(".azg"))
        found.extend(
            path
            for path in inside
            if path.is_file() and (links or not path.is_symlink())
        )
    return found


def readable(file: str, path: Path) -> Path:
    """The path of a file, if a file may be there.

    Raises `DiagnosticError` for a folder, and for FILE:NAME where FILE is meant.
    """
    help_: str | None = None
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
        raise unreadable(file, PermissionError(errno.EACCES, "permission denied"))
    if os.path.isdir(path):
        help_ = "name one of the files in it" if _programs(path) else _NO_PROGRAMS
        help_ = "its run has no best program yet" if _is_run(path) else help_
        reason = "is a directory"
    elif not os.path.exists(path) and (whole := split_name(file))[1] is not None:
        help_ = f"give the whole file: {whole[0]}"
        reason = "no such file or directory"
    if help_ is not None:
        message = f"can't read {file}: {reason}"
        raise DiagnosticError([Diagnostic("AZG005", message, None, help_)])
    return path


_NO_PROGRAMS = "it has no .azg files"


def open_source(file: str) -> tuple[Source, Path | None]:
    """The text of a file, of `std.NAME`, or of standard input (`-`); and its path. The
    folder of a run stands for its best program.

    Raises `DiagnosticError` if it can't be read.
    """
    if file == "-":
        return _standard_input(), None
    path, shown = api.find_file(file)
    if os.path.isdir(path) and _is_run(path):
        from azc.search.folder import RunFolder

        best = RunFolder(path).best_file
        path, shown = (best, str(best)) if best.is_file() else (path, shown)
    return read_source(readable(file, path), shown), path


def _is_run(folder: Path) -> bool:
    from azc.search.folder import RunFolder

    return RunFolder(folder).config_file.is_file()


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


def check_own(path: Path, what: str, own: Callable[[bytes], bool]) -> None:
    """Whether a file may be written: there is none, an empty one, or one of azc's own.

    Raises `UsageError` U113 for any other, `OSError` for one that can't be read.
    """
    if path.is_file() and (content := path.read_bytes()) and not own(content):
        message = f"{path} is not {what}, and is left as it is"
        raise UsageError("U113", message, "choose another file with -o")
