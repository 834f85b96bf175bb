"""What took long to make, kept in a cache that nothing depends on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from azc.files import write_bytes

__all__ = ["kept"]

_log = logging.getLogger(__name__)


def kept(path: Path | None, make: Callable[[], bytes]) -> bytes:
    """What `make` gives, from `path` if it was kept there before; None keeps nothing.

    The file has the sha256 of its content in its first line. One that is damaged is
    made again, and one that can't be written is done without: a warning says so. Two
    processes may make it at once, if both make the same.
    """
    if path is None:
        return make()
    try:
        found = _content(path.read_bytes())
        if found is not None:
            return found
        _log.warning("%s is damaged: it is made again", path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        _log.warning("%s can't be read (%s): it is made again", path, error.strerror)
    content = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _digest(content) + b"\n" + content)
    except OSError as error:
        _log.warning("%s can't be kept: %s", path, error.strerror)
    return content


def _content(stored: bytes) -> bytes | None:
    digest, _, content = stored.partition(b"\n")
    return content if digest == _digest(content) else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
