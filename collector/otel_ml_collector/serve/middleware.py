"""Middleware between the server and the application.

From the outside in: `Drain`, `proxies.Proxies`, `BasePath`, `Guard`, `Gate`, `Compression`,
`Heads`.

Starlette's middleware compresses, and answers CORS in `receive.otlp`. `Guard` replaces its
TrustedHostMiddleware, because the answer of `Guard` states how to allow a name.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_ml.attributes import PROGRAM_HEADER
from otel_ml_collector.access import (
    ADMIN,
    LOCAL,
    NO_KEY,
    READ,
    Access,
    Actor,
    find_user_of,
    is_local,
    put_access,
    set_actor,
)
from otel_ml_collector.api.problems import ErrorAnswer, headers_of, problem_of
from otel_ml_collector.assistants.definitions import PATH as ASSISTANTS
from otel_ml_collector.errors import NotPermitted, Rejected, Unauthenticated
from otel_ml_collector.keyring import KEY_START, SESSION_COOKIE, Keyring
from otel_ml_collector.project_settings.keys import SIGN_IN
from otel_ml_collector.serve.proxies import PREFIX
from otel_ml_collector.settings.sign_on import AccessEntry, find_access
from otel_ml_collector.web.render import show_problem
from otel_ml_collector.web.view import BASE_PATH, link_to

_API_V1: Final = "/api/v1/"
_PUBLIC: Final = frozenset({"/healthz", "/readyz", "/favicon.ico", SIGN_IN, "/sign-out"})
_METRICS_PATH: Final = "/metrics"
_NO_ENTRY: Final = (
    "{name} has no access: ask an administrator of this collector to add you, or one of your "
    "groups, to auth_access"
)
# These paths need a key in a header. Without one they answer 401, not a redirect to the sign-in
# page.
_API: Final = ("/api/", "/jaeger/", "/openapi.json", _METRICS_PATH, ASSISTANTS)

# Limits for reading the rest of a body before a connection closes.
_MOST_BYTES: Final = 256 * 1024 * 1024
_MOST_S: Final = 10.0

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "media-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_LEAST_BYTES: Final = 1_024
# Level 1 compresses JSON of runs to 1/5; level 6 to 1/7, in four times the time.
_LEVEL: Final = 1


class Drain:
    """Reads the rest of a body before the connection closes, so that the sender reads the answer.

    Closing a connection with unread data resets it. Then a client sends the body again instead of
    reading why it was refused. If the connection stays open, the server reads the rest.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _will_close(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
            await send(message)

        await self._app(scope, body.receive, send_after_body)


class _Body:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_read = self._is_read or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read and discard the rest of the body, for a limited time."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOST_S):
                while not self._is_read and size <= _MOST_BYTES:
                    size += len((await self.receive()).get("body", b""))


def _will_close(scope: Scope) -> bool:
    """Return whether the connection closes after the answer."""
    text = Headers(scope=scope).get("connection", "").lower()
    return "close" in text or scope["http_version"] == "1.0"


class BasePath:
    """Serves the application below a path as well, and lets links begin with this path.

    A proxy may strip the path from requests or leave it there: both work.

    Args:
        app: The application.
        path: The path, such as ``/otel-ml``. If empty, a trusted proxy may name one per request.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without the path."""
        path = self._path or scope.get(PREFIX, "")
        if scope["type"] == "http" and path:
            BASE_PATH.set(path)
            if f"{scope['path']}/".startswith(f"{path}/"):
                raw = scope.get("raw_path") or quote(scope["path"]).encode()
                for sent in (path.encode(), quote(path).encode()):
                    raw = raw.removeprefix(sent)
                own = scope["path"].removeprefix(path) or "/"
                scope = {**scope, "path": own, "raw_path": raw or b"/"}
        await self._app(scope, receive, send)


class Guard:
    """Refuses requests with an unknown host name, and posts from other sites.

    These are attacks through a browser: DNS rebinding and cross-site request forgery. Also adds
    security headers to pages.

    Spec:
    https://owasp.org/www-project-cheat-sheets/cheatsheets/Cross-Site_Request_Forgery_Prevention

    Args:
        app: The protected application.
        allowed_hosts: Names that the `Host` header of a request may have, besides loopback names.
            None allows any name: the collector listens on the network and no name is configured.
        cors_origins: Origins whose pages may send OTLP from a browser.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str] | None,
        cors_origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._origins = frozenset(cors_origins)
        self._hosts = (
            None
            if allowed_hosts is None
            else {"localhost", "127.0.0.1", "::1"} | set(allowed_hosts)
        )

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
            return f"The host name {host[:100]!r} is not allowed: see the option --allowed-hosts"
        if method in {"GET", "HEAD", "OPTIONS"}:
            return ""
        origin = headers.get("origin")
        if headers.get("sec-fetch-site") == "cross-site" or (
            origin is not None and origin.partition("://")[2] != headers.get("host")
        ):
            return "Requests from a different site are refused"
        return ""


def _host(header: str) -> str:
    """Return the name of a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


class Gate:
    """Determines the access of each request's sender, and refuses requests without access.

    Args:
        app: The next application. It reads the access with `access_of`.
        keyring: The API keys.
        metrics_open: Who may read ``/metrics`` without a key: ``loopback`` for requests from the
            same machine, ``everyone`` or ``nobody``.
        users: The projects and scopes that are allowed for each user or group. It applies to users
            who have signed in at a trusted proxy.
    """

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        metrics_open: str,
        users: Collection[AccessEntry] = (),
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._metrics_open = metrics_open
        self._users = users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401, 403, or a redirect to the sign-in page."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        access = self._find(request)
        put_access(scope, access, lambda: self._find(request))
        set_actor(Actor(access.key_id if access and access.key_id else LOCAL, _program_of(request)))
        answer = (
            None if access and scope["path"] != _METRICS_PATH else self._refusal(request, access)
        )
        is_private = access is not None and access.key_id and not _is_public(scope["path"])
        await (answer or self._app)(scope, receive, _unstored(send) if is_private else send)

    def _find(self, request: Request) -> Access | None:
        headers = request.headers
        access = self._keyring.find(headers, is_local=is_local(request.scope))
        if access or _has_key(request) or request.scope["path"] == ASSISTANTS:
            return access
        user = find_user_of(request.scope)
        if user and (granted := find_access(self._users, user)):
            return granted
        return self._keyring.find_session(request.cookies.get(SESSION_COOKIE, ""))

    def _refusal(self, request: Request, access: Access | None) -> Response | None:
        path = request.scope["path"]
        # Below this path, errors have the format of the request: protobuf or JSON.
        if _is_public(path) or path.startswith("/v1/"):
            return None
        if path == _METRICS_PATH and self._reads_metrics(request.scope, access):
            return None
        user = find_user_of(request.scope)
        is_page = not path.startswith(_API) and request.method in {"GET", "HEAD"}
        if is_page and user is None:
            return _send_to_sign_in(request.headers, request)
        error: Rejected = (
            NotPermitted(
                "This needs a key with the scope admin, or with the scope read for all projects (*)"
            )
            if access
            else Unauthenticated(NO_KEY)
        )
        if user and not access and not _has_key(request):
            error = NotPermitted(_NO_ENTRY.format(name=user.name))
        status, problem = problem_of(error)
        if is_page:
            return show_problem(request, status, problem)
        return JSONResponse(
            ErrorAnswer(error=problem).model_dump(), status, headers=headers_of(error)
        )

    def _reads_metrics(self, scope: Scope, access: Access | None) -> bool:
        if access is not None and (access.has(ADMIN) or access.has(READ)) and access.covers(None):
            return True
        is_near = self._metrics_open == "loopback" and is_local(scope)
        return self._metrics_open == "everyone" or is_near


def _program_of(request: Request) -> str:
    """Return with what a request was made: a page, a command, an assistant or another program."""
    path, headers = request.scope["path"], request.headers
    if path == ASSISTANTS:
        return "assistant"
    if headers.get(PROGRAM_HEADER) == "command":
        return "command"
    is_browser = any(name in headers for name in ("sec-fetch-site", "hx-request", "origin"))
    return "page" if is_browser or not path.startswith(_API) else "api"


def _is_public(path: str) -> bool:
    return path in _PUBLIC or path.startswith("/static/")


def _has_key(request: Request) -> bool:
    """Return whether a request has a key, valid or not. If so, only the key counts.

    A proxy that signs users in may send an Authorization header of its own.
    """
    text = request.headers.get("authorization", "")
    is_ours = find_user_of(request.scope) is None or KEY_START in text
    return "x-api-key" in request.headers or bool(text and is_ours)


def _unstored(send: Send) -> Send:
    """Forbid browsers to store answers that needed a key, because another user could find them."""

    async def send_unstored(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Cache-Control"] = "no-store"
        await send(message)

    return send_unstored


def _send_to_sign_in(headers: Headers, request: Request) -> Response:
    """Redirect a browser to the sign-in page, which leads back to the requested page."""
    query = f"?{request.url.query}" if request.url.query else ""
    address = link_to("sign-in", next=BASE_PATH.get() + request.url.path + query)
    if "hx-request" in headers:  # part of a page: reload the whole page
        return Response(status_code=401, headers={"HX-Refresh": "true"})
    return RedirectResponse(address, 303)


class Compression:
    """Compresses the JSON API, pages and their scripts with gzip, if the client accepts it.

    If an attacker can add text to a page, the length of the compressed page reveals what else is in
    it (the BREACH attack). So pages about keys, sessions and settings are not compressed, nor are
    answers to requests that another site makes a browser send. Downloads of documents must keep
    their bytes, because the ID of a document is the hash of its bytes. Parquet, images and zip
    files are compressed already.

    Why: docs/design/073-compressed-pages.md.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._gzip = GZipMiddleware(
            app,
            _LEAST_BYTES,
            _LEVEL,
            exclude_content_types=(
                *DEFAULT_EXCLUDED_CONTENT_TYPES,
                "application/vnd.apache.parquet",
            ),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _is_compressed(scope):
            await self._app(scope, receive, send)
            return
        # Starlette ignores the weight of gzip.
        taken = b"gzip" if _takes_gzip(Headers(scope=scope)) else b"identity"
        headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        scope = {**scope, "headers": [*headers, (b"accept-encoding", taken)]}
        await self._gzip(scope, receive, send)


def _is_compressed(scope: Scope) -> bool:
    path: str = scope["path"]
    if scope["method"] == "HEAD" or "/artifacts/" in path:
        return False
    if path.startswith((_API_V1, "/openapi.json")):
        return not path.startswith("/api/v1/keys")
    is_page = path in {"/", "/status", "/switcher"} or path.startswith(("/projects/", "/static/"))
    is_secret = path.endswith("/settings") or "/settings/" in path
    # Old browsers do not say where a request comes from.
    origin = Headers(scope=scope).get("sec-fetch-site", "none")
    # Values of Sec-Fetch-Site for requests that a page of the collector, or the user, has sent.
    return is_page and not is_secret and origin in {"same-origin", "none"}


def _takes_gzip(headers: Headers) -> bool:
    """Return whether the client accepts gzip: by its name or by ``*``, with a weight above 0.

    Spec: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    """
    parts = headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
    weights = {name: weight for name, _, weight in (part.partition(";") for part in parts)}
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return weight not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}


class Heads:
    """Answers HEAD like GET without the body, except for expensive answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _has_head(scope):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


def _has_head(scope: Scope) -> bool:
    path: str = scope["path"]
    # HEAD is refused for these paths, because a GET returns a whole project or never ends.
    return (
        scope["method"] == "HEAD"
        and (path == "/" or path.startswith(_API_V1))
        and not path.endswith(("/export", "/live"))
        and "/artifacts/" not in path  # these routes handle HEAD themselves
        and b"format=zip" not in scope["query_string"]
    )
