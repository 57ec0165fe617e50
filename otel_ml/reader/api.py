"""Sends requests to a collector's JSON API.

Uses the same connections, proxies and TLS settings as the export of spans.
"""

import json
import math
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from otel_ml.addresses import write_segment
from otel_ml.attributes import PROGRAM_HEADER
from otel_ml.export.http import HttpConnections, Unusable, attempt_until, describe, open_connections
from otel_ml.export.settings import resolve
from otel_ml.loading import LOADING
from otel_ml.notebook import show_unseen
from otel_ml.reader.errors import (
    BadQuery,
    Busy,
    Forbidden,
    NotFound,
    ReaderError,
    Refused,
    TimedOut,
    Unreachable,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_TRIES: Final = 3
_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_CHUNK: Final = 1 << 16
_MAX_BYTES: Final = 512 * 1024 * 1024
_MAX_MESSAGE_CHARS: Final = 2_000
_LATER: Final = frozenset({429, 502, 503, 504})
_OF_SPANS: Final = ("content-type", "content-encoding", "accept-encoding")
_RANDOM: Final = random.SystemRandom()  # does not change the state of the host's generator


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP response of any status."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def problem(self) -> dict[str, Any]:
        """The collector's error as JSON. Empty if another server, such as a proxy, responded."""
        try:
            error = orjson.loads(self.content)["error"]
        except (ValueError, KeyError, TypeError):
            return {}
        return error if isinstance(error, dict) else {}


@dataclass(frozen=True, slots=True)
class Question:
    """One request to the collector's HTTP API.

    Attributes:
        path: Path segments, not yet percent-encoded: ``("projects", "shop", "runs")``.
        parameters: Query parameters. Those with the value None are left out.
        method: HTTP method.
        body: Body, sent as JSON. None for no body.
        is_repeatable: Whether to retry if no response arrives. False if the collector must not
            process the request twice.
        timeout_s: Time limit for this request in seconds. `Api` has a time limit too, and the
            shorter one applies.
        below: Path prefix under which the API is served.
        headers: Additional headers.
    """

    path: tuple[str, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    method: str = "GET"
    body: object = None
    is_repeatable: bool = True
    timeout_s: float = math.inf
    below: str = "/api/v1/"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The percent-encoded path and query."""
        known = {name: value for name, value in self.parameters.items() if value is not None}
        query = f"?{urlencode(known, doseq=True, errors='replace')}" if known else ""
        return "/".join(map(write_segment, self.path)) + query


class Api:
    """A client for a collector's JSON API. Safe to use from several threads.

    Args:
        endpoint: Base URL of the collector. Default: the collector to which spans are sent.
        api_key: API key. Default: ``OTEL_ML_API_KEY``.
        timeout_s: Time limit in seconds for a request, or for each part of a stream.
        program: What sends the requests, such as ``command``, for the activity of a project.

    Attributes:
        page: Base URL of the collector as shown to users.
        headers: Headers of every request, including the one with the API key. Do not log them.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        program: str = "",
    ) -> None:
        key = api_key or os.environ.get("OTEL_ML_API_KEY")
        self._settings = resolve(endpoint, "", key, "http/protobuf")
        self._timeout_s = timeout_s
        self._own_headers = {PROGRAM_HEADER: program} if program else {}
        self._line: HttpConnections | None = None
        self._owner = 0
        self.page = self._settings.page
        self.headers = self._settings.headers

    def get(self, *path: str, **parameters: object) -> Any:
        """Send a GET request and return its JSON response.

        Raises:
            ReaderError: The request failed.
        """
        return self.ask(Question(path, parameters))

    def all(self, name: str, *path: str, **parameters: object) -> Iterator[dict[str, Any]]:
        """Yield all items of a paginated list. Pages are fetched as you iterate.

        Args:
            name: Key of the list in the JSON response, such as ``runs``.
            path: Path segments, such as ``"projects", "shop", "runs"``.
            parameters: Query parameters.

        Raises:
            ReaderError: A request failed.
        """
        cursor = None
        while True:
            page = self.get(*path, cursor=cursor, **parameters)
            yield from page[name]
            cursor = page.get("next_cursor")  # older collectors return all projects at once
            if cursor is None:
                return

    def ask(self, question: Question) -> Any:
        """Send a request and return its JSON response.

        Raises:
            ReaderError: The request failed.
        """
        reply = self._accepted(question)
        try:
            return _parse(reply.content)
        except ValueError:
            raise Refused(
                f"{self.page} is not an otel-ml collector: it did not send JSON", reply.status
            ) from None

    def download(self, question: Question) -> bytes:
        """Send a request and return its response as it is, such as a file.

        Raises:
            ReaderError: The request failed.
        """
        return self._accepted(question).content

    def _accepted(self, question: Question) -> Reply:
        reply = self.exchange(question)
        if not HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
            raise error_of(self.page, reply, question)
        return reply

    def exchange(self, question: Question) -> Reply:
        """Send a request and return the response, even if its status is an error.

        Retries a few times if the collector is busy or does not respond.

        Raises:
            Unreachable: The collector did not respond.
            Refused: The address is invalid, or the response is too long.
        """
        deadline = time.monotonic() + min(self._timeout_s, question.timeout_s)
        for left in reversed(range(_TRIES if question.is_repeatable else 1)):
            pause_s = _pause_s(left)
            try:
                with self._send(question, deadline) as answer:
                    reply = self._whole(answer, question, deadline)
            except TimedOut:
                raise
            except Unreachable:
                if not left or time.monotonic() + pause_s > deadline:
                    raise
            else:
                pause_s = max(pause_s, _asked_s(reply))
                too_late = pause_s > _MAX_PAUSE_S or time.monotonic() + pause_s > deadline
                if reply.status not in _LATER or not left or too_late:
                    return reply
            time.sleep(pause_s)
        raise AssertionError  # the last attempt returns or raises

    def stream(self, question: Question) -> Iterator[bytes]:
        """Send a request and yield its response in parts as they arrive.

        Use it for exports, which can have any size. Retries at most twice if the collector reports
        that it is busy.

        Raises:
            ReaderError: The request failed, or the response was cut off.
        """
        for left in reversed(range(_TRIES)):
            deadline = time.monotonic() + self._timeout_s
            with self._send(question, deadline) as answer:
                if answer.response.status == HTTPStatus.OK:
                    while part := answer.read(_CHUNK, time.monotonic() + self._timeout_s):
                        yield part
                    return
                reply = self._whole(answer, question, deadline)
            pause_s = max(_pause_s(left), _asked_s(reply))
            if reply.status not in _LATER or not left or pause_s > _MAX_PAUSE_S:
                raise error_of(self.page, reply, question)
            time.sleep(pause_s)

    def close(self) -> None:
        """Close the connections. The next request opens them again."""
        line, self._line = self._line, None
        if line is not None:
            line.pools.clear()

    def _send(self, question: Question, deadline: float) -> "_Answer":
        headers = {"accept-encoding": "gzip"}
        body = None
        if question.body is not None:
            headers["content-type"] = "application/json"
            body = orjson.dumps(question.body)
        try:
            with attempt_until(deadline) as attempt:
                line = self._open()
                own = {
                    name: header for name, header in line.headers.items() if name not in _OF_SPANS
                }
                response = line.pools.urlopen(
                    question.method,
                    f"{self.page}{question.below}{question.address}",
                    body=body,
                    headers={**own, **self._own_headers, **headers, **question.headers},
                    timeout=attempt.time_left(),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
        except Unusable as error:
            raise Refused(str(error), 0) from None
        except _problems() as error:
            raise _no_answer(self.page, error) from error
        return _Answer(response, self.page)

    def _open(self) -> HttpConnections:
        if not self._settings.url:
            raise Unusable("Invalid endpoint: expected an address such as http://localhost:4318")
        # A forked child must not share connections with its parent.
        if self._line is None or self._owner != os.getpid():
            line = LOADING.load(partial(open_connections, self._settings))
            self._line, self._owner = line, os.getpid()
        return self._line

    def _whole(self, answer: "_Answer", question: Question, deadline: float) -> Reply:
        response, parts, size = answer.response, list[bytes](), 0
        while part := answer.read(_CHUNK, deadline):
            size += len(part)
            if size > _MAX_BYTES:
                raise Refused(f"The response is longer than {_MAX_BYTES} bytes", response.status)
            parts.append(part)
        url = f"{self.page}{question.below}{question.address}"
        return Reply(response.status, dict(response.headers), b"".join(parts), url)


def _problems() -> tuple[type[Exception], ...]:
    """Return the exception types that mean that no response arrived.

    `open_connections` has already imported their modules.
    """
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    return OSError, HTTPException, HTTPError


class _Answer:
    """A response that is being read. On close, its connection is reused if all of it was read."""

    def __init__(self, response: "BaseHTTPResponse", page: str) -> None:
        self.response = response
        self._page = page

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()

    def read(self, size: int, deadline: float) -> bytes:
        """Return the next part; empty at the end.

        Raises:
            Unreachable: The response was cut off.
        """
        try:
            with attempt_until(deadline):
                return self.response.read(size, decode_content=True)
        except _problems() as error:
            raise _no_answer(self._page, error, "The response of {page} was cut off") from error


def _no_answer(page: str, error: BaseException, what: str = "No answer from {page}") -> Unreachable:
    words = describe(error)
    kind = TimedOut if words == "timed out" else Unreachable
    return kind(f"{what.format(page=page)}: {words}; expected an otel-ml collector there")


def error_of(page: str, reply: Reply, question: Question) -> ReaderError:
    """Convert a failed response to the matching `ReaderError`, with the collector's message."""
    problem = reply.problem
    message = show_unseen(" ".join(str(problem.get("message") or "").split()))[:_MAX_MESSAGE_CHARS]
    message = message or f"HTTP status {reply.status}"
    if reply.status == HTTPStatus.UNAUTHORIZED:
        return Forbidden(f"{page} refuses: a key is needed, or this one is not valid")
    if reply.status == HTTPStatus.FORBIDDEN:
        return Forbidden(f"{page} refuses: {message}")
    if reply.status in _LATER:
        return Busy(f"{page} cannot answer now: {message}")
    if reply.status == HTTPStatus.NOT_FOUND and problem:
        return NotFound(message)
    if reply.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY} and problem:
        name = str(problem.get("field") or "")
        column = problem.get("column")
        text = str(question.parameters.get(name) or "")
        return BadQuery(message, name, column if isinstance(column, int) else None, text)
    if not problem:
        message = f"{message}; is it an otel-ml collector of this version?"
    return Refused(f"{page} refuses: {message}", reply.status)


def _pause_s(left: int) -> float:
    """Return the delay before the next attempt in seconds. It is random and doubles each time."""
    return float(_PAUSE_S * 2 ** (_TRIES - left) * _RANDOM.uniform(0.5, 1.0))


def _asked_s(reply: Reply) -> float:
    text = reply.headers.get("retry-after") or reply.headers.get("Retry-After") or ""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _parse(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content)  # accepts numbers and surrogates that orjson rejects
