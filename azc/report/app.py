"""The web application that serves a run: the page, its data, and actions.

- `/` is the page, `/rows` lists every candidate
- `/events` sends a line for every new version (server-sent events), and
  `/changes?since=N` returns everything newer than version N
- `/candidate/N` returns all about a candidate, `/find?words=W` finds candidates by
  words
- `/acts` takes an action, see `azc.report.acts`

Codes: X001 internal error of azc.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from azc.diagnostics import AzcError, DiagnosticError, render
from azc.report.acts import perform
from azc.report.gate import Gate, Guard
from azc.report.live import Live, Moment
from azc.search.steer import Desk
from azc.syntax.parse import MAX_BYTES

__all__ = ["STREAM", "Feed", "application"]

_LOOK = 0.5  # seconds between two checks of the run
_BEAT = 15.0  # seconds after which an idle stream is written to, to see if it is alive
STREAM = (
    600.0  # maximum duration of a stream in seconds; the browser opens the next one
)
_THREADS = 8  # worker threads for requests that compute something
_PIECE = 1 << 16  # bytes of a response that are sent at once
_SMALL = 1 << 12  # size in bytes up to which a response is not compressed


class Feed:
    """Notifies open pages of new versions of a run.

    Args:
        live: The run.
        most: Maximum number of open pages.

    Attributes:
        open: Number of open pages.
    """

    def __init__(self, live: Live, most: int) -> None:
        self.live = live
        self._most = most
        self.open = 0
        self._closing = False
        self._news = asyncio.Event()
        self._looking = asyncio.Lock()
        self._looked = -_LOOK

    def tell(self) -> None:
        """Wake all streams."""
        self._news.set()
        self._news = asyncio.Event()

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        self.tell()

    def join(self) -> Response:
        """Return a new stream, or refuse it if there are too many."""
        if self.open >= self._most:
            raise HTTPException(503, "too many pages of this run are open")
        self.open += 1
        return _Stream(self)

    def leave(self) -> None:
        """Count a stream as ended."""
        self.open -= 1

    async def lines(self) -> AsyncIterator[str]:
        """Yield a line for every new version, and a comment every few seconds as a
        heartbeat.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + STREAM
        version = -1
        while not self._closing and clock() < end:
            news = self._news
            latest = self.live.moment.version
            yield f"data: {latest}\n\n" if latest != version else ":\n\n"
            version = latest
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEAT):
                    await news.wait()

    async def look(self) -> None:
        """Check whether the run has changed, unless it was checked a moment ago."""
        clock = asyncio.get_running_loop().time
        async with self._looking:
            if clock() - self._looked < _LOOK:
                return
            await self._do(self.live.look)
            self._looked = clock()

    async def follow(self) -> None:
        """Follow the run while pages of it are open."""
        while True:
            if self.open:
                await self.look()
            if self.open and self.live.is_behind:
                async with self._looking:
                    await self._do(self.live.catch_up)
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(_LOOK)

    async def _do(self, work: Callable[[], bool]) -> None:
        """Run `work`, and notify pages of its result or its error."""
        try:
            is_new = await run_in_threadpool(work)
        except (AzcError, OSError) as error:
            words = error.message if isinstance(error, AzcError) else error.strerror
            is_new = self.live.miss(f"the run can't be read: {words or error}")
        except Exception as error:  # otherwise the run would not be followed any more
            is_new = self.live.miss(_internal(error))
        if is_new:
            self.tell()


class _Stream(StreamingResponse):
    def __init__(self, feed: Feed) -> None:
        super().__init__(feed.lines(), media_type="text/event-stream")
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave()


class _InPieces(Response):
    """A response that is sent only as fast as it is read.

    A slow reader does not need a copy of it in memory.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        for place in range(0, len(self.body), _PIECE):
            piece = bytes(self.body[place : place + _PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def application(feed: Feed, desk: Desk, gate: Gate) -> Starlette:
    """Create the application that serves a run.

    Args:
        feed: The run and its open pages.
        desk: Applies actions to the run.
        gate: Access control.
    """
    live = feed.live

    def moment() -> Moment:
        found = live.moment
        if found.fault is not None:
            raise HTTPException(503, found.fault)
        return found

    async def page(request: Request) -> Response:
        await feed.look()  # the last check may be long ago
        html = await run_in_threadpool(lambda: moment().page)
        return await _compressed(request, html, "text/html; charset=utf-8")

    async def rows(request: Request) -> Response:
        found = await run_in_threadpool(lambda: moment().all_rows)
        return await _compressed(request, found, "application/json")

    async def changes(request: Request) -> Response:
        since = request.query_params.get("since", "")
        if not since.isascii() or not since.isdigit():
            raise HTTPException(400, "since is not a version")
        found = await run_in_threadpool(moment().changes, int(since))
        return await _compressed(request, found, "application/json")

    async def candidate(request: Request) -> Response:
        found = await run_in_threadpool(moment().inside, request.path_params["number"])
        if found is None:
            raise HTTPException(404, "there is no such candidate")
        return await _compressed(request, found.encode(), "text/html; charset=utf-8")

    async def find(request: Request) -> Response:
        words = request.query_params.get("words", "")
        found = await run_in_threadpool(moment().find, words)
        return await _compressed(request, found, "application/json")

    async def events(request: Request) -> Response:
        return feed.join()

    async def acts(request: Request) -> Response:
        wanted = await _body(request)
        return await run_in_threadpool(_acted, desk, wanted)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        following = asyncio.create_task(feed.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    return Starlette(
        routes=[
            Route("/", page),
            Route("/rows", rows),
            Route("/changes", changes),
            Route("/candidate/{number:int}", candidate),
            Route("/find", find),
            Route("/events", events),
            Route("/acts", acts, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, gate=gate)],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
        lifespan=lifespan,
    )


async def _compressed(request: Request, content: bytes, kind: str) -> Response:
    headers = {"Vary": "Accept-Encoding"}
    if len(content) > _SMALL and "gzip" in request.headers.get("Accept-Encoding", ""):
        content = await run_in_threadpool(gzip.compress, content, 1)
        headers["Content-Encoding"] = "gzip"
    return _InPieces(content, headers=headers, media_type=kind)


async def _body(request: Request) -> Mapping[str, Any]:
    length = request.headers.get("Content-Length", "")
    if not length.isascii() or not length.isdigit():
        raise HTTPException(411, "the request has no Content-Length")
    if int(length) > 2 * MAX_BYTES:
        raise HTTPException(413, "the request is too long")
    try:
        wanted = json.loads(await request.body())
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise HTTPException(400, "the request is not a JSON object")
    return wanted


def _acted(desk: Desk, wanted: Mapping[str, Any]) -> Response:
    try:
        act = perform(desk, wanted)
    except AzcError as error:
        return JSONResponse(_error_json(error), 422)
    except OSError as error:
        return JSONResponse({"error": {"message": error.strerror or str(error)}}, 500)
    return JSONResponse({"act": act.id, "words": act.words})


def _error_json(error: AzcError) -> dict[str, Any]:
    if isinstance(error, DiagnosticError):
        listed = [each.as_json() for each in error.diagnostics]
        return {"diagnostics": listed, "text": render(error.diagnostics)}
    fields = {"code": error.code, "message": error.message, "help": error.help}
    return {"error": fields}


def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "not found", 405: "method not allowed"}
    why = error.detail
    if why in ("Not Found", "Method Not Allowed"):
        why = words[error.status_code]
    return PlainTextResponse(f"{why}\n", error.status_code, headers=error.headers)


def _fail(_: Request, error: Exception) -> Response:
    fields = {"code": "X001", "message": _internal(error), "help": None}
    return JSONResponse({"error": fields}, 500)


def _internal(error: Exception) -> str:
    return f"internal error, please report it: {type(error).__name__}: {error}"
