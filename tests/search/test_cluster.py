"""Addresses of Ray clusters at which there is none."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from azc.diagnostics import RunError

ray: Any = pytest.importorskip("ray", reason="the dev extra has Ray")

from azc.search.executors import cluster as cluster_module  # noqa: E402
from azc.search.executors.cluster import Cluster  # noqa: E402


def hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def answer_as_a_web_server_does(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    say_nothing(connection)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A socket of this machine that listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (hang_up, "it closed the connection"),
        (say_nothing, "it did not answer within 1 seconds"),
        (answer_as_a_web_server_does, "another service answers there"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_something_else_is(
    scheme: str,
    behave: Callable[[socket.socket], None],
    why: str,
    server: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                behave(connection)

    monkeypatch.setattr(cluster_module, "_LONGEST_PROBE", 1.0)
    port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{port}")
    thread = Thread(target=serve)
    thread.start()
    with pytest.raises(
        RunError, match=rf"no Ray cluster is at 127.*{port}: {why}"
    ) as caught:
        Cluster()
    assert caught.value.code == "R051"
    thread.join()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:9", "Connection refused"),
        (
            "nowhere.invalid:6379",
            "(Name or service|nodename|Temporary failure|No address)",
        ),
        ("nonsense", "nonsense"),
    ],
)
def test_an_address_where_nothing_is(
    address: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RunError, match=why) as caught:
        Cluster()
    assert caught.value.code == "R051"
    assert not ray.is_initialized()
