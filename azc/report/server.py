"""The page of a run over HTTP, for its owner alone.

Whoever asks has to have the token, which is in the address that the command prints: the
first visit leaves it in a cookie. A page of another site that the owner's browser shows
can send requests here too; so requests have to name this machine as their host (a name
that is made to point here does not: DNS rebinding), what changes something has to come
from this very page, and its cookie is sent to no other site.

Codes: X001 an error of azc's own.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from azc.diagnostics import AzcError, DiagnosticError, render
from azc.report.live import Live, perform
from azc.search.steer import Desk
from azc.syntax.parse import MAX_BYTES

__all__ = ["Server", "is_loopback"]

_LOOK = 0.5  # seconds between two looks at the run
_BEAT = (
    15.0  # seconds after which a silent connection is written to: is it still there?
)
_TIMEOUT = 30.0  # seconds that a request may take to come in
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing of a connection that has broken off: what else is wrong is answered."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _V6(_Http):
    address_family = AF_INET6


def _listening(
    host: str, port: int, handler: type[BaseHTTPRequestHandler]
) -> ThreadingHTTPServer:
    kind = _V6 if ":" in host else _Http
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if not host.strip():  # to the system, every address of this machine
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        return kind((host, port), handler)
    except OSError as error:
        raise OSError(error.errno, error.strerror, where) from error
    except (ValueError, TypeError) as error:  # no name of a machine, or no text
        raise OSError(errno.EINVAL, "it is not an address", where) from error


class Server:
    """Serves one run until it is closed. `port` 0 takes a free one.

    Raises `OSError` where the address can't be had.
    """

    def __init__(self, live: Live, desk: Desk, host: str, port: int) -> None:
        self.live = live
        self.desk = desk
        self.token = secrets.token_urlsafe(32)
        self.closing = threading.Event()
        self.host = host
        self._http = _listening(host, port, self._handler())
        self.port: int = self._http.server_address[1]

    @property
    def address(self) -> str:
        """Where the page is, without the token."""
        shown = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.port}/"

    @property
    def url(self) -> str:
        """Where the page is, for whoever is to see it."""
        return f"{self.address}?token={self.token}"

    def run(self) -> None:
        """Serves until `close` or an interrupt."""
        looker = threading.Thread(target=self._look, daemon=True)
        looker.start()
        try:
            self._http.serve_forever(_LOOK)
        finally:
            self.closing.set()
            self._http.server_close()
            looker.join()

    def close(self) -> None:
        """Ends it, from another thread."""
        self.closing.set()
        self._http.shutdown()

    def _look(self) -> None:
        while not self.closing.wait(_LOOK):
            try:
                self.live.look()
            except (AzcError, OSError) as error:
                self.live.miss(error)

    def allows(self, host: str) -> bool:
        """Whether a request may call this machine so: by an address, or by a name that
        nobody else can make point here.
        """
        name = urlsplit(f"//{host}").hostname or ""
        if is_loopback(name) or name == self.host.lower():
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not is_loopback(self.host)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(_Handler):
            pass

        Handler.server_ = server
        return Handler


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server_: Server
    asked: SplitResult
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "azc", ""
    timeout = _TIMEOUT

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: an address may have the token in it."""

    # Who may

    @property
    def _cookie(self) -> str:
        return f"azc-{self.server_.port}"

    def _check_host(self) -> None:
        try:
            allowed = self.server_.allows(self.headers.get("Host", ""))
        except ValueError:
            allowed = False
        if not allowed:
            raise _Refused(
                HTTPStatus.MISDIRECTED_REQUEST, "this machine is not called so"
            )

    def _has_token(self) -> bool:
        given = [self.headers.get("Authorization", "").removeprefix("Bearer ")]
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        if self._cookie in cookies:
            given.append(cookies[self._cookie].value)
        return any(self._is_token(each) for each in given)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.server_.token.encode())

    def _check_token(self) -> None:
        if not self._has_token():
            why = "the address that azc serve has printed has a token: use that one"
            raise _Refused(HTTPStatus.FORBIDDEN, why)

    def _check_origin(self) -> None:
        """A browser says from which page a request comes; a command says nothing."""
        origin = self.headers.get("Origin")
        own = f"http://{self.headers['Host']}"
        asked = self.headers.get("Authorization", "").startswith("Bearer ")
        if origin != own and not (origin is None and asked):
            raise _Refused(HTTPStatus.FORBIDDEN, "it does not come from this page")
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise _Refused(HTTPStatus.FORBIDDEN, "it comes from another site")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "it is not JSON")

    # What is asked for

    def do_GET(self) -> None:
        """The page, or news of it."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """An act."""
        self._answer(self._post)

    def _answer(self, answer: Any) -> None:
        try:
            if self.server_.closing.is_set():  # a connection from before
                raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server has ended")
            self._check_host()
            try:
                self.asked = urlsplit(self.path)
            except ValueError:
                raise _Refused(HTTPStatus.BAD_REQUEST, "it is no address") from None
            answer()
        except _Refused as refused:
            self.close_connection = True  # what else was sent is not read
            self._send(refused.status, "text/plain", f"{refused}\n".encode())
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            self.close_connection = True
            words = f"internal error, please report it: {type(error).__name__}: {error}"
            told = {"code": "X001", "message": words, "help": None}
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": told})

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """What is no request that can be answered: a method that is not here, say."""
        self.close_connection = True
        status = HTTPStatus(code)
        why = f"{message or status.phrase}\n"
        self._send(status, "text/plain", why.encode())

    def _get(self) -> None:
        given = parse_qs(self.asked.query).get("token", [""])[0]
        if self.asked.path == "/" and given:
            if not self._is_token(given):
                raise _Refused(HTTPStatus.FORBIDDEN, "the token is of another server")
            kept = f"{self._cookie}={self.server_.token}; HttpOnly; SameSite=Strict"
            headers = {"Location": "/", "Set-Cookie": f"{kept}; Path=/"}
            self._send(HTTPStatus.SEE_OTHER, "text/plain", b"", headers)
            return
        self._check_token()
        if self.asked.path == "/":
            moment = self.server_.live.moment
            if moment.fault is not None:
                raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, moment.fault)
            html = moment.html.encode()
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", html)
        elif self.asked.path == "/events":
            self._events()
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _events(self) -> None:
        """A line whenever the page has changed (server-sent events)."""
        self.send_response(HTTPStatus.OK)
        self._headers({"Content-Type": "text/event-stream", "Connection": "close"})
        self.close_connection = True
        number = -1
        while not self.server_.closing.is_set():
            moment = self.server_.live.wait(number, _BEAT)
            news = f"data: {moment.number}\n\n" if moment.number != number else ":\n\n"
            number = moment.number
            self.wfile.write(news.encode())
            self.wfile.flush()

    def _post(self) -> None:
        self._check_token()
        self._check_origin()
        if self.asked.path != "/acts":
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        wanted = self._body()
        try:
            act = perform(self.server_.desk, wanted)
        except AzcError as error:
            self._json(HTTPStatus.UNPROCESSABLE_ENTITY, _told(error))
            return
        except OSError as error:
            told = {"message": error.strerror or str(error)}
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": told})
            return
        self._json(HTTPStatus.OK, {"act": act.id, "words": act.words})

    def _body(self) -> Mapping[str, Any]:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "it has no length") from None
        if not 0 <= length <= 2 * MAX_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "it is too long")
        try:
            wanted = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError):
            wanted = None
        if not isinstance(wanted, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "it is not a JSON object")
        return wanted

    # How it is answered

    def _json(self, status: HTTPStatus, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(
        self,
        status: HTTPStatus,
        kind: str,
        content: bytes,
        headers: Mapping[str, str] = {},
    ) -> None:
        self.send_response(status)
        length = {"Content-Type": kind, "Content-Length": str(len(content))}
        if self.close_connection:
            length["Connection"] = "close"
        self._headers({**length, **headers})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _headers(self, headers: Mapping[str, str]) -> None:
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _told(error: AzcError) -> dict[str, Any]:
    if isinstance(error, DiagnosticError):
        listed = [each.as_json() for each in error.diagnostics]
        return {"diagnostics": listed, "text": render(error.diagnostics)}
    told = {"code": error.code, "message": error.message, "help": error.help}
    return {"error": told}
