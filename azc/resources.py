"""The files that ship with azc, and the folder of its cache.

Codes: U116 there is no home folder for the cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from azc.diagnostics import InternalError, UsageError

__all__ = ["grammar_text", "home_cache", "stdlib_folder"]


def _folder(name: str) -> Path:
    """Return `azc/<name>` of an installed wheel, or `<name>` at the top of a
    checkout.
    """
    package = Path(__file__).resolve().parent
    shipped = package / name
    if shipped.is_dir():
        return shipped
    checkout = package.parent
    # Without this test, another package's site-packages/grammar could be used.
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise InternalError(f"the folder {name!r} is missing from the installation of azc")


@cache
def grammar_text() -> str:
    """Return the text of `azg.lark`.

    Raises:
        InternalError: If it is missing.
    """
    try:
        return (_folder("grammar") / "azg.lark").read_text(encoding="utf-8")
    except OSError as error:
        raise InternalError(f"the grammar could not be read: {error}") from error


@cache
def stdlib_folder() -> Path:
    """Return the folder of the standard library.

    Raises:
        InternalError: If it is missing.
    """
    return _folder("stdlib")


def home_cache() -> Path:
    """Return `.cache` in the user's home folder.

    Raises:
        UsageError: If there is no home folder.
    """
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        message = "there is no home folder for the cache of texts and tokenizers"
        help_ = "set the variable AZC_CACHE, or the argument `cache`, to another folder"
        raise UsageError("U116", message, help_) from None
