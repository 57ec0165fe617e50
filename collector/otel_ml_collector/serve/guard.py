"""What a browser must not do to a service on loopback: rebind its name, or post across sites.

Spec: https://owasp.org/www-project-cheat-sheets/cheatsheets/Cross-Site_Request_Forgery_Prevention
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Refuses foreign hosts and origins, and adds the headers that keep pages strict.

    Args:
        app: What is guarded.
        allowed_hosts: Names by which the service may be addressed, besides loopback; None lets
            any name pass (for a service that listens beyond loopback without a name).
        cors_origins: Whose pages may send OTLP from a browser.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str] | None,
        cors_origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._origins = frozenset(cors_origins)
        self._hosts = None if allowed_hosts is None else _LOOPBACK | set(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        is_otlp = scope["path"].startswith("/v1/") and headers.get("origin") in self._origins
        reason = self._refusal("GET" if is_otlp else scope["method"], headers)
        app = PlainTextResponse(reason, 403) if reason else self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str:
        host = _host(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            return f"This service is not called {host[:100]!r}: start it with --allowed-hosts"
        if method in _SAFE_METHODS:
            return ""
        origin = headers.get("origin")
        if headers.get("sec-fetch-site") == "cross-site" or (
            origin is not None and origin.partition("://")[2] != headers.get("host")
        ):
            return "Requests from another site are refused"
        return ""


def _host(header: str) -> str:
    """Return the name of a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""
