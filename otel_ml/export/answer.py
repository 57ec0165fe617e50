"""The collector's response to an export request.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from otel_ml import attributes as names

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

REFUSED: Final = "connection refused"  # nothing listens at the address, which is known immediately
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_REDIRECTS: Final = range(300, 400)
_MAX_RETRY_AFTER_S: Final = 300.0
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_MAX_MESSAGE_CHARS: Final = 500
_MIN_SECRET_CHARS: Final = 8

# field numbers of ExportTraceServiceResponse, and protobuf wire types
_PARTIAL_SUCCESS: Final = 1
_REJECTED_SPANS: Final = 1
_ERROR_MESSAGE: Final = 2
_VARINT: Final = 0
_MORE: Final = 0x80
_BYTES: Final = 2
_FIXED_SIZES: Final = {1: 8, 5: 4}


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an export request: what was stored, and whether to send the request again.

    Attributes:
        delivered: True if the receiver accepted the request. It may still have refused some spans,
            see `rejected`.
        retry: True if the request failed, but sending it again may succeed.
        retry_after_s: Seconds to wait before the next request, if the receiver asked for it.
            Otherwise None.
        rejected: Number of spans in an accepted request that the receiver refused.
        message: Why the request or some spans failed. It never contains a secret.
        too_large: True if the request is too large. Split it and send the parts.
        invalid: True if the receiver cannot read the request.
        wants_previews: Whether to add a short preview to each long input and output in later
            requests. False if the collector creates previews itself.
    """

    delivered: bool
    retry: bool = False
    retry_after_s: float | None = None
    rejected: int = 0
    message: str = ""
    too_large: bool = False
    invalid: bool = False
    wants_previews: bool = True


def read_answer(response: "BaseHTTPResponse", headers: Mapping[str, str]) -> Answer:
    """Read an HTTP response to an export request.

    The body is always read, so that the connection can be reused.
    """
    body, status = _read(response), response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if _is_json(response):
            rejected, message = read_json_partial_success(body)
        else:
            rejected, message = read_partial_success(body if _is_protobuf(response) else b"")
        return Answer(
            delivered=True,
            rejected=rejected,
            message=_printable(message, headers),
            wants_previews=names.PREVIEWS_HEADER not in response.headers,
        )
    retry = status in _RETRYABLE
    message = _status_words(status, response.headers.get("location", ""))
    if status == HTTPStatus.BAD_REQUEST and _is_json(response):
        reason = _printable(str(_read_json(body).get("message", "")), headers)
        message = reason or message
    return Answer(
        delivered=False,
        retry=retry,
        retry_after_s=_retry_after_s(response.headers.get("retry-after")) if retry else None,
        message=message,
        too_large=status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        invalid=status == HTTPStatus.BAD_REQUEST,
    )


def _is_protobuf(response: "BaseHTTPResponse") -> bool:
    encoding = response.headers.get("content-encoding", "identity")
    kind = response.headers.get("content-type", "protobuf").lower()
    return encoding == "identity" and "protobuf" in kind


def _is_json(response: "BaseHTTPResponse") -> bool:
    encoding = response.headers.get("content-encoding", "identity")
    kind = response.headers.get("content-type", "").lower()
    return encoding == "identity" and kind.partition(";")[0].strip() == "application/json"


def _read_json(body: bytes) -> dict[str, Any]:
    import json

    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _read(response: "BaseHTTPResponse") -> bytes:
    """Return the body of a response; empty if it is cut or too long, since the status is enough."""
    from urllib3.exceptions import HTTPError

    try:
        body = response.read(_MAX_ANSWER_BYTES + 1)
    except (OSError, HTTPError):
        return b""
    finally:
        response.close()  # closes the connection, unless the body was read completely
    return body if len(body) <= _MAX_ANSWER_BYTES else b""


def read_partial_success(body: bytes) -> tuple[int, str]:
    """Return how many spans of an export request were rejected, and why.

    A receiver can accept a request but reject some of its spans. The message is read without the
    protobuf package, which may not be installed.

    Args:
        body: Body of the HTTP response, an ``ExportTraceServiceResponse``.

    Returns:
        Number of rejected spans and reason. ``(0, "")`` if the body is not such a message.

    Spec: https://protobuf.dev/programming-guides/encoding/
    """
    rejected, reason = 0, b""
    try:
        for number, partial in _fields(body):
            if number == _PARTIAL_SUCCESS and isinstance(partial, bytes):
                for inner, value in _fields(partial):
                    if inner == _REJECTED_SPANS and isinstance(value, int):
                        rejected = value
                    elif inner == _ERROR_MESSAGE and isinstance(value, bytes):
                        reason = value
    except (LookupError, ValueError):
        return 0, ""
    is_negative = rejected >= 1 << 63
    return 0 if is_negative else rejected, reason.decode("utf-8", "replace")


def read_json_partial_success(body: bytes) -> tuple[int, str]:
    """Read how many spans or log records were rejected, and why, from a response in JSON.

    Works like `read_partial_success`.
    """
    partial = _read_json(body).get("partialSuccess")
    if not isinstance(partial, dict):
        return 0, ""
    count = str(partial.get("rejectedSpans") or partial.get("rejectedLogRecords") or 0)
    rejected = int(count) if re.fullmatch(r"[0-9]{1,18}", count) else 0
    return rejected, str(partial.get("errorMessage", ""))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message. Raises if the message is cut or invalid."""
    at = 0
    value: int | bytes
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == _BYTES else (_FIXED_SIZES[kind], at)
            value = message[at : at + size]
            at += size
            if at > len(message):
                raise ValueError("cut")
        yield key >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & _MORE:
            return value & (1 << 64) - 1, at
    raise ValueError("more than 64 bits")


def _retry_after_s(text: str | None) -> float | None:
    """Return the value of ``Retry-After`` in seconds, given as seconds or as a date.

    Spec: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    from email.utils import parsedate_to_datetime

    text = (text or "").strip()
    try:
        if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
            seconds = float(text)
        else:
            date = parsedate_to_datetime(text)  # no tzinfo for zone "-0000": assume UTC
            zone = date.tzinfo or timezone.utc
            seconds = date.replace(tzinfo=zone).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)


def _status_words(status: int, location: str) -> str:
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    if status in _REDIRECTS:
        # show only the origin, because the path or query may contain a key
        origin = re.match(r"https?://[A-Za-z0-9.:\[\]_-]{1,255}(?=[/?#]|$)", location)
        words += f": redirects are not followed{f' (to {origin[0]})' if origin else ''}"
    return words


def _printable(text: str, headers: Mapping[str, str]) -> str:
    """Shorten a receiver's text, and mask our headers in it."""
    for name, value in headers.items():
        for word in value.split() if name != names.PROJECT_HEADER else ():
            if len(word) >= _MIN_SECRET_CHARS:
                text = text.replace(word, "***")
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_MESSAGE_CHARS])
