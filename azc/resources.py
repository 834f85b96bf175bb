"""The files that ship with azc, and the folder for those that it keeps.

Codes: U116 there is no home folder for the cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from azc.diagnostics import InternalError, UsageError

__all__ = ["grammar_text", "home_cache", "stdlib_folder"]


def _folder(name: str) -> Path:
    """`azc/<name>` of an installed wheel, else `<name>` at the top of a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / name
    if shipped.is_dir():
        return shipped
    checkout = package.parent
    # Without this test a stranger's site-packages/grammar could be taken for ours.
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise InternalError(f"the folder {name!r} is missing from the installation of azc")


@cache
def grammar_text() -> str:
    """The text of `azg.lark`; raises `InternalError` if it is missing."""
    try:
        return (_folder("grammar") / "azg.lark").read_text(encoding="utf-8")
    except OSError as error:
        raise InternalError(f"the grammar could not be read: {error}") from error


@cache
def stdlib_folder() -> Path:
    """The folder of the standard library; raises `InternalError` if it is missing."""
    return _folder("stdlib")


def home_cache() -> Path:
    """`.cache` in the user's home folder. Raises `UsageError` where there is none."""
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        message = "there is no home folder to keep texts and tokenizers in"
        help_ = "the variable AZC_CACHE, or the argument `cache`, names another folder"
        raise UsageError("U116", message, help_) from None
