"""Rich consoles that escape control characters in all texts."""

from __future__ import annotations

from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from azc.source import visible

__all__ = ["Visible", "console"]


class Visible:
    """A renderable that escapes control characters in the texts of another one."""

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
    """Create a console that shows texts as they are: no markup, emoji codes or control
    characters.
    """
    found = Console(markup=False, highlight=False, emoji=False, **options)
    found.push_render_hook(_Hook())
    return found
