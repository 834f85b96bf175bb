"""Draw the picture of the README from a run: its scores, the winner's diff, its comparison.

    python -m benchmarks picture RUN [-o docs/demo.svg]

RUN is the folder of a finished search with fresh weights, whose scores all compare.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from azc.files import write_text
from azc.report.axes import HEIGHT, WIDTH, Frame, numbers, ticks, whole_ticks
from azc.report.code import diff_lines
from azc.report.html import element, join
from azc.search.view import Row, RunView, read_run

FULL = 2 * WIDTH + 52  # width of the picture; its right half begins at MIDDLE
MIDDLE = WIDTH + 52
LINE = 17  # height of a line of text

STYLE = """
svg { font: 12px ui-sans-serif, system-ui, sans-serif; background: #fff; color: #1f2328; }
text { fill: currentColor; white-space: pre; }
.title { font-weight: 600; font-size: 13px; }
.tick, .axis { fill: #59636e; font-size: 11px; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.dot { fill: #8c959f; } .best { fill: none; stroke: #0969da; stroke-width: 2; }
.winner { fill: #0969da; }
.code { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.ins { fill: #116329; } .del { fill: #a40e26; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; color: #e6edf3; }
  .tick, .axis { fill: #9198a1; } .grid { stroke: #30363d; } .dot { fill: #6e7681; }
  .best { stroke: #58a6ff; } .winner { fill: #58a6ff; }
  .ins { fill: #7ee787; } .del { fill: #ff9492; }
}
"""


def curve(view: RunView) -> Markup:
    """Draw every score in the order of evaluation, and the best so far."""
    scored = [e for e in view.evaluations if e.score is not None and e.counts]
    scores = [e.score for e in scored if e.score is not None]
    frame = Frame.around([1, len(scores)], scores)
    best = [min(scores[: n + 1]) for n in range(len(scores))]
    steps = [
        (frame.x(n + shift), frame.y(value))
        for n, value in enumerate(best, 1)
        for shift in (0, 1)
        if n + shift <= len(best)
    ]
    dots = [
        element(
            "circle",
            class_="winner" if e.candidate == view.winner else "dot",
            cx=frame.x(n),
            cy=frame.y(score),
            r=5 if e.candidate == view.winner else 3.5,
        )
        for n, (e, score) in enumerate(zip(scored, scores, strict=True), 1)
    ]
    return join(
        (
            frame.grid(
                "evaluations",
                f"validation loss after {view.options.steps} steps, nats {view.unit}",
                whole_ticks(1, len(scores)),
                numbers(ticks(min(scores), max(scores))),
            ),
            element(
                "path", class_="best", d="M" + "L".join(f"{x},{y}" for x, y in steps)
            ),
            *dots,
        )
    )


def difference(view: RunView) -> Iterator[tuple[str, str]]:
    """Yield the lines from the start to the winner, each with its class."""
    assert view.start is not None
    assert view.best is not None
    names = {"+": "code ins", "-": "code del"}
    for line in diff_lines(view.start.program, view.best.program):
        text = "".join(part for part, _ in line.parts)
        yield names.get(line.sign, "code"), f"{line.sign} {text}".rstrip()


def losses(view: RunView) -> Iterator[tuple[str, float]]:
    """Yield the rows of the comparison that the picture shows, with their mean losses."""
    shown: list[tuple[str, Row]] = [
        ({"winner": "the winner", "start": "the start"}[row.role], row)
        for row in view.rows
        if row.role in ("winner", "start")
    ]
    shown += [
        (row.entrant.name.replace("winner with", "the winner with"), row)
        for row in view.rows
        if row.role == "neighbour" and " for its attention" in row.entrant.name
    ]
    for name, row in shown:
        yield name, fmean(row.losses)


def picture(view: RunView) -> Markup:
    """Return the picture as SVG."""
    rows: list[Markup] = []

    def write(text: str, name: str, x: float, y: float) -> None:
        rows.append(element("text", text, class_=name, x=x, y=y))

    y = 16.0
    write("What evolution changed", "title", MIDDLE, y)
    y += 6
    for name, text in difference(view):
        y += LINE
        write(text, name, MIDDLE, y)
    y += 2 * LINE
    seeds = len(view.options.final_seeds)
    write(f"Trained from scratch, held-out loss ({seeds} seeds)", "title", MIDDLE, y)
    y += 6
    for name, loss in losses(view):
        y += LINE
        write(name, "", MIDDLE, y)
        write(f"{loss:.2f}", "code end", FULL - 12, y)
    height = max(HEIGHT, y + LINE)
    return element(
        "svg",
        element("style", Markup(STYLE)),
        element(
            "g", curve(view), transform=f"translate(12, {(height - HEIGHT) / 2:g})"
        ),
        *rows,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {FULL} {height:g}",
        width=FULL,
        height=f"{height:g}",
        role="img",
        aria_label="Scores of a search, the diff of its winner and the final comparison",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/demo.svg"))
    args = parser.parse_args()
    write_text(args.output, str(picture(read_run(args.run))) + "\n")


if __name__ == "__main__":
    main()
