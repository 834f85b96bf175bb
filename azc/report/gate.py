"""Who may see the page of a run, and who may change anything.

Whoever asks has to have the token, which is in the address that the command prints: the
first visit leaves it in a cookie. A page of another site that the owner's browser shows
can send requests here too; so requests have to name this machine as their host (a name
that is made to point here does not: DNS rebinding), what changes something has to come
from this very page, and its cookie is sent to no other site.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Gate", "Guard", "is_loopback"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Gate:
    """What a server is called, and the token that opens it."""

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def address(self) -> str:
        """Return where the page is, without the token."""
        shown = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.port}/"

    @property
    def url(self) -> str:
        """Return where the page is, for whoever is to see it."""
        return f"{self.address}?token={self.token}"

    @property
    def cookie(self) -> str:
        """Return the name of the cookie."""
        return f"azc-{self.port}"

    def allows(self, host: str) -> bool:
        """Return whether a request may call this machine so: by an address, or by a name
        that nobody else can make point here.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if is_loopback(name) or name == self.host.lower():
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not is_loopback(self.host)

    def opens(self, token: str) -> bool:
        """Return whether this is the token."""
        return secrets.compare_digest(token.encode(), self.token.encode())

    def check(self, request: Request) -> Response | None:
        """Return what a request is answered before it is looked at; None where it may
        be answered.
        """
        if not self.allows(request.headers.get("Host", "")):
            return _refused(421, "this machine is not called so")
        given = request.query_params.get("token")
        if (
            request.method == "GET"
            and request.scope["path"] == "/"
            and given is not None
        ):
            return self._enter(given)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = (bearer, request.cookies.get(self.cookie, ""))
        if not any(self.opens(token) for token in known):
            why = "the address that azc serve has printed has a token: use that one"
            return _refused(403, why)
        return self._check_origin(request) if request.method == "POST" else None

    def _enter(self, token: str) -> Response:
        if not self.opens(token):
            return _refused(403, "the token is of another server")
        answer = Response(status_code=303, headers={"Location": "/"})
        answer.set_cookie(self.cookie, token, httponly=True, samesite="strict")
        return answer

    def _check_origin(self, request: Request) -> Response | None:
        """A browser says from which page a request comes; a command says nothing."""
        headers = request.headers
        origin = headers.get("Origin")
        asked = headers.get("Authorization", "").startswith("Bearer ")
        if origin != f"http://{headers['Host']}" and not (origin is None and asked):
            return _refused(403, "it does not come from this page")
        if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _refused(403, "it comes from another site")
        kind = headers.get("Content-Type", "").partition(";")[0].strip()
        if kind.lower() != "application/json":
            return _refused(415, "it is not JSON")
        return None


def _refused(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status)


class Guard:
    """ASGI middleware: refuses what a gate does, and tells browsers to be strict."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (n.lower().encode(), v.encode()) for n, v in _HEADERS.items()
                ]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        answer = self.gate.check(Request(scope)) or self.app
        await answer(scope, receive, strict)
