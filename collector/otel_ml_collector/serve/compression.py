"""Compresses answers of the JSON API with gzip.

Only what is asked for below `/api/v1` and the schema: an answer that holds a secret beside what a
stranger can have said (pages with a session, the text of a new key) tells of it by its length, when
it is compressed (BREACH). Documents, images, Parquet and zip files are compressed or exact already.
"""

import zlib
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_ml_collector.decode.signals import media_type_of

_PATHS: Final = ("/api/v1/", "/openapi.json")
_NOT: Final = "/api/v1/keys"
_TYPES: Final = frozenset({"application/json", "application/x-ndjson", "text/csv"})
_LEAST_BYTES: Final = 1_024
# Of JSON of runs level 1 leaves a fifth, 6 a seventh in four times the time.
_LEVEL: Final = 1
_GZIP: Final = 31  # the window of zlib, with the header of gzip


class Compression:
    """Compresses what an application answers, for those who take it.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _is_meant(scope):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, takes_gzip=_takes_gzip(Headers(scope=scope)))
        await self._app(scope, receive, answer.send)


class _Answer:
    def __init__(self, send: Send, *, takes_gzip: bool) -> None:
        self._send = send
        self._takes_gzip = takes_gzip
        self._start: Message | None = None
        self._gzip: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            await self._begin(self._start, message)
            self._start = None
        if self._gzip is None:
            await self._send(message)
            return
        more = message.get("more_body", False)
        body = self._gzip.compress(message.get("body", b""))
        body += self._gzip.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _begin(self, start: Message, first: Message) -> None:
        """Decide by the head and the first part of an answer, and send its head."""
        headers = MutableHeaders(raw=start["headers"])
        media_type = media_type_of(headers.get("content-type", ""))
        is_whole = not first.get("more_body", False)
        is_small = is_whole and len(first.get("body", b"")) < _LEAST_BYTES
        is_exact = "etag" in headers or "content-encoding" in headers
        if media_type in _TYPES and not is_exact:
            headers.add_vary_header("Accept-Encoding")
            if self._takes_gzip and not is_small:
                self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
                headers["Content-Encoding"] = "gzip"
                if "content-length" in headers:
                    del headers["content-length"]
        await self._send(start)


def _is_meant(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] != "HEAD" and path.startswith(_PATHS) and not path.startswith(_NOT)


def _takes_gzip(headers: Headers) -> bool:
    """Tell whether gzip is taken: by its name, else by ``*``, and not with the weight 0.

    Spec: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    """
    parts = headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
    weights = {name: weight for name, _, weight in (part.partition(";") for part in parts)}
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return weight not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
