"""A server of a run, at work in a thread, and what it is asked."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


# What it is asked


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    server: Server,
    path: str = "/",
    headers: Mapping[str, str] = {},
    body: str | bytes | None = None,
    method: str | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.gate.port, timeout=60)
    given = {"Host": f"127.0.0.1:{server.gate.port}", **headers}
    connection.request(method or ("GET" if body is None else "POST"), path, body, given)
    found = connection.getresponse()
    answer = Answer(found.status, found.headers, found.read().decode())
    connection.close()
    return answer


def own(server: Server) -> dict[str, str]:
    """What the page's own requests have."""
    return {
        "Cookie": f"other=1; azc-{server.gate.port}={server.gate.token}",
        "Origin": f"http://127.0.0.1:{server.gate.port}",
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/json",
    }


def stream(server: Server) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.gate.port, timeout=60)
    connection.request("GET", "/events", headers=own(server))
    return connection.getresponse()


def version(events: http.client.HTTPResponse) -> int:
    """The next version that a stream tells of."""
    lines = iter(events.readline, b"")
    line = next(line for line in lines if line.startswith(b"data: "))
    return int(line.removeprefix(b"data: "))
