"""Differences between two programs as text."""

from __future__ import annotations

import difflib

__all__ = ["text_diff"]


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def text_diff(old: str, new: str, old_name: str, new_name: str) -> str:
    """Return a unified diff of two texts, or an empty string if they are equal."""
    lines = difflib.unified_diff(
        _lines(old), _lines(new), old_name, new_name, lineterm=""
    )
    return "".join(line + "\n" for line in lines)
