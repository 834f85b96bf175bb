"""Creation of markup: the only place that escapes text and makes hidden characters
visible.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from azc.source import visible

__all__ = ["element", "join", "text"]


def text(value: object) -> Markup:
    r"""Escape a value as text of the page or of an attribute; markup stays as it is.

    Characters that change the direction of text, and characters that are invisible, are
    written as escapes: `\u202e`.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("")
    return escape(visible(str(value), keep="\n\t"))


def join(parts: Iterable[object]) -> Markup:
    """Concatenate texts and markup."""
    return Markup("").join(text(part) for part in parts)


def element(name: str, *inside: object, **attributes: object) -> Markup:
    """Create an HTML or SVG element.

    `class_` becomes `class`, `stroke_width` becomes `stroke-width`, and attributes that
    are None are omitted.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{text(value)}"')
    return Markup(f"<{' '.join(words)}>{join(inside)}</{name}>")
