"""A cache of results that take long to compute."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from azc.files import write_bytes

__all__ = ["kept", "read_cached"]

_Content = TypeVar("_Content")

_log = logging.getLogger(__name__)


def kept(path: Path | None, make: Callable[[], bytes]) -> bytes:
    """Return the result of `make`, read from `path` if it was stored there before.

    The first line of the file is the sha256 of the rest. A damaged file is created
    again. If it can't be written, the result is returned all the same, and a warning is
    logged. Two processes may create it at the same time, if both create the same
    content.

    Args:
        path: File of the cache; None stores nothing.
        make: Compute the result.
    """
    if path is None:
        return make()
    found = read_cached(path, lambda: _content(path.read_bytes()))
    if found is not None:
        return found
    content = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _digest(content) + b"\n" + content)
    except OSError as error:
        _log.warning("%s can't be cached: %s", path, error.strerror)
    return content


def read_cached(path: Path, read: Callable[[], _Content | None]) -> _Content | None:
    """Read a file of the cache.

    Args:
        path: The file.
        read: Read and verify it; None if it is damaged.

    Returns:
        The content. None if there is no file, or if it is damaged or can't be read, which
        is logged as a warning.
    """
    try:
        found = read()
        if found is None:
            _log.warning("%s is damaged and will be created again", path)
        return found
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        _log.warning(
            "%s can't be read (%s) and will be created again", path, error.strerror
        )
    return None


def _content(stored: bytes) -> bytes | None:
    digest, _, content = stored.partition(b"\n")
    return content if digest == _digest(content) else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
