"""Web server of the page: uvicorn with limits on connections and their duration."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from typing import cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from azc.report.app import STREAM, Feed, application
from azc.report.gate import Gate
from azc.report.live import Live
from azc.search.steer import Desk

__all__ = ["Limits", "Server"]


class Limits:
    """Limits of the server, in seconds for durations."""

    BACKLOG = 1024  # connections that wait to be accepted
    CONNECTIONS = 400  # connections at once; up to twice as many get a 503 response
    STREAMS = 64  # open pages
    INCOMING = 15.0  # until a request is complete
    OUTGOING = STREAM + 60.0  # until its response is complete
    IDLE = 30.0  # until an idle connection is closed; uvicorn closes it sooner
    GRACE = 5  # until open responses are cut off when the server stops


class _Protocol(H11Protocol):
    """HTTP/1.1 with a time limit for every state of a connection.

    uvicorn closes idle connections, but it waits forever for a request that arrives
    byte by byte, and for a client that does not read.
    """

    _state: tuple[int, str] | None = None
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request.

        Far above the limit of connections, close it without a response.
        """
        super().connection_made(cast(asyncio.Transport, transport))
        self._watch(comes=True)
        assert self.limit_concurrency is not None
        if len(self.connections) > 2 * self.limit_concurrency:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the time limit."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process incoming bytes."""
        super().data_received(data)
        self._watch(comes=True)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the end."""
        super().on_response_complete()
        self._watch(comes=False)

    def _watch(self, comes: bool) -> None:
        """Set the time limit of the current state, once.

        More bytes of the same request do not extend it. `comes` tells whether bytes
        have arrived.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            name, seconds = (
                ("incoming", Limits.INCOMING) if comes else ("idle", Limits.IDLE)
            )
        elif cycle.more_body:
            name, seconds = "incoming", Limits.INCOMING
        else:
            name, seconds = "outgoing", Limits.OUTGOING
        if self._state == (state := (id(cycle), name)):
            return
        self._state = state
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self.transport.abort)


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams first, because uvicorn waits for open responses."""
        self._feed.close()
        await super().shutdown(sockets)


class Server:
    """A server of one run.

    Args:
        live: The run.
        desk: Applies actions to the run.
        host: The address to listen on.
        port: The port to listen on; 0 selects a free one.

    Raises:
        OSError: If the server can't listen on the address.
    """

    def __init__(self, live: Live, desk: Desk, host: str, port: int) -> None:
        self.live = live
        self.desk = desk
        self._socket = _bound(host, port)
        self.gate = Gate(host, self._socket.getsockname()[1])
        self.feed = Feed(live, Limits.STREAMS)
        config = uvicorn.Config(
            application(self.feed, desk, self.gate),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            log_config=None,
            log_level="critical",  # an address may have the token in it
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=Limits.BACKLOG,
            limit_concurrency=_most(),
            timeout_graceful_shutdown=Limits.GRACE,
        )
        self._uvicorn = _Uvicorn(config, self.feed)

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return self.gate.url

    def run(self) -> None:
        """Serve until `close` is called, or until an interrupt."""
        with self._socket:
            self._uvicorn.run([self._socket])

    def close(self) -> None:
        """Stop the server, from another thread."""
        self._uvicorn.should_exit = True


def _most() -> int:
    """Return the maximum number of connections.

    Each of them needs a file descriptor, and so do other parts of the process.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return Limits.CONNECTIONS
    return max(1, min(Limits.CONNECTIONS, (files - 64) // 2))


def _bound(host: str, port: int) -> socket.socket:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if not host.strip():  # to the system, every address of this machine
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, port))
            # Listen at once, so that a second server on this port gets an error.
            found.listen(Limits.BACKLOG)
        except BaseException:
            found.close()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, where) from error
    except (ValueError, TypeError, OverflowError) as error:  # no name, or no text
        raise OSError(errno.EINVAL, "not an address", where) from error
    return found
