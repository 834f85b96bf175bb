"""Files of a cache: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from azc.diagnostics import RunError

__all__ = ["write_beside", "write_folder_beside"]


def write_beside(path: Path, content: bytes) -> None:
    """Write a file so that no part of it is ever seen; raises RunError D006."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def write_folder_beside(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a new folder, then rename it into place; raises RunError D006.

    If another process was quicker, its folder stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            fill(made)
            made.chmod(0o755)
            if not path.exists():
                made.rename(path)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        if not path.is_dir():
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        "D006",
        f"the cache file {path} cannot be written: {error.strerror or error}",
        "free some space, or name another cache folder",
    )
