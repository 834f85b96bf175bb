"""Progress of reading a text, which may take minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Tell", "silent"]


@dataclass(frozen=True)
class Progress:
    """Progress of a stage of loading data.

    Attributes:
        stage: Name of the stage: "reading the text".
        done: Bytes of text (UTF-8) that are done.
        total: Bytes of the whole text; None if unknown.
    """

    stage: str
    done: int
    total: int | None = None


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
