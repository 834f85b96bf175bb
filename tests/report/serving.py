"""A server of a run, at work in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from azc.report.live import Live
from azc.report.server import Server
from azc.search.steer import Desk


@contextmanager
def served(run: Path, author: str = "ana") -> Iterator[Server]:
    server = Server(Live(run), Desk(run, author), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def eventually(there: Callable[[], bool]) -> None:
    """Waits until something is so, and fails where it never is."""
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end, "it never was so"
        time.sleep(0.005)
