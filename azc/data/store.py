"""A cache of results that take long to compute."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from azc.files import write_bytes

__all__ = ["kept"]

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
    try:
        found = _content(path.read_bytes())
        if found is not None:
            return found
        _log.warning("%s is damaged and will be created again", path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        _log.warning(
            "%s can't be read (%s) and will be created again", path, error.strerror
        )
    content = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _digest(content) + b"\n" + content)
    except OSError as error:
        _log.warning("%s can't be cached: %s", path, error.strerror)
    return content


def _content(stored: bytes) -> bytes | None:
    digest, _, content = stored.partition(b"\n")
    return content if digest == _digest(content) else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
