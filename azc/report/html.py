"""Text becomes markup here and nowhere else: escaped, and with nothing hidden in it."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from azc.source import visible

__all__ = ["element", "join", "text"]


def text(value: object) -> Markup:
    """Return a value as text of the page, or of an attribute; what is markup already stays.

    What would change the direction of the text around it, and what is not shown at all,
    is written out: `\\u202e`.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("")
    return escape(visible(str(value), keep="\n\t"))


def join(parts: Iterable[object]) -> Markup:
    """Return texts and markup in a row."""
    return Markup("").join(text(part) for part in parts)


def element(name: str, *inside: object, **attributes: object) -> Markup:
    """Return an element of HTML or SVG: `class_` is `class`, `stroke_width` `stroke-width`, and
    what is None is left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{text(value)}"')
    return Markup(f"<{' '.join(words)}>{join(inside)}</{name}>")
