"""Author of the actions that are applied to a run."""

from __future__ import annotations

import getpass

__all__ = ["author"]


def author(given: str | None) -> str:
    """Return the name given on the command line, or the user name."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name
        return "somebody"
