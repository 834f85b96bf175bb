"""Access control of the page.

Every request needs the token, which is in the address that the command prints; the
first visit stores it in a cookie. Pages of other sites in the owner's browser can send
requests here, too. So a request has to name this machine as its host (which defeats DNS
rebinding), a request that changes something has to come from this page, and the cookie
is not sent to other sites.
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
    """Return whether a name or address refers to this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Gate:
    """Host, port and token of a server."""

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def address(self) -> str:
        """The address of the page, without the token."""
        shown = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.port}/"

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"{self.address}?token={self.token}"

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"azc-{self.port}"

    def allows(self, host: str) -> bool:
        """Return whether a Host header is allowed: an address, or a name that nobody
        else controls.
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
        """Check a request.

        Returns:
            A refusal, or a redirect that sets the cookie; None if the request may be
            processed.
        """
        if not self.allows(request.headers.get("Host", "")):
            return _refused(421, "the host name is not that of this server")
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
            why = "a token is required: use the address that azc serve printed"
            return _refused(403, why)
        return self._check_origin(request) if request.method == "POST" else None

    def _enter(self, token: str) -> Response:
        if not self.opens(token):
            return _refused(403, "the token is of another server")
        answer = Response(status_code=303, headers={"Location": "/"})
        answer.set_cookie(self.cookie, token, httponly=True, samesite="strict")
        return answer

    def _check_origin(self, request: Request) -> Response | None:
        """Check where a request comes from.

        Browsers send an Origin header, command-line clients do not.
        """
        headers = request.headers
        origin = headers.get("Origin")
        asked = headers.get("Authorization", "").startswith("Bearer ")
        if origin != f"http://{headers['Host']}" and not (origin is None and asked):
            return _refused(403, "the request does not come from this page")
        if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _refused(403, "the request comes from another site")
        kind = headers.get("Content-Type", "").partition(";")[0].strip()
        if kind.lower() != "application/json":
            return _refused(415, "the request is not JSON")
        return None


def _refused(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status)


class Guard:
    """ASGI middleware that applies a gate and adds security headers to responses."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
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
