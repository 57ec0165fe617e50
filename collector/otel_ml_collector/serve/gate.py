"""Who a request is from: every one is looked at here, and most go no further without a key."""

from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_ml_collector.access import ADMIN, NO_KEY, READ, Access, is_local, put_access
from otel_ml_collector.api.problems import ErrorAnswer, headers_of, problem_of
from otel_ml_collector.errors import Forbidden, Refused, Unauthenticated
from otel_ml_collector.keyring import SESSION_COOKIE, Keyring
from otel_ml_collector.web.sign_in import SIGN_IN

_PUBLIC: Final = frozenset({"/healthz", "/readyz", "/favicon.ico", SIGN_IN, "/sign-out"})
_METRICS: Final = "/metrics"
_NO_METRICS: Final = "This needs the scope admin or read over all projects (*)"
# Its endpoints refuse in the form of the request: protobuf or JSON.
_OTLP: Final = "/v1/"
_API: Final = ("/api/", "/jaeger/", "/openapi.json", _METRICS)


class Gate:
    """Notes what the sender of each request may do, and answers those who may do nothing.

    Args:
        app: What is behind it; it finds the access by `access_of`.
        keyring: Knows the keys.
        metrics_open: Who reads ``/metrics`` without a key: loopback, everyone or nobody.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, metrics_open: str) -> None:
        self._app = app
        self._keyring = keyring
        self._metrics_open = metrics_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it: 401, 403, or for a page the way to sign in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        access = self._find(request)
        put_access(scope, access)
        answer = None if access and scope["path"] != _METRICS else self._refusal(request, access)
        is_private = access is not None and access.key_id and not _is_public(scope["path"])
        await (answer or self._app)(scope, receive, _unstored(send) if is_private else send)

    def _find(self, request: Request) -> Access | None:
        headers = request.headers
        access = self._keyring.find(headers, is_local=is_local(request.scope))
        if access or "authorization" in headers or "x-api-key" in headers:
            return access
        return self._keyring.find_session(request.cookies.get(SESSION_COOKIE, ""))

    def _refusal(self, request: Request, access: Access | None) -> Response | None:
        path = request.scope["path"]
        if _is_public(path) or path.startswith(_OTLP):
            return None
        if path == _METRICS and self._reads_metrics(request.scope, access):
            return None
        if not path.startswith(_API) and request.method in {"GET", "HEAD"}:
            return _send_to_sign_in(request.headers, request)
        error: Refused = Forbidden(_NO_METRICS) if access else Unauthenticated(NO_KEY)
        status, problem = problem_of(error)
        return JSONResponse(
            ErrorAnswer(error=problem).model_dump(), status, headers=headers_of(error)
        )

    def _reads_metrics(self, scope: Scope, access: Access | None) -> bool:
        if access is not None and (access.has(ADMIN) or access.has(READ)) and access.covers(None):
            return True
        is_near = self._metrics_open == "loopback" and is_local(scope)
        return self._metrics_open == "everyone" or is_near


def _is_public(path: str) -> bool:
    return path in _PUBLIC or path.startswith("/static/")


def _unstored(send: Send) -> Send:
    """Let nothing that wanted a key stay in a browser, where the next one at it would find it."""

    async def send_unstored(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Cache-Control"] = "no-store"
        await send(message)

    return send_unstored


def _send_to_sign_in(headers: Headers, request: Request) -> Response:
    """Send a browser to the page of signing in, and from there back to where it was."""
    query = f"?{request.url.query}" if request.url.query else ""
    address = f"{SIGN_IN}?next={quote(request.url.path + query, safe='')}"
    if "hx-request" in headers:  # a part of a page: the whole page is left
        return Response(status_code=401, headers={"HX-Refresh": "true"})
    return RedirectResponse(address, 303)
