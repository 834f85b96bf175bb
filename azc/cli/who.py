"""Who does something to a run."""

from __future__ import annotations

import getpass

__all__ = ["author"]


def author(given: str | None) -> str:
    """The name given, or that of the user."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name
        return "somebody"
