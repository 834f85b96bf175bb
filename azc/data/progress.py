"""Progress of reading a text: what may take minutes says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Tell", "silent"]


@dataclass(frozen=True)
class Progress:
    """How far a stage of loading data is.

    Attributes:
        stage: What is being done: "reading the text".
        done: Bytes of text (UTF-8) that are done.
        total: Bytes of the whole text; None where that is not known.
    """

    stage: str
    done: int
    total: int | None = None


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
