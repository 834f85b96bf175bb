"""Many connections at once, and slow ones: each has an end, and all have a limit."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from azc.report.server import Limits, Server
from azc.search.view import RunView
from tests.report.serving import ask, eventually, own, served, stream, version


@pytest.fixture(scope="module")
def server(view: RunView, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("load") / "run"
    with served(Path(shutil.copytree(view.folder, folder))) as found:
        yield found


def opened(server: Server, count: int) -> list[socket.socket]:
    where = "127.0.0.1", server.gate.port
    return [socket.create_connection(where, 60) for _ in range(count)]


def request(server: Server, path: str = "/") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.gate.port}"]
    lines += [f"Authorization: Bearer {server.gate.token}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def answered(connection: socket.socket) -> bytes:
    """All that comes until the connection ends, however it does."""
    found = b""
    with connection, suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            found += piece
    return found


def test_three_hundred_at_once_are_answered(server: Server) -> None:
    """All are connected before the first asks, and no thread is one's own."""
    before = threading.active_count()
    connections = opened(server, 300)
    for each in connections:
        each.sendall(request(server))
    assert threading.active_count() <= before + 8
    answers = {answered(each) for each in connections}
    pages = {answer.partition(b"\r\n\r\n")[2] for answer in answers}
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert len(pages) == 1


def test_too_many_connections_are_told_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._uvicorn.config, "limit_concurrency", 5)
    idle = opened(server, 5)
    (one_more,) = opened(server, 1)
    one_more.sendall(request(server))
    assert answered(one_more).startswith(b"HTTP/1.1 503 ")
    # Far more than that are ended before they have asked.
    many = opened(server, 12)
    assert answered(many[-1]) == b""
    for each in (*idle, *many):
        each.close()
    eventually(lambda: ask(server, "/", own(server)).status == 200)


def test_too_many_open_pages_are_told_so(server: Server) -> None:
    streams = [stream(server) for _ in range(Limits.STREAMS)]
    assert {each.status for each in streams} == {200}
    assert threading.active_count() < Limits.STREAMS
    refused = stream(server)
    assert (refused.status, refused.read()) == (
        503,
        b"too many pages of this run are open\n",
    )
    assert ask(server, "/", own(server)).status == 200
    streams.pop().close()
    eventually(lambda: stream(server).status == 200)


@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\r\nX: ", b"POST"], ids=["head", "body"]
)
def test_a_request_that_drips_in_is_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """More bytes, however many, are no reason to wait longer."""
    monkeypatch.setattr(Limits, "INCOMING", 0.3)
    if begun == b"POST":
        lines = ["POST /acts HTTP/1.1", *(f"{k}: {v}" for k, v in own(server).items())]
        lines += [f"Host: 127.0.0.1:{server.gate.port}", "Content-Length: 100000"]
        begun = "\r\n".join([*lines, "", ""]).encode()
    (dripping,) = opened(server, 1)
    dripping.sendall(begun)
    dripping.settimeout(0.02)
    with dripping:
        for _ in range(3000):
            try:
                dripping.sendall(b"x")
                if dripping.recv(1) == b"":
                    break
            except TimeoutError:
                continue  # it has nothing to say, and listens
            except ConnectionError:
                break
        else:
            pytest.fail("it was never ended")


def test_a_connection_that_asks_nothing_is_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "INCOMING", 0.1)
    (silent,) = opened(server, 1)
    assert answered(silent) == b""


def test_an_answer_that_is_not_read_is_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "OUTGOING", 0.2)
    (open_,) = opened(server, 1)
    open_.sendall(request(server, "/events"))
    assert answered(open_).startswith(b"HTTP/1.1 200 ")


def test_the_end_of_the_server_ends_open_pages(view: RunView) -> None:
    with served(view.folder) as server:
        events = stream(server)
        version(events)
    assert events.read().strip() == b""  # the end of a stream, not a broken one
