"""How fast the page of a large run is: written, opened in a browser, and served to many.

    python -m benchmarks page [--candidates 10000] [--connections 300] [--rounds 10]

A run of so many candidates with made-up scores is written as a page, which is opened in
Chromium. Then it is served, to a browser and to so many connections at once, all of them
open before the first one asks. Seconds are of this machine's clock, and of the processor
where other work may disturb the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from azc.report.live import Live
from azc.report.page import page
from azc.search.displays import displays
from azc.search.view import read_run
from benchmarks.scale import synthetic
from tests.browser import Page, binary, browser

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]"
READY = f"document.body.dataset.ready !== undefined && {PAINT} !== undefined"
TIMES = f"({{ 'first paint': {PAINT}.startTime, 'whole list': performance.now() }})"


def written(run: Path) -> dict[str, Any]:
    view = read_run(run)
    begun = time.process_time()
    html = page(view, displays(view))
    (run / "report.html").write_text(html, encoding="utf-8")
    return {"written in": time.process_time() - begun, "MB": len(html.encode()) / 1e6}


def redrawn(run: Path) -> dict[str, float]:
    """What the server does when something has changed."""
    live = Live(run)
    begun = time.process_time()
    drawn = live._draw(read_run(run), at_work=True)
    redraw = time.process_time() - begun
    news = len(drawn.changes(live.moment.version))
    return {"redrawn in": redraw, "KB of changes": news / 1e3}


def opened(tab: Page, address: str) -> dict[str, float]:
    tab.visit(address)
    tab.until(READY)
    return {name: value / 1000 for name, value in tab.run(TIMES).items()}


@contextmanager
def served(run: Path) -> Iterator[tuple[str, int]]:
    """The address of a server in a process of its own, and its number."""
    command = [sys.executable, "-m", "azc", "serve", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split(": ")[-1].strip(), process.pid
        finally:
            process.terminate()


async def asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[str]
) -> tuple[int, float]:
    """The status of an answer, and the seconds until all of it was there."""
    begun = time.perf_counter()
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), time.perf_counter() - begun


async def crowd(address: str, pid: int, count: int, rounds: int) -> dict[str, Any]:
    """So many connections at once, again and again."""
    where = urlsplit(address)
    token = parse_qs(where.query)["token"][0]
    lines = ["GET / HTTP/1.1", f"Host: {where.netloc}", "Connection: close"]
    lines.append(f"Authorization: Bearer {token}")
    taken: list[float] = []
    statuses: set[int] = set()
    memory: list[float] = []
    for _ in range(rounds):
        connecting = (
            asyncio.open_connection(where.hostname, where.port) for _ in range(count)
        )
        streams = await asyncio.gather(*connecting)
        for status, seconds in await asyncio.gather(
            *(asked(*each, lines) for each in streams)
        ):
            statuses.add(status)
            taken.append(seconds)
        memory.append(resident(pid))
    return {
        "connections": count,
        "statuses": sorted(statuses),
        "median answer": median(taken),
        "last answer": max(taken),
        "MB after the first": memory[0],
        "MB after all": memory[-1],
    }


def resident(pid: int) -> float:
    """Megabytes of memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024


def said(title: str, figures: dict[str, Any]) -> None:
    print(title)
    for name, value in figures.items():
        shown = f"{value:,.2f}" if isinstance(value, float) else value
        print(f"  {name:<20} {shown}")


def main() -> int:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path(".cache/page"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        rng = random.Random(0)
        synthetic(
            run, options.candidates, "fresh", options.cache, lambda: 5 + rng.random()
        )
        said("written", written(run))
        said("served, at a change", redrawn(run))
        with served(run) as (address, pid):
            if binary() is not None:
                with browser(Path(folder) / "profile") as tab:
                    tab.resize(1280)
                    file = (run / "report.html").as_uri()
                    said("opened from the file", opened(tab, file))
                    said("opened from the server", opened(tab, address))
            found = asyncio.run(
                crowd(address, pid, options.connections, options.rounds)
            )
            said("many at once", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
