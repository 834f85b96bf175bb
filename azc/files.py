"""Atomic writes: to a temporary file in the same folder, flushed to disk and then renamed.

Readers see the old or the new content, never a part of it, even if the process is killed.
A killed process may leave a hidden `.NAME.….part`.

A symbolic link in the place of a file is replaced, and the file that it points to stays as
it is, so that azc never writes outside of its output folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

__all__ = [
    "open_to_append",
    "remove_link",
    "write_bytes",
    "write_folder",
    "write_text",
    "write_with",
]

_NOT_REGULAR = "it is not a regular file"


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 with its own line ends; see `write_with`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes; see `write_with`."""
    write_with(path, lambda beside: beside.write_bytes(content))


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically.

    An existing file passes on its permissions. If `path` is a link, the link is
    replaced, and not the file that it points to.

    Args:
        path: The file.
        write: Called with the path of a temporary file to write.

    Raises:
        OSError: If it can't be written, is write-protected, or is not a regular
            file or a link to one. The error names `path`.
    """
    target = _place(path)
    try:
        mode = _mode(target)
        beside = _beside(target)
        # Note the usual permissions of a new file; `write` may change them.
        new = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        usual = stat.S_IMODE(os.fstat(new).st_mode)
        os.close(new)
        try:
            write(beside)
            beside.chmod(usual if mode is None else mode)
            _sync(beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except OSError as error:
        raise _named(error, path) from error


def write_folder(
    path: Path,
    fill: Callable[[Path], object],
    owned: Callable[[Path], list[Path]] | None = None,
) -> None:
    """Write a folder of files atomically. Files get the usual permissions of new files.

    Args:
        path: The folder, which may be missing or empty.
        fill: Called with an empty folder to fill.
        owned: Allows replacing a folder with files in it. It is called with the old
            folder, after that was moved away, and returns its files, all of which
            are then removed. If it raises, the old folder is restored.

    Raises:
        OSError: If it can't be written, or `path` is a link. The error names
            `path`.
    """
    target = _place(path)
    beside = _beside(target)
    try:
        if target.is_symlink():
            raise OSError(errno.ENOTDIR, "it is a link")
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        try:
            fill(beside)
            usual = stat.S_IMODE(beside.stat().st_mode) & 0o666
            for file in beside.iterdir():
                file.chmod(usual)
                _sync(file)
            _sync_folder(beside)
            old = _put(beside, target, owned)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        _sync_folder(target.parent)
        if old is not None:
            for file in old:
                file.unlink()
            beside.rmdir()
    except OSError as error:
        raise _named(error, path) from error


def remove_link(path: Path) -> None:
    """Remove `path` if it is a symbolic link, before something else would write through it.

    Raises:
        OSError: If the link can't be removed.
    """
    if path.is_symlink():
        path.unlink()


def open_to_append(path: Path) -> BinaryIO:
    """Open a file for appending, unbuffered.

    If `path` is a symbolic link, the link is removed first, and the file that it points
    to stays as it is.

    Raises:
        OSError: If the file can't be opened.
    """
    remove_link(path)
    flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW
    return open(os.open(path, flags, 0o666), "ab", buffering=0)


def _place(path: Path) -> Path:
    """Return the path of a file, with the links in its folder resolved, but not its own."""
    return Path(os.path.realpath(path.parent)) / path.name


def _put(
    beside: Path, path: Path, owned: Callable[[Path], list[Path]] | None
) -> list[Path] | None:
    """Move a folder into place; return the files of the old one, now in `beside`, if it
    had any.
    """
    if owned is None or not path.is_dir() or not any(path.iterdir()):
        beside.rename(path)  # fails for a folder that is not empty
        return None
    _exchange(beside, path)
    try:
        return owned(beside)
    except BaseException:
        _exchange(beside, path)
        raise


def _exchange(one: Path, other: Path) -> None:
    """Exchange two folders, atomically if the system supports it."""
    if _exchange_at_once(one, other):
        return
    spare = _beside(other)
    other.rename(spare)
    try:
        one.rename(other)
    except BaseException:
        spare.rename(other)
        raise
    spare.rename(one)


def _exchange_at_once(one: Path, other: Path) -> bool:
    """Exchange two folders atomically: on Linux and macOS, on most file systems.

    Returns:
        False if the system does not support it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    here, swap = -100, 2  # AT_FDCWD; RENAME_EXCHANGE and RENAME_SWAP
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(*paths, swap)
        else:
            failed = library.renameat2(here, paths[0], here, paths[1], swap)
    except AttributeError:
        return False
    number = ctypes.get_errno()
    if failed and number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(number, os.strerror(number), str(other))
    return not failed


def _beside(path: Path) -> Path:
    # A name has at most 255 bytes, a letter up to four.
    return path.with_name(f".{path.name[:50]}.{uuid4().hex[:12]}.part")


def _mode(target: Path) -> int | None:
    """Return the permissions of a file that may be replaced.

    Return None if a new file should get the usual permissions: there is no file, or a
    link.
    """
    is_link = target.is_symlink()
    try:
        if is_link and _is_of_system(target.parent):
            raise OSError(errno.EINVAL, _NOT_REGULAR)
        mode = target.stat().st_mode
    except OSError as error:
        if error.errno == errno.ENOENT or (is_link and error.errno == errno.ELOOP):
            return None
        raise
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, _NOT_REGULAR)
    if is_link:
        return None
    if not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, "it is write-protected")
    return stat.S_IMODE(mode)


def _is_of_system(folder: Path) -> bool:
    """Return whether links in this folder stand for open files, as /dev/stdout does."""
    return str(folder) in ("/dev", "/dev/fd") or folder.is_relative_to("/proc")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    # The files are complete without it, and some file systems do not support it.
    with suppress(OSError):
        _sync(path)


def _named(error: OSError, path: Path) -> OSError:
    number = error.errno or errno.EIO
    return OSError(number, error.strerror or str(error), str(path))
