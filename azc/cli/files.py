"""Input and output files of commands.

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
    """Split `FILE:NAME` into a file and a name, unless a file of exactly that name
    exists.
    """
    file, colon, name = text.rpartition(":")
    if colon and file and is_name(name) and not os.path.exists(text):
        return file, name
    return text, None


def expanded(named: Iterable[str], links: bool = True) -> list[str]:
    """Replace folders by the `.azg` files in them; return each file once.

    Hidden folders and links to folders are skipped, and so are links to files unless
    `links` is set. A folder without `.azg` files, or one that can't be read, stays in
    the list, and is reported when it is opened.
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
    """Return `path`, if a file may be there.

    Raises:
        DiagnosticError: For a folder, and for FILE:NAME where only FILE is accepted.
    """
    help_: str | None = None
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
        raise unreadable(file, PermissionError(errno.EACCES, "permission denied"))
    if os.path.isdir(path):
        help_ = "name one of the files in it" if _programs(path) else _NO_PROGRAMS
        help_ = "this run has no best program yet" if _is_run(path) else help_
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
    """Read a file, `std.NAME`, or standard input (`-`).

    For the folder of a run, its best program is read.

    Returns:
        The text, and its path (None for standard input).

    Raises:
        DiagnosticError: If the file can't be read.
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
    """Load and check the program of a file, which is found as in `open_source`.

    Raises:
        DiagnosticError: If the program has errors; it lists all of them.
    """
    return check_source(*open_source(file))


def check_own(path: Path, what: str, own: Callable[[bytes], bool]) -> None:
    """Check that a file may be written: it is missing, empty, or accepted by `own`.

    Args:
        path: The file.
        what: The kind of file, for the message.
        own: Return whether this content may be overwritten.

    Raises:
        UsageError: U113, if the file has other content.
        OSError: If the file can't be read.
    """
    if path.is_file() and (content := path.read_bytes()) and not own(content):
        message = f"{path} exists and is not {what}; it was not overwritten"
        raise UsageError("U113", message, "choose another file with -o")
