"""Tables and the live display: rich, with nothing in their texts that steers a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from azc.source import visible

__all__ = ["Visible", "console"]


class Visible:
    """What something draws, with control characters in its texts written out."""

    def __init__(self, drawn: Any) -> None:
        self.drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Any:
        for text, style, control in console.render(self.drawn, options):
            yield Segment(text if control else visible(text, "\n"), style, control)


class _Hook(RenderHook):
    def process_renderables(
        self, renderables: list[ConsoleRenderable]
    ) -> list[ConsoleRenderable]:
        return [Visible(each) for each in renderables]


def console(**options: Any) -> Console:
    """A console that shows texts as they are: no markup, no emoji codes, no control."""
    found = Console(markup=False, highlight=False, emoji=False, **options)
    found.push_render_hook(_Hook())
    return found
